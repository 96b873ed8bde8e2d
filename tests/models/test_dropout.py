"""Dropout masks are a function of seed, update, example, place, channel and module: nothing else
can change them.
"""

import pytest
import torch
from torch import nn

from xstilts.models.backbone import load_backbone
from xstilts.models.batch import Segment, pack, segment_key
from xstilts.models.dropout import CounterDropout, DropoutControl, install, keep_mask
from xstilts.models.lora import add_lora, initial_state, load_trainable


def mask(
    control: DropoutControl, name: str, keys: list[int], offsets: list[int], channels: int = 64
) -> torch.Tensor:
    control.begin(torch.tensor(keys), torch.tensor(offsets))
    return CounterDropout(control, "hidden", name)(torch.ones(len(keys), channels))


def test_a_mask_is_scaled_and_has_its_rate():
    kept = mask(on := DropoutControl(hidden=0.1), "m", [3] * 2000, list(range(2000)))
    assert sorted(kept.unique().tolist()) == [0.0, pytest.approx(1 / 0.9)]
    assert abs(float((kept == 0).float().mean()) - 0.1) < 0.003
    assert kept.mean(0).std() < 0.03  # no channel is dropped oftener
    assert kept.mean(1).std() < 0.06  # nor any token
    on.hidden = 0.0
    assert mask(on, "m", [3], [0]).tolist() == torch.ones(1, 64).tolist()


def test_a_mask_is_a_function_of_its_five_coordinates():
    control = DropoutControl(hidden=0.5)
    control.at(seed=1, update=7, stage="mnli")
    first = mask(control, "layer.0", [11, 11, 22], [0, 1, 0])
    again = mask(control, "layer.0", [22, 11, 33, 11], [0, 1, 0, 0])
    assert torch.equal(first, again[[3, 1, 0]])  # order and neighbours do not matter
    assert not torch.equal(first[0], first[1])  # place
    assert not torch.equal(first[0], first[2])  # example
    assert not torch.equal(first, mask(control, "layer.1", [11, 11, 22], [0, 1, 0]))  # module
    for other in ({"seed": 2, "update": 7, "stage": "mnli"}, {"seed": 1, "update": 8, "stage": "mnli"},
                  {"seed": 1, "update": 7, "stage": "squad"}):  # fmt: skip
        control.at(**other)
        assert not torch.equal(first, mask(control, "layer.0", [11, 11, 22], [0, 1, 0]))


def test_masks_do_not_change_between_versions():
    """Golden: a change here changes trained models, and needs a new version of the finetune
    recipe.
    """
    control = DropoutControl(hidden=0.5)
    control.at(seed=0, update=0, stage="")
    kept = (mask(control, "layer", [segment_key(0, 0)], [3], channels=16)[0] > 0).int().tolist()
    assert kept == GOLDEN


GOLDEN = [0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1]


def test_tokens_of_one_example_are_dropped_independently():
    tokens = torch.arange(512) * 7919
    kept = keep_mask(tokens, 256, 0.5).float() * 2 - 1
    overlap = (kept @ kept.T / 256).fill_diagonal_(0)
    assert overlap.abs().max() < 0.4
    assert abs(float(overlap.mean())) < 0.003
    between = (kept.T @ kept / 512).fill_diagonal_(0)
    assert between.abs().max() < 0.3


def test_packing_and_order_do_not_change_training_states(folder):
    backbone = load_backbone(folder("xlm_r"), "xlm_r").train()
    segments = [Segment(list(range(300, 300 + n)), key=segment_key(n)) for n in (9, 4, 12)]
    plain = backbone(pack(segments, backbone))
    backbone.dropout.hidden = 0.3
    backbone.dropout.at(seed=0, update=5)
    together = backbone(pack(segments, backbone))
    assert (together - plain).abs().max() > 0.1
    alone = torch.cat([backbone(pack([s], backbone)) for s in reversed(segments)][::-1])
    assert (together - alone).abs().max() < 5e-6
    backbone.dropout.at(seed=0, update=6)
    assert (together - backbone(pack(segments, backbone))).abs().max() > 0.1
    assert (plain - backbone.eval()(pack(segments, backbone))).abs().max() < 1e-6


def test_adapters_have_their_own_rate(folder):
    backbone = load_backbone(folder("llava"), "llava")
    add_lora(backbone, 4, 8)
    start = initial_state(backbone, {"mode": "lora"}, 0)
    load_trainable(
        backbone, {n: t if ".lora_A." in n else torch.full_like(t, 0.1) for n, t in start.items()}
    )
    batch = pack([Segment(list(range(300, 312)), key=1)], backbone.train())
    plain = backbone(batch)
    backbone.dropout.hidden = 0.5
    assert torch.equal(backbone(batch), plain)  # a decoder has no dropout on hidden states
    backbone.dropout.adapter = 0.5
    assert (backbone(batch) - plain).abs().max() > 1e-3


def test_all_stock_dropout_is_replaced(folder):
    text = load_backbone(folder("xlm_r"), "xlm_r").model.get_submodule("roberta")
    assert not [m for m in text.modules() if isinstance(m, nn.Dropout)]
    assert install(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)), DropoutControl(), "hidden") == [
        "1"
    ]


def test_dropout_outside_the_backbone_is_refused():
    control = DropoutControl(hidden=0.5)
    with pytest.raises(RuntimeError, match="call the backbone"):
        CounterDropout(control, "hidden", "m")(torch.ones(2, 3))
    control.begin(torch.tensor([1, 1]), torch.tensor([0, 1]))
    with pytest.raises(RuntimeError, match="3 states for 2 tokens"):
        CounterDropout(control, "hidden", "m")(torch.ones(3, 3))
