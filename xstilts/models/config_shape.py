"""The sizes in a model's config.json that xstilts reads: their types and ranges."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xstilts.document_shape import Between, Maybe, Shape, Whole, fault, optional
from xstilts.errors import DataError
from xstilts.input_files import read_object

#: Model types of encoders.
ENCODERS = {"bert", "roberta", "xlm-roberta", "xlm-roberta-xl"}
#: Model types of decoders, without the suffix `_text`: with a bias of queries, keys and values;
#: with norms of their heads; with neither.
QKV_BIAS = {"qwen2", "qwen2_vl", "qwen2_5_vl"}
HEAD_NORMS = {"qwen3", "qwen3_vl", "qwen3_vl_moe"}
PLAIN = {"llama", "mistral"}

_SIZE = Whole(1, 2**31 - 1)
_TEXT = dict.fromkeys(
    ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"),
    _SIZE,
)
_ENCODER: Shape = {
    **_TEXT,
    "max_position_embeddings": _SIZE,
    "type_vocab_size": _SIZE,
    "tie_word_embeddings": Maybe(bool),
}
_DECODER: Shape = {
    **_TEXT,
    "model_type": Maybe(str),
    "num_key_value_heads": Maybe(_SIZE),
    "head_dim": Maybe(_SIZE),
    "num_experts": Maybe(Whole(0, 2**31 - 1)),
    "attention_bias": Maybe(bool),
    "tie_word_embeddings": Maybe(bool),
}
_EXPERTS: Shape = {"num_experts_per_tok": _SIZE, "moe_intermediate_size": _SIZE}
_LLAVA_VISION: Shape = {
    "model_type": str,
    **dict.fromkeys(("hidden_size", "intermediate_size", "num_hidden_layers"), _SIZE),
    **dict.fromkeys(("patch_size", "image_size"), _SIZE),
}
_QWEN_VISION: Shape = {
    **dict.fromkeys(("depth", "hidden_size", "intermediate_size", "embed_dim"), _SIZE),
    **dict.fromkeys(("patch_size", "temporal_patch_size", "spatial_merge_size"), _SIZE),
    "mlp_ratio": Between(0.001, 1000),
    "num_position_embeddings": _SIZE,
    "deepstack_visual_indexes": [Whole(0, 2**31 - 1)],
}
_PROJECTOR: Shape = {
    "vision_feature_layer": Maybe((int, list)),
    "multimodal_projector_bias": Maybe(bool),
    "tie_word_embeddings": Maybe(bool),
}
_PARTS: Shape = {"model_type?": str, "text_config?": Maybe(dict), "vision_config?": Maybe(dict)}


def read_model_config(file: Path) -> dict[str, Any]:
    """The object in a config.json. DataError with the path and the key if a size that is read has
    an invalid value. Keys may be missing, and other model types have any keys.
    """
    config = read_object(file)
    if (problem := config_fault(config)) is not None:
        raise DataError(
            f"{file}: {problem}; correct it, or use a folder written by save_pretrained"
        )
    return config


def config_fault(config: Mapping[str, Any]) -> str | None:
    """The first invalid value among those that are read; None if there is none."""
    if (problem := fault(config, _PARTS)) is not None:
        return problem
    if config.get("model_type") in ENCODERS:
        return fault(config, optional(_ENCODER))
    own = config.get("text_config")
    text, place = (own, "text_config") if own else (config, "")
    kind = str(config.get("model_type", ""))
    if (problem := fault(text, {"model_type?": Maybe(str)}, place)) is not None:
        return problem
    name = str(text.get("model_type") or kind).removesuffix("_text")
    if name not in QKV_BIAS | HEAD_NORMS | PLAIN:
        return None
    if (problem := fault(text, optional(_DECODER), place)) is not None:
        return problem
    if text.get("num_experts") and (problem := fault(text, optional(_EXPERTS), place)) is not None:
        return problem
    vision = _QWEN_VISION if kind.startswith("qwen") else _LLAVA_VISION
    members = {**optional(_PROJECTOR), "vision_config?": Maybe(optional(vision))}
    return fault(config, members)
