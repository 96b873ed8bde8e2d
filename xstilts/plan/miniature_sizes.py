"""Sizes of the miniature for the cost estimate: rows of its data sets, and the config.json that a
tiny backbone will have, as far as its shape needs it. They are defaults of xstilts.miniature, which
a plan cannot change.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xstilts.models.families import contract
from xstilts.tasks.task import Task

#: Most rows of a split.
ROWS = {"train": 4000, "select": 200, "test": 200, "text": 4000}
#: Of the training split of a task with images.
PICTURES = 2000
#: Sentences of a mining pool.
POOL = 600

#: Width, layers, heads and feed-forward width of text stack and vision tower.
_TEXT = (64, 3, 4, 128)
_VISION = (64, 2, 4, 128)
_IMAGE, _PATCH = 16, 8
#: Most tokens of a picture of Qwen-VL; others have those of `_IMAGE` and `_PATCH`.
MOST_IMAGE_TOKENS = 16
USUAL_VOCABULARY = 4096


def built_config(family: str, vocabulary: int = USUAL_VOCABULARY) -> Mapping[str, Any]:
    """config.json of a tiny backbone. Families that differ only in their images share one.

    vocabulary: tokens that the tokenizer may have.
    """
    of = contract(family)
    hidden, layers, heads, ff = _TEXT
    text = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "intermediate_size": ff,
        "vocab_size": vocabulary,
        "tie_word_embeddings": True,
    }
    if not of.causal:
        ends = {"max_position_embeddings": 514, "type_vocab_size": 1}
        return {**text, **ends, "model_type": "xlm-roberta"}
    if of.vision is None:
        return {**text, "model_type": "llama"}
    width, depth, _, inner = _VISION
    tower: Mapping[str, Any]
    if of.recipe_family == "qwen_vl":
        sizes = {"spatial_merge_size": 2, "temporal_patch_size": 2, "patch_size": _PATCH // 2}
        tower = {"depth": depth, "hidden_size": width, "intermediate_size": inner, **sizes}
        qwen = {**text, "model_type": "qwen2_5_vl_text"}
        return {"model_type": "qwen2_5_vl", "text_config": qwen, "vision_config": tower}
    tower = {
        "model_type": "clip_vision_model",
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": depth,
        "image_size": _IMAGE,
        "patch_size": _PATCH,
    }
    llama = {**text, "model_type": "llama"}
    return {"model_type": "llava", "text_config": llama, "vision_config": tower}


def built_image_tokens(family: str) -> int:
    """Tokens of a picture of the miniature."""
    of = contract(family)
    if of.vision is None:
        return 0
    return MOST_IMAGE_TOKENS if of.recipe_family == "qwen_vl" else (_IMAGE // _PATCH) ** 2


def miniature_rows(tasks: Mapping[str, Task]) -> dict[str, Task]:
    """The tasks with the miniature's numbers of rows."""
    return {name: _smaller(task) for name, task in tasks.items()}


def _smaller(task: Task) -> Task:
    estimate = task.estimate and replace(task.estimate, rows=None)
    sizes = dict(ROWS)
    if task.modality == "image":
        sizes["train"] = PICTURES
    if task.format == "mining":
        sizes["test"] = POOL
    return replace(task, sizes=sizes, estimate=estimate)
