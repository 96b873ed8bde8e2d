"""Adapters sit in the text stack only, start from a named stream, and never write to the
backbone's weights.
"""

import re

import pytest
import torch

from xstilts.models.backbone import load_backbone
from xstilts.models.batch import pack
from xstilts.models.lora import add_lora, initial_state, load_trainable, merged, trainable_state
from xstilts.models.processor import load_processor

LORA = {"mode": "lora", "r": 4, "alpha": 8}
MODULES = {
    "xlm_r": 18,
    "llava": 21,
    "qwen_vl": 21,
}  # 3 layers × 6 (query, key, value, 3 dense) or 7


@pytest.mark.parametrize("family", list(MODULES))
def test_only_the_text_stack_is_adapted(family, folder):
    backbone = load_backbone(folder(family), family)
    if family == "llava":  # what an unanchored "q_proj" would have hit
        assert any(re.search(r"vision_tower.*q_proj$", n) for n, _ in backbone.named_modules())
    names = add_lora(backbone, 4, 8)
    assert len(names) == MODULES[family]
    assert all("language_model.layers." in n or "roberta.encoder.layer." in n for n in names)
    assert not [n for n in names if "vision" in n or "visual" in n or "lm_head" in n]
    state = trainable_state(backbone, "lora")
    assert len(state) == 2 * len(names)
    assert all(".lora_A.default." in n or ".lora_B.default." in n for n in state)
    assert all(t.shape[0] == 4 if ".lora_A." in n else t.shape[1] == 4 for n, t in state.items())


def test_initial_adapters_come_from_a_random_stream_and_change_no_state(folder, mixed):
    before = load_backbone(folder("llava"), "llava")
    segments = mixed(load_processor(folder("llava"), "llava"))
    torch.manual_seed(5)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    backbone = load_backbone(folder("llava"), "llava")
    add_lora(backbone, 4, 8)
    assert torch.equal(torch.rand(1), drawn)  # the global stream did not notice
    first, again, other = (initial_state(backbone, LORA, seed) for seed in (0, 0, 1))
    a = [n for n in first if ".lora_A." in n]
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not any(torch.equal(first[n], other[n]) for n in a)
    assert all(not first[n].any() for n in first if ".lora_B." in n)
    assert all(0.1 < float(first[n].abs().max()) <= 32**-0.5 for n in a if first[n].shape[1] == 32)
    load_trainable(backbone, first)
    with torch.inference_mode():
        batch = pack(segments, before)
        assert torch.equal(before(batch), backbone(batch))
    assert initial_state(before, {"mode": "full"}, 0) == {}


@pytest.mark.parametrize("family", list(MODULES))
def test_merging_keeps_scores_and_restores_weights_bit_for_bit(family, folder, mixed):
    backbone = load_backbone(folder(family), family)
    add_lora(backbone, 4, 8)
    state = initial_state(backbone, LORA, 0)
    noise = torch.Generator().manual_seed(0)
    load_trainable(
        backbone,
        {
            n: t if ".lora_A." in n else torch.randn(t.shape, generator=noise) * 0.1
            for n, t in state.items()
        },
    )
    batch = pack(mixed(load_processor(folder(family), family)), backbone)
    weights = {n: p.detach().clone() for n, p in backbone.named_parameters()}
    trains = {n for n, p in backbone.named_parameters() if p.requires_grad}
    with torch.inference_mode():
        apart = backbone(batch)
        with merged(backbone):
            folded = backbone(batch)
        after = backbone(batch)
    assert not torch.equal(apart, folded)
    assert (apart - folded).abs().max() < 5e-5
    assert torch.equal(apart, after)
    now = dict(backbone.named_parameters())
    assert all(torch.equal(weights[n], now[n]) for n in weights)
    assert {n for n, p in now.items() if p.requires_grad} == trains
    with pytest.raises(RuntimeError, match="stopped"), merged(backbone):
        raise RuntimeError("stopped")
    assert all(torch.equal(weights[n], p) for n, p in backbone.named_parameters())


def test_full_tuning_trains_everything_except_tower_and_projector(folder):
    for family, frozen in (("llava", ("model.model.vision_tower.", "model.model.multi_modal_projector.")),
                           ("qwen_vl", ("model.model.visual.",)), ("xlm_r", ())):  # fmt: skip
        backbone = load_backbone(folder(family), family)
        state = trainable_state(backbone, "full")
        assert {n for n, _ in backbone.named_parameters()} - set(state) == {
            n for n, _ in backbone.named_parameters() if frozen and n.startswith(frozen)
        }


def test_states_load_bit_for_bit_and_only_into_matching_backbones(folder):
    backbone = load_backbone(folder("xlm_r"), "xlm_r")
    state = {n: t.clone() for n, t in trainable_state(backbone, "full").items()}
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(1.0)
    load_trainable(backbone, state)
    assert all(torch.equal(t, state[n]) for n, t in trainable_state(backbone).items())
    with pytest.raises(ValueError, match="1 names differ"):
        load_trainable(backbone, dict(list(state.items())[1:]))
    with pytest.raises(ValueError, match="without LoRA"):
        trainable_state(backbone, "lora")
    add_lora(backbone, 2, 2)
    with pytest.raises(ValueError, match="with LoRA"):
        trainable_state(backbone, "full")
