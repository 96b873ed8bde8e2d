"""Small tables in place of the shipped ones: four targets, four intermediates, five evaluations."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from xstilts.errors import PlanError
from xstilts.plan.expand import expand
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.tables import Tables
from xstilts.tasks.task import Example, Source, Task

ENVIRONMENT = {"torch": "1.0", "transformers": "1.0", "dtype": "float32"}

PLAN = """
name: small
mirror: miniature
recipes: miniature
backbones:
  tiny:
    build: {family: xlm_r, seed: 0, tokenizer: {from: [miniature_text]}}
    tuning: full
  tiny-llava:
    build: {family: llava, seed: 0, tokenizer: {from: [miniature_text]}}
    tuning: lora
arms:
  squad: {task: squad, objective: head}
  quiz-lm: {task: quiz, objective: lm}
  captions: {task: captions}
evaluations: [xquad, mlqa, xcopa, tatoeba]
languages: [en, de]
seeds: 2
budget: {examples: 100, updates: 10}
contrasts:
  captions minus quiz: {arm: captions, reference: quiz-lm}
headline: captions minus quiz
"""


def _example(row: Mapping[str, Any], index: int, language: str) -> Example:
    return Example(id=str(index))


def _task(name: str, role: Any, format_: Any, splits: tuple[str, ...], **more: Any) -> Task:
    config = "{language}" if role == "evaluation" or "text" in splits else None
    sources = {
        split: Source(f"org/{name}", config, "validation" if split == "select" else split)
        for split in splits
    }
    return Task(name, name, role, format_, more.pop("modality", "text"), sources, _example, **more)


_TRAIN = ("train", "select")
_TASKS = (
    _task("squad", "target", "span", _TRAIN, objectives=("head", "lm"), metrics=("squad_f1",)),
    _task("siqa", "target", "multiple_choice", _TRAIN),
    _task("copa", "target", "multiple_choice", _TRAIN),
    _task("ud_en", "target", "tagging", _TRAIN, labels=("NOUN", "VERB")),
    _task("quiz", "intermediate", "multiple_choice", _TRAIN, objectives=("head", "lm")),
    _task("quiz2", "intermediate", "multiple_choice", ("train",), objectives=("head", "lm")),
    _task("captions", "intermediate", "generation", _TRAIN, modality="image", objectives=("lm",)),
    _task("miniature_text", "intermediate", "generation", ("text",), languages=("en", "de", "qaa")),
    _task("xquad", "evaluation", "span", ("test",), languages=("en", "de", "el"), trained_target=("squad",)),
    _task("mlqa", "evaluation", "span", ("test",), languages=("en", "de"), trained_target=("squad",)),
    _task("xcopa", "evaluation", "multiple_choice", ("test",), languages=("de", "it"), trained_target=("siqa", "copa")),
    _task("udpos", "evaluation", "tagging", ("test",), languages=("en", "de"), trained_target=("ud_en",)),
    _task("tatoeba", "evaluation", "retrieval", ("test",), languages=("de", "el"), trained_target=()),
)  # fmt: skip


def _recipe(set_: str, task: str, family: str, mode: str) -> Mapping[str, Any]:
    if task == "quiz2" and set_ == "xtreme_r":
        raise PlanError(f"xtreme_r has no recipe for {task}")
    return {
        "lr": 1e-3, "epochs": 2.0, "examples_per_step": 16, "warmup": 0.1, "schedule": "linear", "max_length": 64,
        "stride": 16, "question_length": 16, "selection": "last", "train_rows": 200, "lora": {"r": 8, "alpha": 16},
        "source": "invented",
    }  # fmt: skip


def _identity(mirror: Any, source: Source, language: str) -> Mapping[str, Any]:
    return {"commit": "0" * 40}


def _missing(mirror: Any, source: Source, language: str) -> str | None:
    config = source.config_for(language)
    absent = (source.path, config, source.split) in mirror or (
        source.path,
        None,
        source.split,
    ) in mirror
    return f"{source.path} {config} has no split {source.split}" if absent else None


@pytest.fixture(scope="session")
def tables() -> Tables:
    return Tables({task.name: task for task in _TASKS}, _recipe, ("qaa",), _identity, _missing)


@pytest.fixture
def text() -> str:
    return PLAN


@pytest.fixture
def expanded(tables: Tables) -> Callable[..., Expansion]:
    """expanded(text, absent=…): expands a plan on a mirror without {(path, config, split)}.

    The mirror has no test rows in qaa.
    """

    def run(
        text: str = PLAN, absent: tuple[tuple[str, str | None, str], ...] = (), **more: Any
    ) -> Expansion:
        lacking = {
            (f"org/{name}", "qaa", "test")
            for name in ("xquad", "mlqa", "xcopa", "udpos", "tatoeba")
        }
        return expand(load_plan(text, tables), lacking | set(absent), ENVIRONMENT, tables, **more)

    return run


@pytest.fixture
def plans() -> Path:
    return Path(__file__).resolve().parents[2] / "pipelines" / "plans"
