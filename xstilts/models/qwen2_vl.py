"""Qwen2-VL, and Qwen2.5-VL, whose vision tower attends within windows in most of its layers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xstilts.models.contract import Contract, Tiny
from xstilts.models.decoder import lora_targets
from xstilts.models.qwen_vl import (
    TINY_TOKENIZER,
    VISION,
    positions,
    tiny_decoder,
    tiny_patch,
    tiny_processor,
    tiny_token_ids,
)
from xstilts.models.special_tokens import line_break


def _text(tokenizer: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    half = settings["hidden"] // settings["heads"] // 2
    side = half * 3 // 8  # published: 16, 24, 24 of 64
    return tiny_decoder(tokenizer, settings, (half - 2 * side, side, side))


def _tiny_2(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    vision = {
        "depth": settings["vision_layers"],
        "embed_dim": settings["vision_hidden"],
        "hidden_size": settings["hidden"],  # of its output
        "mlp_ratio": max(settings["vision_ff"] // settings["vision_hidden"], 1),
        "num_heads": settings["vision_heads"],
        "patch_size": tiny_patch(settings),
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    config = tf.Qwen2VLConfig(
        text_config=_text(tokenizer, settings),
        vision_config=vision,
        tie_word_embeddings=True,
        **tiny_token_ids(tokenizer),
    )
    processor = tiny_processor("Qwen2VLProcessor", tokenizer, settings)
    return tf.Qwen2VLForConditionalGeneration(config), processor


def _tiny_2_5(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    patch = tiny_patch(settings)
    vision = {
        "depth": settings["vision_layers"],
        "hidden_size": settings["vision_hidden"],
        "intermediate_size": settings["vision_ff"],
        "num_heads": settings["vision_heads"],
        "out_hidden_size": settings["hidden"],
        "patch_size": patch,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": patch * 8,  # published: 112 for patches of 14
        "fullatt_block_indexes": [settings["vision_layers"] - 1],
    }
    config = tf.Qwen2_5_VLConfig(
        text_config=_text(tokenizer, settings),
        vision_config=vision,
        tie_word_embeddings=True,
        **tiny_token_ids(tokenizer),
    )
    processor = tiny_processor("Qwen2_5_VLProcessor", tokenizer, settings)
    return tf.Qwen2_5_VLForConditionalGeneration(config), processor


#: Under its older name `qwen_vl` a plan may have a Qwen2-VL, which loads as what it is. Numbers of
#: parameters: those of transformers' models with the published configurations.
QWEN2_5_VL = Contract(
    family="qwen2_5_vl",
    recorded="qwen_vl",
    model_class="AutoModelForImageTextToText",
    model_types=("qwen2_5_vl", "qwen2_vl"),
    core="model",
    text="model.language_model",
    causal=True,
    pool="last",
    subtoken="last",
    layout=line_break,
    lora=lora_targets("language_model"),
    positions=positions,
    vision=VISION,
    recipes="qwen_vl",
    parameters={
        "Qwen/Qwen2.5-VL-3B-Instruct": 3.8e9,
        "Qwen/Qwen2.5-VL-7B-Instruct": 8.3e9,
        "Qwen/Qwen2.5-VL-32B-Instruct": 33.5e9,
        "Qwen/Qwen2.5-VL-72B-Instruct": 73.4e9,
    },
    tiny=Tiny(tokenizer=TINY_TOKENIZER, model=_tiny_2_5, gain=2.0, updates=250, lr=5e-3),
)

QWEN2_VL = replace(
    QWEN2_5_VL,
    family="qwen2_vl",
    recorded="",
    model_class="Qwen2VLForConditionalGeneration",
    model_types=("qwen2_vl",),
    parameters={
        "Qwen/Qwen2-VL-2B-Instruct": 2.2e9,
        "Qwen/Qwen2-VL-7B-Instruct": 8.3e9,
        "Qwen/Qwen2-VL-72B-Instruct": 73.4e9,
    },
    tiny=replace(QWEN2_5_VL.tiny, model=_tiny_2),
)
