"""Qwen3-VL: patches of 16 pixels, normalized queries and keys, and DeepStack, in which the first
text layers add states of several vision layers. Its larger models have experts.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xstilts.models.contract import UsualPicture
from xstilts.models.qwen2_vl import QWEN2_5_VL
from xstilts.models.qwen_vl import (
    VISION,
    tiny_decoder,
    tiny_patch,
    tiny_processor,
    tiny_token_ids,
)

#: A token is 32 × 32 pixels. The bounds in tokens are those of the makers' fine-tuning of
#: Qwen2.5-VL: see xstilts.tasks.recipe_sets.IMAGE_BUDGETS.
_BUDGET = {"image_tokens": 576, "min_pixels": 16 * 32 * 32, "max_pixels": 576 * 32 * 32}
#: Published: 128 experts and 8 per token.
_EXPERTS, _EXPERTS_OF_A_TOKEN = 8, 2


def _text(tokenizer: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    half = settings["hidden"] // settings["heads"] // 2
    side = half * 5 // 16  # published: 24, 20, 20 of 64
    text = tiny_decoder(tokenizer, settings, (half - 2 * side, side, side))
    text["rope_parameters"]["mrope_interleaved"] = True
    return text | {"head_dim": 2 * half}


def _vision(settings: Mapping[str, Any]) -> dict[str, Any]:
    depth = settings["vision_layers"]
    return {
        "depth": depth,
        "hidden_size": settings["vision_hidden"],
        "intermediate_size": settings["vision_ff"],
        "num_heads": settings["vision_heads"],
        "out_hidden_size": settings["hidden"],
        "patch_size": tiny_patch(settings),
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "num_position_embeddings": 48 * 48,  # as published
        "deepstack_visual_indexes": list(range(depth))[-3:],  # published: three layers
    }


def _tiny(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    config = tf.Qwen3VLConfig(
        text_config=_text(tokenizer, settings),
        vision_config=_vision(settings),
        tie_word_embeddings=True,
        **tiny_token_ids(tokenizer),
    )
    processor = tiny_processor("Qwen3VLProcessor", tokenizer, settings)
    return tf.Qwen3VLForConditionalGeneration(config), processor


def _tiny_moe(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    text = _text(tokenizer, settings) | {
        "moe_intermediate_size": settings["ff"] // _EXPERTS_OF_A_TOKEN,
        "num_experts": _EXPERTS,
        "num_experts_per_tok": _EXPERTS_OF_A_TOKEN,
    }
    config = tf.Qwen3VLMoeConfig(
        text_config=text,
        vision_config=_vision(settings),
        tie_word_embeddings=True,
        **tiny_token_ids(tokenizer),
    )
    processor = tiny_processor("Qwen3VLProcessor", tokenizer, settings)
    return tf.Qwen3VLMoeForConditionalGeneration(config), processor


#: Numbers of parameters: those of transformers' models with the published configurations.
QWEN3_VL = replace(
    QWEN2_5_VL,
    family="qwen3_vl",
    recorded="",
    model_class="Qwen3VLForConditionalGeneration",
    model_types=("qwen3_vl",),
    vision=replace(VISION, usual=UsualPicture(tokens=300), budget=_BUDGET),
    parameters={
        "Qwen/Qwen3-VL-2B-Instruct": 2.1e9,
        "Qwen/Qwen3-VL-4B-Instruct": 4.4e9,
        "Qwen/Qwen3-VL-8B-Instruct": 8.8e9,
        "Qwen/Qwen3-VL-32B-Instruct": 33.4e9,
    },
    tiny=replace(QWEN2_5_VL.tiny, model=_tiny),
)

QWEN3_VL_MOE = replace(
    QWEN3_VL,
    family="qwen3_vl_moe",
    model_class="Qwen3VLMoeForConditionalGeneration",
    model_types=("qwen3_vl_moe",),
    lora_parameters=("mlp.experts.gate_up_proj", "mlp.experts.down_proj"),
    parameters={"Qwen/Qwen3-VL-30B-A3B-Instruct": 3.9e9},  # of 31.1e9: see `parameters`
    tiny=replace(QWEN2_5_VL.tiny, model=_tiny_moe),
)
