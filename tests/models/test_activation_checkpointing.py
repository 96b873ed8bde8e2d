"""Layers that are computed again give the same gradients, to the bit."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from xstilts.models.activation_checkpointing import checkpoint_layers, text_layers
from xstilts.models.backbone import Backbone, load_backbone
from xstilts.models.batch import PackedBatch, Segment, pack
from xstilts.models.families import FAMILIES
from xstilts.models.lora import add_lora, initial_state, load_trainable
from xstilts.models.processor import Processor, load_processor

CASES = [(family, tuning) for family in FAMILIES for tuning in ("full", "lora")]
#: Families share two kinds of layers, and dropout differs between these only.
DROPOUT = [("xlm_r", "full"), ("xlm_r", "lora"), ("llava", "lora")]


def prepared(folder: Path, family: str, tuning: str) -> Backbone:
    backbone = load_backbone(folder, family)
    if tuning == "lora":
        add_lora(backbone, 4, 8)
        load_trainable(backbone, initial_state(backbone, {"mode": "lora"}, 0))
        for name, parameter in backbone.named_parameters():
            if ".lora_B." in name:  # zero at first, so that A would have no gradient
                torch.nn.init.normal_(parameter, 0.0, 0.1)
    return backbone.train()


def gradients(
    backbone: Backbone, batch: PackedBatch, between: Callable[[], object] = lambda: None
) -> dict[str, torch.Tensor]:
    """The gradient of every parameter that has one. between: called before the backward pass."""
    backbone.zero_grad()
    backbone.dropout.at(seed=1, update=3)
    states = backbone(batch)
    between()
    states.square().sum().backward()
    return {n: p.grad.clone() for n, p in backbone.named_parameters() if p.grad is not None}


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.fixture(scope="module")
def packed(
    folder: Callable[[str], Path], mixed: Callable[[Processor], Sequence[Segment]]
) -> Callable[[str, Backbone], PackedBatch]:
    def make(family: str, backbone: Backbone) -> PackedBatch:
        return pack(mixed(load_processor(folder(family), family)), backbone)

    return make


@pytest.mark.parametrize(("family", "tuning"), CASES)
def test_gradients_are_equal_to_the_bit(folder, packed, family: str, tuning: str) -> None:
    backbone = prepared(folder(family), family, tuning)
    batch = packed(family, backbone)
    plain = gradients(backbone, batch)
    checkpoint_layers(backbone, True)
    assert_equal(plain, gradients(backbone, batch))


@pytest.mark.parametrize(("family", "tuning"), DROPOUT)
def test_a_layer_that_is_computed_again_draws_the_same_dropout(
    folder, packed, family: str, tuning: str
) -> None:
    backbone = prepared(folder(family), family, tuning)
    batch = packed(family, backbone)
    without = gradients(backbone, batch)
    backbone.dropout.hidden = backbone.dropout.adapter = 0.3
    plain = gradients(backbone, batch)
    assert any(not torch.equal(plain[name], without[name]) for name in plain)
    checkpoint_layers(backbone, True)
    assert_equal(plain, gradients(backbone, batch))


def test_another_batch_before_the_backward_pass_changes_nothing(folder, packed) -> None:
    backbone = prepared(folder("xlm_r"), "xlm_r", "full")
    batch = packed("xlm_r", backbone)
    backbone.dropout.hidden = 0.3
    plain = gradients(backbone, batch)
    checkpoint_layers(backbone, True)
    other = pack([Segment([5] * len(batch.input_ids), key=9)], backbone)

    def forward() -> None:
        with torch.no_grad():
            backbone(other)

    assert_equal(plain, gradients(backbone, batch, forward))


def test_layers_run_twice_while_checkpointing_is_on_and_once_otherwise(folder, packed) -> None:
    backbone = prepared(folder("llava"), "llava", "lora")
    batch, layers = packed("llava", backbone), text_layers(backbone)
    calls: list[int] = []
    layers[0].self_attn.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr]
    counts = []
    for on in (False, True, False):
        checkpoint_layers(backbone, on)
        calls.clear()
        gradients(backbone, batch)
        counts.append(len(calls))
    assert counts == [1, 2, 1]


def test_scoring_never_runs_a_layer_twice(folder, packed) -> None:
    backbone = prepared(folder("xlm_r"), "xlm_r", "full").eval()
    batch = packed("xlm_r", backbone)
    with torch.no_grad():
        plain = backbone(batch)
        checkpoint_layers(backbone, True)
        assert torch.equal(plain, backbone(batch))
