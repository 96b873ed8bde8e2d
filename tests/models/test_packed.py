"""Packed segments equal the same segments alone, in every family: states and gradients."""

from dataclasses import replace

import pytest
import torch

from tests.models.conftest import CASES, family_of
from xstilts.models.backbone import Backbone, load_backbone, load_model
from xstilts.models.batch import Segment, pack
from xstilts.models.families import contract
from xstilts.models.processor import Processor, load_processor


def stock(folder, case) -> Backbone:
    of = contract(family_of(case))
    return Backbone(load_model(folder(case), of, attn_implementation="sdpa"), of).eval()


def ours_of(folder, case) -> Backbone:
    return load_backbone(folder(case), family_of(case))


def processor_of(folder, case) -> Processor:
    return load_processor(folder(case), family_of(case))


@pytest.mark.parametrize("case", CASES)
def test_states_and_gradients_are_those_of_each_segment_alone(case, folder, mixed, reference):
    segments = mixed(processor_of(folder, case))
    ours, theirs = ours_of(folder, case), stock(folder, case)
    batch = pack(segments, ours)
    states, expected = ours(batch), reference(theirs, segments)
    assert states.shape == (sum(len(s.input_ids) for s in segments), 32)
    assert (states - expected).abs().max() < 2e-5

    direction = torch.randn(32, generator=torch.Generator().manual_seed(0))
    for out in (states, expected):
        (out.tanh() @ direction).sum().backward()
    other, compared = dict(theirs.named_parameters()), 0
    for name, parameter in ours.named_parameters():
        assert (parameter.grad is None) == (other[name].grad is None), name
        if (
            parameter.grad is not None and other[name].grad.abs().max() > 1e-3
        ):  # keys' biases have none but noise
            scale = other[name].grad.abs().max()
            assert (parameter.grad - other[name].grad).abs().max() / scale < 2e-5, name
            compared += 1
    assert compared > 25
    frozen = [
        name
        for name, _ in ours.named_parameters()
        if any(part in name for part in ("vision", "visual", "projector", "image_newline"))
    ]
    assert bool(frozen) == (contract(family_of(case)).vision is not None)
    assert all(dict(ours.named_parameters())[n].grad is None for n in frozen)


@pytest.mark.parametrize("case", CASES)
def test_wrong_boundaries_change_states(case, folder, mixed):
    backbone = ours_of(folder, case)
    batch = pack(mixed(processor_of(folder, case)), backbone)
    first, second, *rest = batch.lengths
    moved = replace(batch, lengths=(first + 3, second - 3, *rest))
    with torch.inference_mode():
        assert (backbone(batch) - backbone(moved)).abs().max() > 1e-2


@pytest.mark.parametrize("case", CASES)
def test_a_segment_does_not_depend_on_its_neighbors_or_its_place(case, folder, mixed):
    backbone = ours_of(folder, case)
    segments = mixed(processor_of(folder, case))
    with torch.inference_mode():
        together = backbone(pack(segments, backbone)).split([len(s.input_ids) for s in segments])
        turned = backbone(pack(segments[::-1], backbone)).split(
            [len(s.input_ids) for s in segments[::-1]]
        )
    for a, b in zip(together, turned[::-1], strict=True):
        assert (a - b).abs().max() < 5e-6


@pytest.mark.parametrize("case", CASES)
def test_layers_and_logits(case, folder, mixed):
    processor = processor_of(folder, case)
    ours, theirs = ours_of(folder, case), stock(folder, case)
    segment = mixed(processor)[1]
    batch = pack([segment], ours)
    ids = torch.tensor([list(segment.input_ids)])
    with torch.inference_mode():
        full = theirs.model(input_ids=ids, output_hidden_states=True)
        for depth, layer in ((0.0, 0), (14 / 24, 2), (1.0, 3)):
            assert (ours.hidden_at(batch, depth) - full.hidden_states[layer][0]).abs().max() < 1e-5
        chosen = torch.tensor([2, 5])
        assert (ours.lm_logits(ours(batch)[chosen]) - full.logits[0, chosen]).abs().max() < 1e-4
    with pytest.raises(ValueError, match="relative depth"):
        ours.hidden_at(batch, 1.5)


@pytest.mark.parametrize("family", ["llava", "qwen_vl"])
def test_bidirectional_decoders_see_ahead_within_their_segment_only(family, folder, mixed):
    segments = mixed(load_processor(folder(family), family))
    changed = [Segment([*segments[0].input_ids[:-1], 40], segments[0].images), *segments[1:]]
    for attention, ahead in (("causal", False), ("bidirectional", True)):
        backbone = load_backbone(folder(family), family, attention)
        with torch.inference_mode():
            before, after = backbone(pack(segments, backbone)), backbone(pack(changed, backbone))
        n = len(segments[0].input_ids)
        assert ((before - after)[0].abs().max() > 1e-4) == ahead
        assert torch.allclose(before[n:], after[n:], atol=1e-6)


def test_qwen_positions_are_those_of_transformers(folder, mixed):
    backbone = load_backbone(folder("qwen_vl"), "qwen_vl")
    for segment in mixed(load_processor(folder("qwen_vl"), "qwen_vl")):
        ids = torch.tensor([list(segment.input_ids)])
        grids = torch.tensor([i.grid for i in segment.images]) if segment.images else None
        kinds = (ids == backbone.config.image_token_id).int()
        expected = backbone.model.model.get_rope_index(
            ids, mm_token_type_ids=kinds, image_grid_thw=grids
        )[0][:, 0]
        found = backbone.positions(segment)
        assert torch.equal(found[1:], expected)
        assert found[0].tolist() == list(range(ids.shape[1]))


def test_bad_segments_are_refused(folder, mixed):
    llava, xlm_r = load_backbone(folder("llava"), "llava"), load_backbone(folder("xlm_r"), "xlm_r")
    shown = mixed(load_processor(folder("llava"), "llava"))[0]
    with pytest.raises(ValueError, match="truncated inside an image"):
        pack([Segment(shown.input_ids[2:], shown.images)], llava)
    with pytest.raises(ValueError, match="longer than the 512"):
        pack([Segment([5] * 513)], xlm_r)
    with pytest.raises(ValueError, match="at least one"):
        pack([Segment([5]), Segment([])], xlm_r)
    with pytest.raises(ValueError, match="allowed: causal, bidirectional"):
        load_backbone(folder("llava"), "llava", "sideways")
    with pytest.raises(ValueError, match="known: xlm_r, xlm_r_xl, bert, llava"):
        load_backbone(folder("llava"), "ber")


def test_fields_of_a_batch(folder):
    backbone = load_backbone(folder("xlm_r"), "xlm_r")
    batch = pack([Segment([7, 8], key=5), Segment([9], key=6), Segment([3, 4, 5], key=7)], backbone)
    assert batch.cu_seq_lens.tolist() == [0, 2, 3, 6]
    assert batch.lengths == (2, 1, 3)
    assert batch.max_length == 3
    assert batch.positions.tolist() == [2, 3, 2, 2, 3, 4]
    assert batch.offsets.tolist() == [0, 1, 0, 0, 1, 2]
    assert batch.keys.tolist() == [5, 5, 6, 7, 7, 7]
