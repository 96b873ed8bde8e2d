"""Tiny backbones: equal bytes for a seed, stock files, a mimetic start."""

import hashlib

import pytest
import torch
import transformers

from xstilts.miniature.backbones import build_model, build_tiny
from xstilts.models.backbone import wrap
from xstilts.models.batch import Segment, pack
from xstilts.models.families import contract

FAMILIES = ["xlm_r", "bert", "llava", "qwen_vl"]
STOCK = {
    "xlm_r": "XLMRobertaForMaskedLM", "bert": "BertForMaskedLM", "llava": "LlavaForConditionalGeneration",
    "qwen_vl": "Qwen2_5_VLForConditionalGeneration",
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_gives_the_same_bytes(family, texts, tmp_path):
    settings, digests = {"hidden": 32, "layers": 2}, []
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number)  # the global stream has no say
        folder = build_tiny(family, seed, texts, settings, tmp_path / str(number))
        digests.append(
            {
                p.name: hashlib.sha256(p.read_bytes()).hexdigest()
                for p in folder.iterdir()
                if p.is_file()
            }
        )
        assert not [p for p in folder.iterdir() if p.is_dir()]
    assert digests[0] == digests[1]
    assert digests[0]["model.safetensors"] != digests[2]["model.safetensors"]
    assert digests[0]["tokenizer.json"] == digests[2]["tokenizer.json"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_folder_is_stock(family, folder):
    config = transformers.AutoConfig.from_pretrained(folder(family))
    assert config.architectures == [STOCK[family]]
    model = getattr(transformers, STOCK[family]).from_pretrained(folder(family))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (
        len(transformers.AutoTokenizer.from_pretrained(folder(family)))
        == config.get_text_config().vocab_size
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_half_of_the_heads_start_with_keys_equal_to_queries(family, texts):
    for settings, alike in (({}, True), ({"mimetic": 0}, False)):
        model, _ = build_model(family, 0, texts, {"hidden": 32, "layers": 2, **settings})
        names = ("q_proj", "k_proj") if contract(family).causal else ("query", "key")
        found = 0
        for name, module in model.named_modules():
            if name.endswith(("attention.self", "self_attn")) and "vision" not in name:
                q, k = (getattr(module, n).weight for n in names)
                assert torch.equal(q[:16], k[:16]) == alike
                assert not torch.equal(q[16:], k[16:])
                if alike:
                    gain = contract(family).tiny.gain
                    assert torch.allclose(q[:16] @ q[:16].T, gain**2 * torch.eye(16), atol=1e-4)
                found += 1
        assert found == 2


def test_a_model_in_memory_is_wrapped_as_a_loaded_one(folder, texts):
    from xstilts.models.backbone import load_backbone

    for family in FAMILIES:
        loaded = load_backbone(folder(family), family)
        made = getattr(transformers, STOCK[family]).from_pretrained(folder(family))
        backbone = wrap(made, family, layout=loaded.layout).eval()
        batch = pack([Segment(list(range(290, 300))), Segment([300, 301])], backbone)
        with torch.inference_mode():
            assert torch.equal(backbone(batch), loaded(batch))


def test_unknown_settings_and_families_are_refused(texts):
    with pytest.raises(ValueError, match=r"unknown settings \['depth'\]"):
        build_model("llava", 0, texts, {"depth": 3})
    with pytest.raises(ValueError, match="known: xlm_r, xlm_r_xl, bert, llava"):
        build_model("ber", 0, texts)
