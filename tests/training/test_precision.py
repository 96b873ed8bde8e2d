"""bfloat16 backbones: what is kept in which precision, and that they train as float32 ones do."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import cast_adapter_dtype

from tests.training.sharded_runs import FULL, LORA, Case, Training
from xstilts.models.batch import Segment, pack
from xstilts.models.families import FAMILIES
from xstilts.models.lora import ADAPTER, adapted, initial_state, load_trainable, merged
from xstilts.models.precision import load_tunable
from xstilts.training.loop import Progress
from xstilts.training.workers import Workers

torch.set_num_threads(1)

TUNINGS = {"lora": LORA, "full": FULL}
#: Largest relative difference of a loss from that in float32.
TOLERANCE = 1e-2
HALF, SINGLE = torch.bfloat16, torch.float32


def trained(folder: Path, family: str, mode: str, dtype: str) -> tuple[Training, list[float]]:
    """A finetune step after its updates, and its losses."""
    decoder = FAMILIES[family].causal
    words = {"format": "generation", "objective": "lm"} if decoder else {}
    training = Training(
        Case(family, TUNINGS[mode], dtype=dtype, **words), folder, Workers(), sharded=False
    )
    run = training.run(folder / "state", Progress())
    return training, run.losses


@pytest.mark.parametrize("mode", TUNINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_are_close_to_those_in_float32(
    family: str, mode: str, tiny: Callable[[str], Path]
) -> None:
    half, losses = trained(tiny(family), family, mode, "bfloat16")
    _, expected = trained(tiny(family), family, mode, "float32")
    assert losses == pytest.approx(expected, rel=TOLERANCE)
    assert losses != expected
    kept = {
        "trainable": {p.dtype for p in half.backbone.parameters() if p.requires_grad},
        "frozen": {
            p.dtype
            for p in half.backbone.parameters()
            if not p.requires_grad and p.is_floating_point()
        },
        "heads": {p.dtype for p in half.heads.parameters()},
        "gradients": {
            p.grad.dtype
            for group in half.optimiser.param_groups
            for p in group["params"]
            if p.grad is not None
        },
        "moments": {
            state[name].dtype
            for state in half.optimiser.state.values()
            for name in ("exp_avg", "exp_avg_sq")
        },
    }
    some_frozen = mode == "lora" or FAMILIES[family].vision is not None
    assert kept == {
        "trainable": {SINGLE},
        "frozen": {HALF} if some_frozen else set(),
        "heads": set() if FAMILIES[family].causal else {SINGLE},
        "gradients": {SINGLE},
        "moments": {SINGLE},
    }
    loss = half.learner.loss_sum(half.task.rows.rows([0, 1]), 0, 0)
    assert loss.dtype == SINGLE
    buffers = [b for n, b in half.backbone.named_buffers() if n.endswith("inv_freq")]
    assert all(buffer.dtype == SINGLE for buffer in buffers)


@pytest.mark.parametrize(("mode", "states"), [("lora", HALF), ("full", SINGLE)])
def test_matrix_products_are_in_bfloat16(
    mode: str, states: torch.dtype, tiny: Callable[[str], Path]
) -> None:
    training, _ = trained(tiny("xlm_r"), "xlm_r", mode, "bfloat16")
    found: dict[str, torch.dtype] = {}

    def note(name: str, _module: Any, _inputs: Any, out: torch.Tensor) -> None:
        found[name] = out.dtype

    for name, module in training.backbone.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(partial(note, name))
    loss = training.learner.loss_sum(training.task.rows.rows([0, 1]), 0, 0)
    assert loss.dtype == SINGLE
    products = {dtype for name, dtype in found.items() if ".lora_" not in name}
    assert products == {HALF}
    adapters = {dtype for name, dtype in found.items() if ".lora_" in name}
    assert adapters == ({SINGLE} if mode == "lora" else set())
    row = training.task.rows.rows([0])[0]
    out = training.backbone(pack([Segment(row.segments[0])], training.backbone))
    assert out.dtype == states


@pytest.mark.parametrize(("dtype", "moves"), [(SINGLE, True), (HALF, False)])
def test_a_small_update_of_adapters_is_kept_in_float32(
    dtype: torch.dtype, moves: bool, tiny: Callable[[str], Path]
) -> None:
    """The update is a ten thousandth of each weight. In bfloat16 it would be lost."""
    backbone = load_tunable(tiny("xlm_r"), "xlm_r", LORA, dtype="bfloat16")
    load_trainable(backbone, initial_state(backbone, LORA, 1))
    layer = next(iter(adapted(backbone).values()))
    weight = layer.lora_A[ADAPTER].weight
    with torch.no_grad():
        weight.fill_(0.3)
    assert weight.dtype == SINGLE
    held = torch.nn.Parameter(weight.detach().to(dtype))
    before = held.detach().clone()
    held.grad = torch.ones_like(held)
    torch.optim.AdamW([held], lr=3e-5, weight_decay=0.0, fused=True).step()
    assert torch.equal(held, before) is not moves


@pytest.mark.parametrize("size", [3e-4, 1e-3, 3e-3])
def test_merging_into_bfloat16_loses_what_separate_adapters_keep(size: float) -> None:
    """The adapters of a layer change its outputs by a known amount. size: of the change of a
    weight, as a share of the mean weight.
    """
    stream = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1024, 64, bias=False))
    with torch.no_grad():
        model[0].weight.normal_(0.0, 0.02, generator=stream)
    model.to(HALF)
    config = LoraConfig(r=1, lora_alpha=1, target_modules=["0"])
    inject_adapter_in_model(config, model, ADAPTER)
    cast_adapter_dtype(model, ADAPTER)
    layer: Any = model[0]
    base = layer.base_layer.weight.float()
    direction = torch.randn(1024, generator=stream).sign()
    inputs = (torch.randn(200, 1024, generator=stream) + direction).to(HALF)
    with torch.no_grad():
        layer.lora_A[ADAPTER].weight.copy_(direction[None])
        up = torch.randn(64, 1, generator=stream).sign() * size * base.abs().mean()
        layer.lora_B[ADAPTER].weight.copy_(up)
        delta = layer.lora_B[ADAPTER].weight @ layer.lora_A[ADAPTER].weight
        expected = inputs.float() @ delta.T
        plain = layer.base_layer(inputs).float()
        separate = layer(inputs).float() - plain
        together = F.linear(inputs, (base + delta).to(HALF)).float() - plain

    def kept(change: torch.Tensor) -> float:
        return float((change * expected).sum() / (expected**2).sum())

    assert kept(separate) == pytest.approx(1.0, abs=0.1)
    assert kept(together) < 0.75


def test_adapters_of_bfloat16_weights_stay_separate(tiny: Callable[[str], Path]) -> None:
    backbone = load_tunable(tiny("xlm_r"), "xlm_r", LORA, dtype="bfloat16")
    layers = adapted(backbone).values()
    before = [layer.base_layer.weight for layer in layers]
    with merged(backbone):
        assert all(
            layer.base_layer.weight is weight and not layer.disable_adapters
            for layer, weight in zip(layers, before, strict=True)
        )


def test_adapters_of_float32_weights_are_merged(tiny: Callable[[str], Path]) -> None:
    training, _ = trained(tiny("xlm_r"), "xlm_r", "lora", "float32")
    name, layer = next(iter(adapted(training.backbone).items()))
    before: Any = layer.base_layer.weight
    with merged(training.backbone):
        assert layer.base_layer.weight is not before, name
    assert layer.base_layer.weight is before
