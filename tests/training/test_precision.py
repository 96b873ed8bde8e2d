"""bfloat16 backbones: what is kept in which precision, and that they train as float32 ones do."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.sharded_runs import FULL, LORA, Case, Training
from xstilts.miniature.backbones import build_tiny
from xstilts.models.batch import Segment, pack
from xstilts.models.families import FAMILIES
from xstilts.models.lora import ADAPTER, adapted, initial_state, load_trainable, merged
from xstilts.models.precision import load_tunable
from xstilts.training.loop import Progress
from xstilts.training.workers import Workers

torch.set_num_threads(1)

TEXTS = ("the big dog sees anna in the park.", "where is the red ball?", "დიდი ძაღლი ხედავს ანას.")
SETTINGS = {
    "hidden": 32, "ff": 48, "layers": 2, "heads": 4, "vocab_size": 400, "vision_hidden": 32,
    "vision_ff": 32,
}  # fmt: skip
TUNINGS = {"lora": LORA, "full": FULL}
#: Largest relative difference of a loss from that in float32.
TOLERANCE = 1e-2
HALF, SINGLE = torch.bfloat16, torch.float32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def build(family: str) -> Path:
        if family not in made:
            out = tmp_path_factory.mktemp(family)
            made[family] = build_tiny(family, 0, TEXTS, SETTINGS, out)
        return made[family]

    return build


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
    family: str, mode: str, folder: Callable[[str], Path]
) -> None:
    half, losses = trained(folder(family), family, mode, "bfloat16")
    _, expected = trained(folder(family), family, mode, "float32")
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
    mode: str, states: torch.dtype, folder: Callable[[str], Path]
) -> None:
    training, _ = trained(folder("xlm_r"), "xlm_r", mode, "bfloat16")
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
    dtype: torch.dtype, moves: bool, folder: Callable[[str], Path]
) -> None:
    """The update is a ten thousandth of each weight. In bfloat16 it would be lost."""
    backbone = load_tunable(folder("xlm_r"), "xlm_r", LORA, dtype="bfloat16")
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


def test_scoring_keeps_small_adapters_of_bfloat16_weights(folder: Callable[[str], Path]) -> None:
    """Adapters that change each weight by about 1/1000 change states, although their sum with the
    weights rounds to the weights.
    """
    training, _ = trained(folder("xlm_r"), "xlm_r", "lora", "bfloat16")
    backbone = training.backbone.eval()
    batch = pack([Segment(training.task.rows.rows([8])[0].segments[0])], backbone)
    with torch.no_grad():
        for layer in adapted(backbone).values():
            base = layer.base_layer.weight
            delta = layer.lora_B[ADAPTER].weight @ layer.lora_A[ADAPTER].weight
            size = float((delta.abs() / base.float().abs().clamp(min=1e-3)).max())
            layer.lora_B[ADAPTER].weight.mul_(1e-3 / size / layer.scaling[ADAPTER])
            delta = layer.lora_B[ADAPTER].weight @ layer.lora_A[ADAPTER].weight
            rounded = (base.float() + layer.scaling[ADAPTER] * delta).to(HALF)
            assert (rounded == base).float().mean() > 0.98
        with merged(backbone):
            adapted_states = backbone(batch)
        for layer in adapted(backbone).values():
            layer.enable_adapters(False)
        assert not torch.equal(adapted_states, backbone(batch))


def test_adapters_of_float32_weights_are_merged(folder: Callable[[str], Path]) -> None:
    training, _ = trained(folder("xlm_r"), "xlm_r", "lora", "float32")
    name, layer = next(iter(adapted(training.backbone).items()))
    before: Any = layer.base_layer.weight
    with merged(training.backbone):
        assert layer.base_layer.weight is not before, name
    assert layer.base_layer.weight is before
