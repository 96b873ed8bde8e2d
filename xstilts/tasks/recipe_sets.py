"""The recipe sets: hyper-parameters by format and backbone family, each row with its source.

Where a task differs from its format, its own file says so (`Task.recipes`). The lookup is in
recipes.py.
"""

from collections.abc import Mapping
from typing import Any

Recipe = Mapping[str, Any]

#: Keys of every recipe and their defaults.
#:
#: - lr: peak rate. updates or epochs: the duration. warmup: a share (< 1) or a number of updates.
#: - selection: `last`, or the updates between two evaluations on English dev.
#: - max_length: tokens of text in a row (heads) or a window (plain text). lm_length: tokens of a
#:   row in words (`lm`) with all its options or tags (512: XLM-R's positions).
#: - stride: tokens between the starts of two windows of a context, as the official `doc_stride`.
#: - answer_limit: the maximum {tokens} or {characters} of a predicted answer.
DEFAULTS: Recipe = {
    "schedule": "linear",
    "warmup": 0.1,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "max_length": 128,
    "lm_length": 512,
    "stride": None,
    "question_length": None,
    "answer_limit": None,
    "dropout": 0.0,
    "adapter_dropout": 0.0,
    "selection": "last",
    "train_rows": None,
    "head_lr_factor": 1.0,
    "pooling": "pooled",
    "temperature": None,
    "lora": {"r": 16, "alpha": 32},
    "image_tokens": None,
    "min_pixels": None,
    "max_pixels": None,
}

#: Family → the budget of one image, which `max_length` does not count: at most `image_tokens`
#: tokens, and the bounds within which Qwen-VL resizes, in pixels. None: the value of the model
#: folder. The recipe set `miniature` has no budgets: its backbones are built for small images.
#:
#: - llava: the vision tower fixes the number. The largest published one is 729 (llava-interleave
#:   and LLaVA-NeXT's SigLIP 384/14: 27 × 27); LLaVA-1.5's CLIP 336/14 has 576 (24 × 24,
#:   `image_seq_length` of transformers' LlavaConfig).
#: - qwen_vl: the bounds of the makers' fine-tuning (QwenLM/Qwen3-VL 23ec840f0e7f,
#:   qwen-vl-finetune/README.md, "Image Processing": 16 to 576 tokens of 28 × 28 pixels). No image
#:   then has more tokens than LLaVA-1.5's. The model folders allow 4 to 16,384 tokens.
IMAGE_BUDGETS: Mapping[str, Recipe] = {
    "llava": {"image_tokens": 729},
    "qwen_vl": {"image_tokens": 576, "min_pixels": 16 * 28 * 28, "max_pixels": 576 * 28 * 28},
}

_MINI = {
    "examples_per_step": 32,
    "warmup": 0.08,
    "pooling": "pooled+mean",
    "source": "measured: docs/miniature.md",
}
#: This limit does not depend on the tokenizer. 30 tokens would cut answers in some languages only.
_CHARACTERS: Recipe = {"answer_limit": {"characters": 250}}
_QA: Recipe = {"max_length": 160, "stride": 80, "question_length": 48, **_CHARACTERS}

#: (format, family) → row; `*` matches every family.
Rows = Mapping[tuple[str, str], Recipe]

MINIATURE: Rows = {
    ("classification", "*"): {**_MINI, "lr": 2e-3, "updates": 200},
    ("multiple_choice", "*"): {**_MINI, "lr": 2e-3, "updates": 100},
    ("tagging", "*"): {**_MINI, "lr": 3e-3, "updates": 20, "train_rows": 300},
    ("span", "*"): {**_MINI, **_QA, "lr": 2e-3, "updates": 25, "train_rows": 64},
    ("generation", "*"): {**_MINI, "lr": 2e-3, "updates": 100},
    ("retrieval", "*"): {**_MINI, "lr": 0.0, "updates": 1},
    ("mining", "*"): {**_MINI, "lr": 0.0, "updates": 1},
    ("ranking", "*"): {**_MINI, "lr": 1e-3, "updates": 20, "train_rows": 512},
}

# XNLI, PAWS-X, UD-POS and PAN-X keep the best of the evaluations on English dev every 100, 200, 500
# and 1,000 updates (their `save_steps`); the others keep their last update. Only question answering
# warms up (run_classify.py, run_tag.py: 0).
#
# Deviations:
# - The last update is evaluated as well.
# - LAReQA and Mewsli-X have the official number of examples in a batch, but all candidates of an
#   update are negatives (official: those of one accumulation step).
# - Their texts are read at `<s>`, as officially, but from its hidden state: XLM-R's pre-training
#   does not train the dense layer of the official pooler. A causal model has no such token; its
#   last token is read.
# - The temperature stays at 1/100. The official scale is a parameter that starts at 100; at these
#   rates AdamW moves it by less than 0.4 in all updates (third_party/bert.py).
_OFFICIAL = {
    "examples_per_step": 32,
    "warmup": 0.0,
    "dropout": 0.1,
    "source": "XTREME-R scripts/train_*.sh",
}
# 30 is the default `--max_answer_length` of run_squad.py, and counts XLM-R's tokens only.
_TOKENS: Recipe = {"answer_limit": {"tokens": 30}}
_GENERATION = {
    **_OFFICIAL,
    "lr": 2e-5,
    "epochs": 1,
    "warmup": 0.1,
    "source": "ours: no official recipe",
}
_SQUAD = {
    "max_length": 384,
    "stride": 128,
    "question_length": 64,
    "warmup": 500,
    "weight_decay": 1e-4,
    "epochs": 3,
    "lr": 3e-5,
}

XTREME_R: Rows = {
    ("classification", "*"): {**_OFFICIAL, "lr": 3e-5, "epochs": 5},
    ("multiple_choice", "*"): {**_OFFICIAL, "lr": 3e-5, "epochs": 5},
    ("tagging", "*"): {**_OFFICIAL, "lr": 2e-5, "epochs": 10, "selection": 500},
    ("span", "xlm_r"): {**_OFFICIAL, **_SQUAD, **_TOKENS},
    ("span", "*"): {**_OFFICIAL, **_SQUAD, **_CHARACTERS},
    ("generation", "*"): _GENERATION,
    ("retrieval", "*"): {**_OFFICIAL, "lr": 0.0, "epochs": 0, "max_length": 512},
    ("mining", "*"): {**_OFFICIAL, "lr": 0.0, "epochs": 0, "max_length": 512},
    ("ranking", "*"): {
        **_OFFICIAL,
        "lr": 2e-5,
        "epochs": 3,
        "max_length": 352,
        "temperature": 0.01,
    },
}

# jiant's XTREME recipe by the authors of Phang et al. 2020: one rate, a linear warm-up over a
# tenth, at most 256 tokens. Deviation: jiant stops early on 500 dev rows every 1,000 updates; here
# all epochs are trained and the best of these evaluations is kept.
_JIANT = {
    "lr": 1e-5,
    "examples_per_step": 32,
    "warmup": 0.1,
    "dropout": 0.1,
    "max_length": 256,
    "selection": 1000,
    "source": "jiant scripts/benchmarks/xtreme",
}
_JIANT_QA = {
    **_JIANT,
    "examples_per_step": 16,
    "max_length": 384,
    "stride": 128,
    "question_length": 64,
    "epochs": 2,
}

PHANG_2020: Rows = {
    ("classification", "*"): {**_JIANT, "epochs": 3},
    ("multiple_choice", "*"): {**_JIANT, "epochs": 3},
    ("tagging", "*"): {**_JIANT, "epochs": 10},
    ("span", "xlm_r"): {**_JIANT_QA, **_TOKENS},
    ("span", "*"): {**_JIANT_QA, **_CHARACTERS},
    ("generation", "*"): {
        **_JIANT,
        "epochs": 1,
        "selection": "last",
        "source": "ours: text mixed in, Phang et al. §3",
    },
    ("retrieval", "*"): {
        **_JIANT,
        "lr": 0.0,
        "epochs": 0,
        "max_length": 512,
        "selection": "last",
    },
    ("mining", "*"): {
        **_JIANT,
        "lr": 0.0,
        "epochs": 0,
        "max_length": 512,
        "selection": "last",
    },
    ("ranking", "*"): {
        **XTREME_R["ranking", "*"],
        "source": "XTREME-R: the paper predates it",
    },
}

# Vision-language models: XTREME-R's epochs and lengths, a warm-up over a tenth where it has none,
# and the rates of the grid below. These are starting points: `xstilts rates` picks a rate once for
# each backbone, on the `none` arm's English dev, for all arms alike.
_VLM = {
    "source": "XTREME-R scripts/train_*.sh; rates: ours, a grid's starting points",
    "dropout": 0.0,
}


def for_vlm(row: Recipe, format_: str, mode: str) -> Recipe:
    """A row of `xtreme_r` for a vision-language model."""
    rate = (1e-4 if mode == "lora" else 2e-5) if row["lr"] else 0.0
    limit = _CHARACTERS if format_ == "span" else {}
    return {**row, **_VLM, **limit, "warmup": row["warmup"] or 0.1, "lr": rate}


#: Recipe set → mode → the peak rates to pick from. Ours: no benchmark has a recipe for these
#: models. Full tuning: around the rates of XTREME-R. LoRA: ten times as much, as usual for
#: adapters. The rates of the other sets are their authors'.
GRIDS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "vlm": {"full": (1e-5, 2e-5, 5e-5), "lora": (1e-4, 2e-4)}
}

#: LoRA needs larger rates than full tuning. They were chosen once on the `none` arm's English dev,
#: never for an arm.
LORA_LR = {"xtreme_r": 1e-4, "phang_2020": 1e-4, "miniature": 4e-3}

#: `vlm` is derived from the rows of `xtreme_r` by `for_vlm`.
SETS: Mapping[str, Rows] = {
    "miniature": MINIATURE,
    "xtreme_r": XTREME_R,
    "phang_2020": PHANG_2020,
    "vlm": XTREME_R,
}
