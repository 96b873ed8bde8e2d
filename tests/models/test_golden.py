"""Golden values: a change here makes stored results stale, which RECIPE_VERSION
(xstilts/step.py) must say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
import pytest
import torch

from xstilts.data.encode import Encoder
from xstilts.data.encoded import EncodedRow, EncodedRows
from xstilts.miniature.backbones import build_model
from xstilts.models.backbone import Backbone, wrap
from xstilts.models.families import contract
from xstilts.models.head_set import pack_rows
from xstilts.models.heads import head_inputs, initialise, make_head
from xstilts.models.lora import add_lora, initial_state, load_trainable
from xstilts.models.processor import Processor
from xstilts.step import RECIPE_VERSION
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example
from xstilts.training.loop import Progress, TrainingSettings, TrainTask, make_optimiser, train
from xstilts.training.workers import Workers

torch.set_num_threads(1)

TEXTS = (
    "the big dog sees anna in the park.",
    "anna holds the red ball.",
    "დიდი ძაღლი ხედავს ანას.",
    "3 small cats are under the old school.",
    "where is the red ball?",
)
SETTINGS = {
    "hidden": 32,
    "ff": 64,
    "layers": 2,
    "heads": 4,
    "vocab_size": 480,
    "vision_hidden": 32,
    "vision_ff": 32,
}
SETTINGS |= {"vision_layers": 1}
PAIRS = (
    Example(id="a", text=TEXTS[0], text_pair="the dog sees anna.", label=0),
    Example(id="b", text=TEXTS[1], text_pair="anna holds the blue ball.", label=2),
    Example(id="c", text=TEXTS[3], text_pair="the ball is red.", label=1),
    Example(id="d", text=TEXTS[2], text_pair="ძაღლი ხედავს ბენს.", label=2),
)


@dataclass(frozen=True)
class Golden:
    """ids: tokens of the first and the third text. adapted: how many modules LoRA adapts, the
    first and last by name. lora, full: the losses of three updates of the adapters, and of all
    weights.
    """

    ids: tuple[list[int], list[int]]
    adapted: tuple[int, str, str]
    lora: tuple[float, float, float]
    full: tuple[float, float, float]


_STACK = "model.model.language_model.layers"
#: Recorded with torch 2.13.0 and transformers 5.23 on one thread of a CPU.
GOLDEN = {
    "xlm_r": Golden(
        ([296, 350, 358, 367, 310, 354, 296, 360, 260], [356, 364, 365, 363, 260]),
        (
            12,
            "model.roberta.encoder.layer.0.attention.output.dense",
            "model.roberta.encoder.layer.1.output.dense",
        ),
        (1.111790, 1.041167, 1.023759),
        (1.119851, 1.062889, 1.038004),
    ),
    "bert": Golden(
        ([297, 351, 359, 368, 311, 355, 297, 361, 261], [357, 365, 366, 364, 261]),
        (
            12,
            "model.bert.encoder.layer.0.attention.output.dense",
            "model.bert.encoder.layer.1.output.dense",
        ),
        (1.077491, 1.029177, 1.015499),
        (1.095092, 1.048196, 1.028680),
    ),
    "llava": Golden(
        ([264, 322, 330, 343, 282, 326, 264, 332, 18], [339, 344, 345, 338, 18]),
        (14, f"{_STACK}.0.mlp.down_proj", f"{_STACK}.1.self_attn.v_proj"),
        (1.060658, 0.956212, 0.889820),
        (1.060658, 0.929644, 0.794923),
    ),
    "llama": Golden(
        ([263, 321, 329, 342, 281, 325, 263, 331, 17], [338, 343, 344, 337, 17]),
        (14, "model.model.layers.0.mlp.down_proj", "model.model.layers.1.self_attn.v_proj"),
        (1.076533, 0.935656, 0.837913),
        (1.076533, 0.857586, 0.670224),
    ),
    "qwen2": Golden(
        ([262, 320, 328, 341, 280, 324, 262, 330, 16], [337, 342, 343, 336, 16]),
        (14, "model.model.layers.0.mlp.down_proj", "model.model.layers.1.self_attn.v_proj"),
        (1.061073, 0.902183, 0.793272),
        (1.061073, 0.899441, 0.719188),
    ),
    "qwen_vl": Golden(
        ([267, 325, 333, 346, 285, 329, 267, 335, 21], [342, 347, 348, 341, 21]),
        (14, f"{_STACK}.0.mlp.down_proj", f"{_STACK}.1.self_attn.v_proj"),
        (1.138082, 1.035419, 1.000080),
        (1.138082, 1.032052, 0.944455),
    ),
    "qwen3_vl_moe": Golden(
        ([267, 325, 333, 346, 285, 329, 267, 335, 21], [342, 347, 348, 341, 21]),
        (12, f"{_STACK}.0.mlp.experts.down_proj", f"{_STACK}.1.self_attn.v_proj"),
        (1.096331, 0.942738, 0.832926),
        (1.096331, 0.838857, 0.653838),
    ),
}


def stale(*kinds: str) -> str:
    """What to do where a golden value changed."""
    named = " and ".join(f"RECIPE_VERSION[{kind!r}] (now {RECIPE_VERSION[kind]})" for kind in kinds)
    return f"stored results are stale: bump {named} in xstilts/step.py and record the new values, or undo the change"


@cache
def processor(family: str) -> Processor:
    """For text only."""
    _, made = build_model(family, 0, TEXTS, SETTINGS)
    return Processor(family, made.tokenizer if contract(family).vision else made)


def backbone(family: str) -> Backbone:
    model, _ = build_model(family, 0, TEXTS, SETTINGS)
    return wrap(model, family, layout=processor(family).layout)


def ids(family: str) -> tuple[list[int], ...]:
    """Of the first and the third text."""
    return tuple(
        processor(family).tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in TEXTS[:3:2]
    )


def adapted(family: str) -> tuple[int, str, str]:
    names = add_lora(backbone(family), 4, 8)
    return len(names), names[0], names[-1]


def losses(family: str, mode: str) -> tuple[float, ...]:
    """Of three updates on the four pairs through encoder, backbone, head, dropout and loop as a
    finetune step has them.
    """
    trained = backbone(family)
    if mode == "lora":
        add_lora(trained, 4, 8)
        load_trainable(trained, initial_state(trained, {"mode": "lora", "r": 4, "alpha": 8}, 0))
        trained.dropout.adapter = 0.1
    else:
        trained.dropout.hidden = 0.1
    trained.train()
    head = make_head("classification", "head", trained.width, 3, trained.pool)
    assert head is not None
    initialise(head, 0, "mnli")
    encoder = Encoder(
        TASKS["mnli"], processor(family), "head", {"max_length": 64}, trained.subtoken
    )
    found = [
        {"row": place, "language": "en", "images": [], **row}
        for place, one in enumerate(PAIRS)
        for row in encoder.rows(one)
    ]

    def loss_sum(rows: Sequence[EncodedRow], task: int, update: int) -> torch.Tensor:
        trained.dropout.at(0, update, "mnli")
        loss: torch.Tensor = head.loss(
            trained(pack_rows(rows, trained, None, None)), head_inputs(rows)
        ).sum()
        return loss

    settings = TrainingSettings(
        updates=3, examples_per_step=4, lr=5e-3, head_lr_factor=2.0, weight_decay=0.01, stage="mnli"
    )
    trainable = {name: p for name, p in trained.named_parameters() if p.requires_grad}
    optimiser = make_optimiser(trainable, head, settings)
    rows = TrainTask("mnli", EncodedRows(pa.Table.from_pylist(found)), "head")
    done = train([rows], loss_sum, optimiser, settings, Progress(), Workers())
    return tuple(float(update["loss"]) for update in done.history)


@pytest.mark.parametrize("family", GOLDEN)
def test_sentences_have_these_tokens(family: str) -> None:
    assert ids(family) == GOLDEN[family].ids, stale("build", "encode")


@pytest.mark.parametrize("family", GOLDEN)
def test_lora_adapts_these_modules(family: str) -> None:
    assert adapted(family) == GOLDEN[family].adapted, stale("finetune", "score")


@pytest.mark.parametrize("family", GOLDEN)
def test_three_updates_of_adapters_have_these_losses(family: str) -> None:
    assert losses(family, "lora") == pytest.approx(GOLDEN[family].lora, rel=1e-4), stale(
        "build", "encode", "finetune"
    )


@pytest.mark.parametrize("family", GOLDEN)
def test_three_updates_of_all_weights_have_these_losses(family: str) -> None:
    assert losses(family, "full") == pytest.approx(GOLDEN[family].full, rel=1e-4), stale(
        "build", "encode", "finetune"
    )
