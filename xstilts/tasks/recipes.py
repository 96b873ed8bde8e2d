"""Hyper-parameters by recipe set, task, family and tuning mode, each row with its source. No
constant hides in code.

Rows are looked up from the most to the least particular: (task, family, mode), then with `*` in
place of mode, family, and at last the task's format. A plan may override any key; the report shows
what it overrode.
"""

from collections.abc import Mapping
from typing import Any

from xstilts.errors import PlanError
from xstilts.tasks.registry import TASKS

Recipe = Mapping[str, Any]

#: Keys of every recipe and what they hold when a row does not say. lr: peak rate; updates or
#: epochs; examples_per_step; warmup: share (< 1) or updates; selection: `last`, or the updates
#: between looks at English dev. Lengths count tokens of text: max_length of rows for heads and of
#: windows of plain text; lm_length of rows in words (`lm`), which hold all options or tags besides
#: (512: what XLM-R has positions for). stride: tokens from the start of one window of a context to
#: that of the next, as the official `doc_stride`. answer_limit: the most {tokens} or {characters}
#: of a predicted answer.
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

#: Family → its budget of one picture, which `max_length` does not count: at most `image_tokens`
#: tokens, and the pixels between which Qwen-VL resizes. None: what the model folder says. Not of
#: the recipe set `miniature`, whose backbones are built with small pictures. llava: the number is
#: fixed by the vision tower; the largest published one is 729 (llava-interleave and LLaVA-NeXT's
#: SigLIP 384/14: 27 × 27); LLaVA-1.5's CLIP 336/14 has 576 (24 × 24, `image_seq_length` of
#: transformers' LlavaConfig). qwen_vl: the bounds of the makers' fine-tuning (QwenLM/Qwen3-VL
#: 23ec840f0e7f, qwen-vl-finetune/README.md, "Image Processing": 16 to 576 tokens of 28 × 28
#: pixels), so that no picture has more tokens than LLaVA-1.5's. The model folders allow 4 to 16,384
#: tokens.
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
#: A limit that no tokenizer's fertility changes. 30 tokens would cut answers in some languages and
#: not in others.
_CHARACTERS: Recipe = {"answer_limit": {"characters": 250}}
_QA: Recipe = {"max_length": 160, "stride": 80, "question_length": 48, **_CHARACTERS}

#: (task or format, family, mode) → row.
MINIATURE: Mapping[tuple[str, str, str], Recipe] = {
    ("classification", "*", "*"): {**_MINI, "lr": 2e-3, "updates": 200},
    ("multiple_choice", "*", "*"): {**_MINI, "lr": 2e-3, "updates": 100},
    ("tagging", "*", "*"): {**_MINI, "lr": 3e-3, "updates": 20, "train_rows": 300},
    ("span", "*", "*"): {**_MINI, **_QA, "lr": 2e-3, "updates": 25, "train_rows": 64},
    ("generation", "*", "*"): {**_MINI, "lr": 2e-3, "updates": 100},
    ("retrieval", "*", "*"): {**_MINI, "lr": 0.0, "updates": 1},
    ("mining", "*", "*"): {**_MINI, "lr": 0.0, "updates": 1},
    ("ranking", "*", "*"): {**_MINI, "lr": 1e-3, "updates": 20, "train_rows": 512},
}

# XNLI, PAWS-X, UD-POS and PAN-X keep the best of looks at English dev every 100, 200, 500 and 1,000
# updates (their `save_steps`), the others their last update. No warm-up but in question answering
# (run_classify.py, run_tag.py: 0). Deviations: one more look is taken at the last update. LAReQA's
# and Mewsli-X's batches are the official numbers of examples, but all of an update's candidates are
# negatives (official: those of one accumulation step). Their texts are read by `<s>`, as
# officially, but by its state itself: the official pooler's dense layer is not trained in XLM-R's
# pre-training. A causal model has no such token: its last token is read. The temperature stays at
# 1/100: the official scale is a parameter that begins at 100, and at these rates AdamW moves it by
# less than 0.4 in all updates (third_party/bert.py).
_OFFICIAL = {
    "examples_per_step": 32,
    "warmup": 0.0,
    "dropout": 0.1,
    "source": "XTREME-R scripts/train_*.sh",
}
# 30 tokens are `--max_answer_length` of run_squad.py (its default), and count XLM-R's tokens only.
_TOKENS: Recipe = {"answer_limit": {"tokens": 30}}
_GENERATION = {
    **_OFFICIAL,
    "lr": 2e-5,
    "epochs": 1,
    "warmup": 0.1,
    "source": "ours: no official recipe",
}
_INSTRUCTED: Mapping[tuple[str, str, str], Recipe] = {  # answers of several hundred tokens
    ("llava_instruct", family, "*"): {
        **_GENERATION,
        "lm_length": 2048,
        "source": "ours; length: LLaVA scripts/v1_5/finetune.sh (model_max_length)",
    }
    for family in ("llava", "qwen_vl")
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

XTREME_R: Mapping[tuple[str, str, str], Recipe] = {
    ("mnli", "*", "*"): {**_OFFICIAL, "lr": 3e-5, "epochs": 5, "selection": 100},
    ("paws_en", "*", "*"): {**_OFFICIAL, "lr": 2e-5, "epochs": 5, "selection": 200},
    ("classification", "*", "*"): {**_OFFICIAL, "lr": 3e-5, "epochs": 5},
    ("multiple_choice", "*", "*"): {**_OFFICIAL, "lr": 3e-5, "epochs": 5},
    ("panx_en", "*", "*"): {**_OFFICIAL, "lr": 2e-5, "epochs": 10, "selection": 1000},
    ("tagging", "*", "*"): {**_OFFICIAL, "lr": 2e-5, "epochs": 10, "selection": 500},
    ("span", "xlm_r", "*"): {**_OFFICIAL, **_SQUAD, **_TOKENS},
    ("span", "*", "*"): {**_OFFICIAL, **_SQUAD, **_CHARACTERS},
    ("generation", "*", "*"): _GENERATION,
    **_INSTRUCTED,
    ("retrieval", "*", "*"): {**_OFFICIAL, "lr": 0.0, "epochs": 0, "max_length": 512},
    ("mining", "*", "*"): {**_OFFICIAL, "lr": 0.0, "epochs": 0, "max_length": 512},
    ("squad_dual", "*", "*"): {
        **_OFFICIAL,
        "lr": 2e-5,
        "epochs": 3,
        "examples_per_step": 16,
        "max_length": 256,
        "question_length": 96,
        "temperature": 0.01,
    },
    ("mewsli_pairs", "*", "*"): {
        **_OFFICIAL,
        "lr": 1e-5,
        "epochs": 2,
        "max_length": 64,
        "temperature": 0.01,
    },
    ("ranking", "*", "*"): {
        **_OFFICIAL,
        "lr": 2e-5,
        "epochs": 3,
        "max_length": 352,
        "temperature": 0.01,
    },
}

# jiant's XTREME recipe by the authors of Phang et al. 2020: one rate, a tenth of linear warm-up, at
# most 256 tokens. Deviation: jiant stops early on 500 dev rows every 1,000 updates; here the best
# of these looks is kept and the epochs run out.
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

PHANG_2020: Mapping[tuple[str, str, str], Recipe] = {
    ("mnli", "*", "*"): {**_JIANT, "epochs": 2},
    ("paws_en", "*", "*"): {**_JIANT, "epochs": 5},
    ("classification", "*", "*"): {**_JIANT, "epochs": 3},
    ("multiple_choice", "*", "*"): {**_JIANT, "epochs": 3},
    ("tagging", "*", "*"): {**_JIANT, "epochs": 10},
    ("span", "xlm_r", "*"): {**_JIANT_QA, **_TOKENS},
    ("span", "*", "*"): {**_JIANT_QA, **_CHARACTERS},
    ("generation", "*", "*"): {
        **_JIANT,
        "epochs": 1,
        "selection": "last",
        "source": "ours: text mixed in, Phang et al. §3",
    },
    **{
        key: {**_JIANT, "epochs": 1, "selection": "last", **row} for key, row in _INSTRUCTED.items()
    },
    ("retrieval", "*", "*"): {
        **_JIANT,
        "lr": 0.0,
        "epochs": 0,
        "max_length": 512,
        "selection": "last",
    },
    ("mining", "*", "*"): {
        **_JIANT,
        "lr": 0.0,
        "epochs": 0,
        "max_length": 512,
        "selection": "last",
    },
    ("ranking", "*", "*"): {
        **XTREME_R["ranking", "*", "*"],
        "source": "XTREME-R: the paper predates it",
    },
}

# Vision-language models: XTREME-R's epochs and lengths, a tenth of warm-up where it has none, rates
# of the grid below. They are starting points: `xstilts rates` picks one once a backbone, on the
# `none` arm's English dev, for all arms alike.
_VLM = {
    "source": "XTREME-R scripts/train_*.sh; rates: ours, a grid's starting points",
    "dropout": 0.0,
}
VLM: Mapping[tuple[str, str, str], Recipe] = {
    (task, family, mode): {
        **row, **_VLM, **(_CHARACTERS if task == "span" else {}), "warmup": row["warmup"] or 0.1,
        "lr": (1e-4 if mode == "lora" else 2e-5) if row["lr"] else 0.0,
    }
    for (task, family, _), row in XTREME_R.items()
    for mode in ("lora", "full")
}  # fmt: skip

#: Recipe set → mode → the peak rates that a rate is picked from. Ours: no recipe of a benchmark
#: covers these models; around the rates of XTREME-R (full), and tenfold, as usual for adapters
#: (LoRA). The other sets' rates are their authors'.
GRIDS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "vlm": {"full": (1e-5, 2e-5, 5e-5), "lora": (1e-4, 2e-4)}
}

#: LoRA asks for larger rates than full tuning (design: chosen once on the `none` arm's English dev,
#: never per arm).
_LORA_LR = {"xtreme_r": 1e-4, "phang_2020": 1e-4, "miniature": 4e-3}

SETS: Mapping[str, Mapping[tuple[str, str, str], Recipe]] = {
    "miniature": MINIATURE, "xtreme_r": XTREME_R, "phang_2020": PHANG_2020, "vlm": VLM,
}  # fmt: skip


def recipe(name: str, task: str, family: str, mode: str) -> dict[str, Any]:
    """Every key of the recipe for a task on a backbone. PlanError names the sets or tasks that
    exist.
    """
    if name not in SETS:
        raise PlanError(f"unknown recipe set {name!r}; allowed: {', '.join(SETS)}")
    if task not in TASKS:
        raise PlanError(f"no recipe for task {task!r}; allowed: {', '.join(sorted(TASKS))}")
    rows = SETS[name]
    keys = [
        (t, f, m) for t in (task, TASKS[task].format) for f in (family, "*") for m in (mode, "*")
    ]
    row = next((rows[key] for key in keys if key in rows), None)
    if row is None:
        raise PlanError(f"the recipe set {name!r} has no row for {task!r} on {family} ({mode})")
    merged = {**DEFAULTS, **(IMAGE_BUDGETS.get(family, {}) if name != "miniature" else {}), **row}
    if mode == "lora" and not any(key in rows for key in keys if key[2] == "lora"):
        merged["lr"] = _LORA_LR[name] if merged["lr"] else 0.0
    return merged
