"""Published configurations of supported models, as data: hub id → what config.json and
preprocessor_config.json of the hub repository say about shapes, positions and images.

The keys are those of transformers' configurations and image processors. What has no effect on
shapes, positions and images is left out, and so is what could not be checked: each entry names its
sources. Where `parameters` is set, a model built from the entry has exactly as many parameters,
which checks all of its shapes at once. Imports no torch and no transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Published:
    """The published configuration of one model.

    Attributes:
        config: config.json, as `AutoConfig.for_model(**config)` takes it.
        sources: What the values were checked against.
        images: preprocessor_config.json; empty without images.
        parameters: Parameters with the LM head, as the hub or a program that loaded the model
            reports them. Tied embeddings count once. None: no report known.
    """

    config: Mapping[str, Any]
    sources: tuple[str, ...]
    images: Mapping[str, Any] = field(default_factory=dict)
    parameters: int | None = None


#: Name → text stack: model_type, hidden_size, layers, heads, key-value heads, intermediate_size,
#: vocab_size, max_position_embeddings, rope_theta, tied embeddings.
_TEXT: Mapping[str, tuple[str, int, int, int, int, int, int, int, float, bool]] = {
    "vicuna-7b": ("llama", 4096, 32, 32, 32, 11008, 32000, 4096, 1e4, False),
    "llava-vicuna-7b": ("llama", 4096, 32, 32, 32, 11008, 32064, 4096, 1e4, False),
    "llava-vicuna-13b": ("llama", 5120, 40, 40, 40, 13824, 32064, 4096, 1e4, False),
    "llava-mistral-7b": ("mistral", 4096, 32, 32, 8, 14336, 32064, 32768, 1e6, False),
    "llava-qwen1.5-0.5b": ("qwen2", 1024, 24, 16, 16, 2816, 152000, 32768, 1e6, True),
    "llava-qwen1.5-7b": ("qwen2", 4096, 32, 32, 32, 11008, 152000, 32768, 1e6, False),
    "llava-qwen2-0.5b": ("qwen2", 896, 24, 14, 2, 4864, 152000, 32768, 1e6, True),
    "llava-qwen2-7b": ("qwen2", 3584, 28, 28, 4, 18944, 152128, 32768, 1e6, False),
    "qwen2.5-7b": ("qwen2", 3584, 28, 28, 4, 18944, 152064, 32768, 1e6, False),
    "qwen3-8b": ("qwen3", 4096, 36, 32, 8, 12288, 151936, 40960, 1e6, False),
    "qwen2-vl-2b": ("qwen2_vl_text", 1536, 28, 12, 2, 8960, 151936, 32768, 1e6, True),
    "qwen2-vl-7b": ("qwen2_vl_text", 3584, 28, 28, 4, 18944, 152064, 32768, 1e6, False),
    "qwen2.5-vl-3b": ("qwen2_5_vl_text", 2048, 36, 16, 2, 11008, 151936, 128000, 1e6, True),
    "qwen2.5-vl-7b": ("qwen2_5_vl_text", 3584, 28, 28, 4, 18944, 152064, 128000, 1e6, False),
    "qwen3-vl-2b": ("qwen3_vl_text", 2048, 28, 16, 8, 6144, 151936, 262144, 5e6, True),
    "qwen3-vl-4b": ("qwen3_vl_text", 2560, 36, 32, 8, 9728, 151936, 262144, 5e6, True),
    "qwen3-vl-8b": ("qwen3_vl_text", 4096, 36, 32, 8, 12288, 151936, 262144, 5e6, False),
    "qwen3-vl-30b": ("qwen3_vl_moe_text", 2048, 48, 32, 4, 6144, 151936, 262144, 5e6, False),
}
_MOE = {
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
#: What the text stacks of a model_type have besides.
_MORE: Mapping[str, Mapping[str, Any]] = {
    "mistral": {"sliding_window": None},
    "qwen3": {"head_dim": 128},
    "qwen3_vl_text": {"head_dim": 128},
    "qwen3_vl_moe_text": {"head_dim": 128, **_MOE},
}
_MROPE = {"mrope_section": [16, 24, 24]}
_MROPE_INTERLEAVED = {"mrope_section": [24, 20, 20], "mrope_interleaved": True}
_ROPE: Mapping[str, Mapping[str, Any]] = {
    "qwen2_vl_text": _MROPE,
    "qwen2_5_vl_text": _MROPE,
    "qwen3_vl_text": _MROPE_INTERLEAVED,
    "qwen3_vl_moe_text": _MROPE_INTERLEAVED,
}


def _text(name: str) -> dict[str, Any]:
    """The configuration of a text stack of `_TEXT`."""
    kind, hidden, layers, heads, kv_heads, ff, vocabulary, positions, theta, tied = _TEXT[name]
    return {
        "model_type": kind,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": ff,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta, **_ROPE.get(kind, {})},
        "tie_word_embeddings": tied,
        **_MORE.get(kind, {}),
    }


_CLIP_NORM = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_CLIP_336: Mapping[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
_SIGLIP_384: Mapping[str, Any] = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,  # without the last of SigLIP's 27
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}
_CLIP_IMAGES: Mapping[str, Any] = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 336},
    "crop_size": {"height": 336, "width": 336},
    "do_center_crop": True,
    **_CLIP_NORM,
}
_CLIP_PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
_NEXT_IMAGES: Mapping[str, Any] = {
    **_CLIP_IMAGES,
    "image_processor_type": "LlavaNextImageProcessor",
    "image_grid_pinpoints": _CLIP_PINPOINTS,
}
_SIGLIP_IMAGES: Mapping[str, Any] = {
    "image_processor_type": "SiglipImageProcessor",
    "size": {"height": 384, "width": 384},
    **_HALF,
}
_SIDES = (384, 768, 1152, 1536, 1920, 2304)
_SIGLIP_PINPOINTS = [[height, width] for height in _SIDES for width in _SIDES]
_ONEVISION_IMAGES: Mapping[str, Any] = {
    **_SIGLIP_IMAGES,
    "image_processor_type": "LlavaOnevisionImageProcessor",
    "image_grid_pinpoints": _SIGLIP_PINPOINTS,
}
_QWEN2_IMAGES: Mapping[str, Any] = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "patch_size": 14,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "min_pixels": 3136,
    "max_pixels": 12845056,
    **_CLIP_NORM,
}
_QWEN3_IMAGES: Mapping[str, Any] = {
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "patch_size": 16,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "size": {"shortest_edge": 65536, "longest_edge": 16777216},
    **_HALF,
}
_CLIP_FEATURES = {
    "image_token_index": 32000,
    "vision_feature_select_strategy": "default",
    "vision_feature_layer": -2,
}
_SIGLIP_FEATURES = {
    "image_token_index": 151646,
    "vision_feature_select_strategy": "full",
    "vision_feature_layer": -1,
}
#: model_type of LLaVA → keys of config.json besides those of the tower.
_LLAVA: Mapping[str, Mapping[str, Any]] = {
    "llava": {},
    "llava_next": {"image_grid_pinpoints": _CLIP_PINPOINTS},
    "llava_onevision": {
        "image_grid_pinpoints": _SIGLIP_PINPOINTS,
        "vision_aspect_ratio": "anyres_max_9",
        "video_token_index": 151647,
    },
}
_MERGED = {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}


def _qwen_vision(kind: str, text: str, width: int) -> dict[str, Any]:
    """The tower of a Qwen-VL model. kind: its model_type. text: name of its text stack. width:
    hidden size of the text stack.
    """
    own: dict[str, Any]
    if kind == "qwen2_vl":  # here hidden_size is the width of the output
        own = {"depth": 32, "embed_dim": 1280, "hidden_size": width, "mlp_ratio": 4}
    elif kind == "qwen2_5_vl":
        own = {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "out_hidden_size": width,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
        }
    else:
        small = text in ("qwen3-vl-2b", "qwen3-vl-4b")
        own = {
            "depth": 24 if small else 27,
            "hidden_size": 1024 if small else 1152,
            "intermediate_size": 4096 if small else 4304,
            "out_hidden_size": width,
            "patch_size": 16,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [5, 11, 17] if small else [8, 16, 24],
        }
    return {"model_type": f"{kind}_vision", "num_heads": 16, **_MERGED, **own}


def _llava(kind: str, text: str, *sources: str, parameters: int | None = None) -> Published:
    """A LLaVA model: CLIP with Llama and Mistral, SigLIP with Qwen."""
    stack, clip = _text(text), "qwen" not in text
    config = {
        "model_type": kind,
        "text_config": stack,
        "vision_config": dict(_CLIP_336 if clip else _SIGLIP_384),
        "tie_word_embeddings": stack["tie_word_embeddings"],
        **(_CLIP_FEATURES if clip else _SIGLIP_FEATURES),
        **_LLAVA[kind],
    }
    images = {
        "llava": _CLIP_IMAGES if clip else _SIGLIP_IMAGES,
        "llava_next": _NEXT_IMAGES,
        "llava_onevision": _ONEVISION_IMAGES,
    }
    return Published(config, sources, images[kind], parameters)


def _qwen_vl(kind: str, text: str, *sources: str, parameters: int | None = None) -> Published:
    """A Qwen-VL model."""
    stack = _text(text)
    config = {
        "model_type": kind,
        "text_config": stack,
        "vision_config": _qwen_vision(kind, text, stack["hidden_size"]),
        "tie_word_embeddings": stack["tie_word_embeddings"],
        "image_token_id": 151655,
        "video_token_id": 151656,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
    }
    images = _QWEN3_IMAGES if kind.startswith("qwen3") else _QWEN2_IMAGES
    return Published(config, sources, images, parameters)


def _decoder(text: str, *sources: str, parameters: int | None = None) -> Published:
    return Published(_text(text), sources, {}, parameters)


def _encoder(
    kind: str, sizes: tuple[int, int, int, int], *sources: str, parameters: int | None = None
) -> Published:
    """BERT or XLM-R. sizes: hidden size, layers, heads, vocabulary."""
    hidden, layers, heads, vocabulary = sizes
    bert = kind == "bert"
    config = {
        "model_type": kind,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "vocab_size": vocabulary,
        "max_position_embeddings": 512 if bert else 514,
        "type_vocab_size": 2 if bert else 1,
        "pad_token_id": 0 if bert else 1,
        "tie_word_embeddings": True,
    }
    return Published(config, sources, {}, parameters)


#: transformers' scripts that wrote the repositories of llava-hf. They add two tokens to the text
#: model's vocabulary and pad it to a multiple of 64: 32,000 → 32,064, 151,936 → 152,000,
#: 152,064 → 152,128.
_CONVERTED = "transformers models/llava/convert_llava_weights_to_hf.py"
_CONVERTED_NEXT = "transformers models/llava_next/convert_llava_next_weights_to_hf.py"
_CONVERTED_ONEVISION = (
    "transformers models/llava_onevision/convert_llava_onevision_weights_to_hf.py"
)
_DEFAULTS = "transformers 5.23, defaults of the configuration"
_TENSORRT = "NVIDIA/TensorRT-LLM tests/unittest/_torch/modeling"
#: The hub's total of safetensors parameters, as public copies of its model API state it.
_HUB = "parameters of the hub's model API"
_LOADED = "parameters, printed by a program that loaded the model"
_QWEN2_PIXELS = "preprocessor_config.json, quoted in programs that read it"

#: Hub id → published configuration.
PUBLISHED: Mapping[str, Published] = {
    "llava-hf/llava-1.5-7b-hf": _llava(
        "llava",
        "llava-vicuna-7b",
        "config.json, printed by transformers 4.36 (mit-han-lab/llm-awq)",
        _CONVERTED,
        _DEFAULTS,
        _LOADED,
        parameters=7_063_427_072,
    ),
    "llava-hf/llava-1.5-13b-hf": _llava("llava", "llava-vicuna-13b", _CONVERTED, _DEFAULTS),
    "llava-hf/llava-interleave-qwen-0.5b-hf": _llava(
        "llava",
        "llava-qwen1.5-0.5b",
        _CONVERTED,
        "config.json of Qwen/Qwen1.5-0.5B",
        _LOADED,
        parameters=864_031_264,
    ),
    "llava-hf/llava-interleave-qwen-7b-hf": _llava(
        "llava",
        "llava-qwen1.5-7b",
        _CONVERTED,
        "parameters of Qwen1.5-7B: 7,721,324,544; positions as of Qwen1.5-0.5B",
    ),
    "llava-hf/llava-v1.6-vicuna-7b-hf": _llava(
        "llava_next", "llava-vicuna-7b", _CONVERTED_NEXT, _DEFAULTS
    ),
    "llava-hf/llava-v1.6-mistral-7b-hf": _llava(
        "llava_next",
        "llava-mistral-7b",
        f"{_TENSORRT}/test_modeling_llava_next.py",
        _CONVERTED_NEXT,
    ),
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": _llava(
        "llava_onevision", "llava-qwen2-0.5b", _CONVERTED_ONEVISION, _DEFAULTS
    ),
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": _llava(
        "llava_onevision", "llava-qwen2-7b", _CONVERTED_ONEVISION, _DEFAULTS
    ),
    "Qwen/Qwen2-VL-2B-Instruct": _qwen_vl(
        "qwen2_vl", "qwen2-vl-2b", _QWEN2_PIXELS, _HUB, parameters=2_208_985_600
    ),
    "Qwen/Qwen2-VL-7B-Instruct": _qwen_vl(
        "qwen2_vl", "qwen2-vl-7b", _QWEN2_PIXELS, _HUB, parameters=8_291_375_616
    ),
    "Qwen/Qwen2.5-VL-3B-Instruct": _qwen_vl(
        "qwen2_5_vl", "qwen2.5-vl-3b", _QWEN2_PIXELS, _HUB, parameters=3_754_622_976
    ),
    "Qwen/Qwen2.5-VL-7B-Instruct": _qwen_vl(
        "qwen2_5_vl",
        "qwen2.5-vl-7b",
        f"{_TENSORRT}/test_modeling_qwen2_5vl.py",
        _QWEN2_PIXELS,
        _HUB,
        parameters=8_292_166_656,
    ),
    "Qwen/Qwen3-VL-2B-Instruct": _qwen_vl(
        "qwen3_vl", "qwen3-vl-2b", _HUB, parameters=2_127_532_032
    ),
    "Qwen/Qwen3-VL-4B-Instruct": _qwen_vl(
        "qwen3_vl",
        "qwen3-vl-4b",
        "config.json, quoted in programs that build the model",
        _LOADED,
        parameters=4_437_815_808,
    ),
    "Qwen/Qwen3-VL-8B-Instruct": _qwen_vl(
        "qwen3_vl",
        "qwen3-vl-8b",
        f"{_TENSORRT}/test_modeling_qwen3vl.py",
        _HUB,
        parameters=8_767_123_696,
    ),
    "Qwen/Qwen3-VL-30B-A3B-Instruct": _qwen_vl(
        "qwen3_vl_moe",
        "qwen3-vl-30b",
        f"{_TENSORRT}/test_modeling_qwen3vl_moe.py",
        _HUB,
        parameters=31_070_754_032,
    ),
    "lmsys/vicuna-7b-v1.5": _decoder(
        "vicuna-7b", "config.json of llava-1.5-7b-hf", _LOADED, parameters=6_738_415_616
    ),
    "Qwen/Qwen2.5-7B-Instruct": _decoder("qwen2.5-7b", _HUB, parameters=7_615_616_512),
    "Qwen/Qwen3-8B": _decoder("qwen3-8b", _HUB, parameters=8_190_735_360),
    "FacebookAI/xlm-roberta-base": _encoder(
        "xlm-roberta", (768, 12, 12, 250002), _LOADED, parameters=278_295_186
    ),
    "FacebookAI/xlm-roberta-large": _encoder(
        "xlm-roberta", (1024, 24, 16, 250002), _LOADED, parameters=560_142_482
    ),
    "facebook/xlm-roberta-xl": _encoder(
        "xlm-roberta-xl", (2560, 36, 32, 250880), _DEFAULTS, _LOADED, parameters=3_482_741_760
    ),
    "google-bert/bert-base-multilingual-cased": _encoder(
        "bert",
        (768, 12, 12, 119547),
        "config.json, quoted by NbAiLab/notram",
        _LOADED,
        parameters=177_974_523,
    ),
}
