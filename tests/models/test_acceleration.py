"""Compiled layers compute the same; kernels that are missing are named."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from xstilts.errors import DataError
from xstilts.models.acceleration import accelerate, compile_layers, use_liger
from xstilts.models.activation_checkpointing import checkpoint_layers
from xstilts.models.backbone import load_backbone
from xstilts.models.batch import Segment, pack

CPU = torch.device("cpu")


def segments(*lengths: int) -> list[Segment]:
    return [Segment(list(range(20, 20 + n)), key=i) for i, n in enumerate(lengths)]


@pytest.mark.parametrize("family", ["xlm_r", "llava"])
def test_compiled_layers_compute_the_same(folder: Callable[[str], Path], family: str) -> None:
    plain, compiled = (load_backbone(folder(family), family).train() for _ in range(2))
    compile_layers(compiled, backend="eager")
    checkpoint_layers(compiled, True)
    for lengths in ((5, 9), (3, 4, 8)):
        batch = pack(segments(*lengths), plain)
        losses = [backbone(batch).square().sum() for backbone in (plain, compiled)]
        assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)
        for backbone, loss in zip((plain, compiled), losses, strict=True):
            backbone.zero_grad()
            loss.backward()
        gradients = dict(plain.named_parameters())
        for name, parameter in compiled.named_parameters():
            if parameter.grad is not None:
                torch.testing.assert_close(parameter.grad, gradients[name].grad)


def test_without_keys_nothing_changes(folder: Callable[[str], Path]) -> None:
    backbone = load_backbone(folder("xlm_r"), "xlm_r")
    accelerate(backbone, {}, CPU)
    assert backbone.model.get_submodule("roberta.encoder.layer.0")._compiled_call_impl is None


@pytest.mark.parametrize("key", ["kernels: liger", "compile: blocks"])
def test_both_need_a_gpu(folder: Callable[[str], Path], key: str) -> None:
    name, value = key.split(": ")
    with pytest.raises(DataError, match=f"{key} needs a GPU"):
        accelerate(load_backbone(folder("llava"), "llava"), {name: value}, CPU)


def test_missing_kernels_are_named(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", None)
    with pytest.raises(DataError, match="pip install liger-kernel"):
        use_liger(load_backbone(folder("llava"), "llava"))


def test_liger_replaces_no_loss(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, object]] = []
    fake = SimpleNamespace(_apply_liger_kernel_to_instance=lambda **keys: calls.append(keys))
    monkeypatch.setitem(sys.modules, "liger_kernel", SimpleNamespace(transformers=fake))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", fake)
    backbone = load_backbone(folder("llava"), "llava")
    use_liger(backbone)
    assert calls[0].pop("model") is backbone.model
    assert {name for name, on in calls[0].items() if on} == {"rope", "rms_norm", "swiglu"}
