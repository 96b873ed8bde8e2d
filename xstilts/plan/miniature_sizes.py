"""Sizes of the miniature for the cost estimate: rows of its data sets and their lengths, and the
config.json that a tiny backbone will have, as far as its shape needs it. They are defaults of
xstilts.miniature, which a plan cannot change.
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

#: Task → text tokens with a head, or of a task without heads, under `lm`; text tokens under `lm`;
#: supervised ones of these. Means over 60 rows with the tokenizer of a tiny Qwen2.5-VL, whose text
#: is that of the miniature (`python -m xstilts.mirror.row_lengths`); of a ranking's candidates, of
#: each. Invented languages have the lengths of English.
LENGTHS: Mapping[str, tuple[float, float, float]] = {
    "a_okvqa": (34.5, 35.6, 2),
    "anli": (27.4, 68, 10.6),
    "anli_plus": (23.9, 64.2, 10.3),
    "bucc": (34, 0, 0),
    "bucc_mining": (14.7, 0, 0),
    "coco_captions": (7.5, 7.5, 6.5),
    "commonsense_qa": (43.8, 40.8, 2),
    "copa": (55.2, 54.2, 6.8),
    "cosmos_qa": (86.4, 49.8, 2.3),
    "easy_vqa": (7.5, 7.5, 2),
    "flickr30k": (8, 8, 7),
    "gqa": (7.5, 7.5, 2),
    "hellaswag": (87, 72.7, 7),
    "lareqa": (45.8, 0, 0),
    "llava_instruct": (7.5, 7.5, 2),
    "mewsli_candidates": (14.8, 0, 0),
    "mewsli_pairs": (29.4, 0, 0),
    "mewslix": (14.6, 0, 0),
    "mlqa": (25.1, 0, 0),
    "mnli": (22.6, 63.1, 10.5),
    "multilingual_text": (27.8, 27.8, 26.8),
    "nlvr": (6, 21, 5),
    "nlvr2": (6, 21, 5),
    "panx_en": (11.1, 49.8, 33.7),
    "paws_en": (15.2, 29.1, 3),
    "pawsx": (15.1, 0, 0),
    "qqp": (12.9, 28, 3.2),
    "refcoco": (37, 37, 26),
    "science_qa": (44.2, 36.7, 2),
    "siqa": (63, 61, 8),
    "snli": (22.3, 62.9, 10.6),
    "snli_ve": (6, 48.2, 10.2),
    "squad": (25.2, 33.4, 2.2),
    "squad_dual": (38, 0, 0),
    "squad_v2": (25, 35.7, 4.7),
    "tatoeba": (34, 0, 0),
    "tatoeba_squad": (34, 0, 0),
    "text_lm": (25.8, 25.8, 24.8),
    "tydiqa": (25.3, 0, 0),
    "tydiqa_en": (24.7, 33, 2.3),
    "ud_deprel": (7.8, 44.5, 26.7),
    "ud_en": (14.7, 92.9, 67.2),
    "udpos": (14.7, 0, 0),
    "vqa_v2": (7.5, 7.5, 2),
    "wikiann": (11.4, 0, 0),
    "xcopa": (56.1, 0, 0),
    "xnli": (22.3, 0, 0),
    "xquad": (25.5, 0, 0),
}

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
    """The tasks with the miniature's numbers and lengths of rows."""
    return {name: _smaller(task) for name, task in tasks.items()}


def _smaller(task: Task) -> Task:
    estimate = task.estimate and replace(task.estimate, rows=None)
    if estimate and task.name in LENGTHS:
        text, lm, answer = LENGTHS[task.name]
        estimate = replace(estimate, text=text, lm=lm, answer=answer, windows=1.0)
    sizes = dict(ROWS)
    if task.modality == "image":
        sizes["train"] = PICTURES
    if task.format == "mining":
        sizes["test"] = POOL
    return replace(task, sizes=sizes, estimate=estimate)
