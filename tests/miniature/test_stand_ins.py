"""Stand-ins load as the models that they stand for, and have their tokenizer and geometry."""

from pathlib import Path

import pytest
import torch
import transformers as tf

from xstilts.errors import DataError
from xstilts.miniature.stand_ins import available, main, small_config, write_stand_in
from xstilts.models.backbone import load_backbone
from xstilts.models.processor import load_processor
from xstilts.models.published import PUBLISHED

#: Keys that say how large images are, how long sequences, and which tokens are special.
GEOMETRY = (
    "vocab_size", "max_position_embeddings", "image_size", "patch_size", "spatial_merge_size", "window_size",
    "num_position_embeddings", "temporal_patch_size",
)  # fmt: skip
TOP = (
    "image_token_index", "image_token_id", "video_token_id", "vision_start_token_id", "image_grid_pinpoints",
    "vision_feature_layer", "vision_feature_select_strategy", "vision_aspect_ratio", "tie_word_embeddings",
)  # fmt: skip
#: (model, family, id of its placeholder).
LOADED = (
    ("llava-hf/llava-1.5-7b-hf", "llava", 32000),
    ("Qwen/Qwen2.5-VL-3B-Instruct", "qwen2_5_vl", 151655),
    ("llava-hf/llava-interleave-qwen-0.5b-hf", "llava", 151646),
)


@pytest.mark.parametrize("hub", available())
def test_only_widths_depths_and_heads_differ_from_the_published_configuration(hub):
    published, small = PUBLISHED[hub].config, small_config(PUBLISHED[hub])
    parts = [(published, small)]
    parts += [
        (published[key], small[key]) for key in ("text_config", "vision_config") if key in published
    ]
    for before, after in parts:
        assert before.keys() == after.keys()
        for key in (*GEOMETRY, *TOP):
            assert before.get(key) == after.get(key), key
    config = tf.AutoConfig.for_model(**small)
    assert config.get_text_config().hidden_size == 32


@pytest.mark.parametrize(("hub", "family", "placeholder"), LOADED)
def test_a_stand_in_loads_as_a_backbone_with_real_tokens(
    hub, family, placeholder, real_tokenizers, tmp_path
):
    folder = write_stand_in(hub, tmp_path / "model", real_tokenizers)
    processor, backbone = load_processor(folder, family), load_backbone(folder, family)
    assert processor.image_token_id == placeholder == backbone.config.image_token_id
    vocabulary = backbone.model.get_input_embeddings().weight.shape[0]
    text = PUBLISHED[hub].config["text_config"]
    assert vocabulary == text["vocab_size"] >= len(processor.tokenizer)
    assert processor.max_tokens == text["max_position_embeddings"]
    assert processor.text_tokens("<image> <|image_pad|>")[0].count(placeholder) == 0


def test_equal_seeds_give_equal_weights(real_tokenizers, tmp_path):
    folders = [
        write_stand_in("llava-hf/llava-1.5-7b-hf", tmp_path / name, real_tokenizers, seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    first, same, other = ((folder / "model.safetensors").read_bytes() for folder in folders)
    assert first == same != other
    state = torch.random.get_rng_state()
    write_stand_in("llava-hf/llava-1.5-7b-hf", tmp_path / "d", real_tokenizers)
    assert torch.equal(state, torch.random.get_rng_state())


def test_vicuna_has_no_placeholder_and_pads_with_the_unknown_token(real_tokenizers, tmp_path):
    folder = write_stand_in("lmsys/vicuna-7b-v1.5", tmp_path / "model", real_tokenizers)
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    assert (len(tokenizer), tokenizer.pad_token) == (32000, "<unk>")


def test_a_model_without_a_real_tokenizer_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match="mistral-7b-hf: no stand-in; available: llava-hf"):
        write_stand_in("llava-hf/llava-v1.6-mistral-7b-hf", tmp_path / "model", tmp_path)
    with pytest.raises(DataError, match=r"llama2-tokenizer has no tokenizer\.json"):
        write_stand_in("llava-hf/llava-1.5-7b-hf", tmp_path / "model", tmp_path)


def test_the_command_writes_a_folder_per_model(real_tokenizers: Path, tmp_path: Path, capsys):
    arguments = [str(tmp_path), "--tokenizers", str(real_tokenizers), "--only"]
    assert main([*arguments, "llava-hf/llava-1.5-7b-hf"]) == 0
    folder = tmp_path / "llava-hf/llava-1.5-7b-hf"
    assert capsys.readouterr().out == f"{folder}\n"
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert main([*arguments, "llava-hf/llava-1.5-7b-hf"]) == 0  # kept
    assert capsys.readouterr().out == ""
