"""What is wrong with a task's record. The registry checks shipped tasks with it, and plans check
private ones.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import get_args

from xstilts.tasks.exposure import PUBLISHED
from xstilts.tasks.recipe_sets import DEFAULTS, SETS
from xstilts.tasks.task import Format, Modality, Objective, Overlap, Role, Task

#: Names become part of roles, labels and S3 keys.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
#: What a split can be called; see Task.
_SPLITS = ("train", "select", "test", "text")
#: Recipe keys without a default: each format's row has them.
_FURTHER_KEYS = frozenset({"lr", "epochs", "updates", "examples_per_step", "source"})

#: The metrics that can score a format's predictions (xstilts/scoring/metrics.py).
METRICS: Mapping[Format, tuple[str, ...]] = {
    "classification": ("accuracy", "binary_f1"),
    "multiple_choice": ("accuracy",),
    "tagging": ("udpos_f1", "ner_f1", "token_accuracy", "macro_f1"),
    "span": ("squad_f1", "squad_em", "squad_v2_f1", "squad_v2_em", "mlqa_f1", "mlqa_em", "char_f1"),
    "generation": ("cider", "vqa_accuracy", "box_iou50", "squad_f1", "squad_em", "char_f1"),
    "retrieval": ("retrieval_accuracy",),
    "ranking": ("map_at_20",),
    "mining": ("bucc_f1", "bucc_precision", "bucc_recall"),
}


def task_problems(task: Task, tasks: Mapping[str, Task]) -> list[str]:
    """Every mistake in a task. tasks: all tasks that it may refer to, itself included."""
    return [f"{task.name}: {problem}" for problem in _problems(task, tasks)]


def _problems(task: Task, tasks: Mapping[str, Task]) -> Iterator[str]:
    if not _NAME.fullmatch(task.name):
        yield "name: only letters, digits, _ and - are allowed, up to 63 characters"
    yield from _not_allowed("role", [task.role], get_args(Role))
    yield from _not_allowed("format", [task.format], get_args(Format))
    yield from _not_allowed("modality", [task.modality], get_args(Modality))
    yield from _not_allowed("objectives", task.objectives, get_args(Objective))
    yield from _not_allowed("overlap", task.overlap.values(), get_args(Overlap))
    yield from _not_allowed("splits", task.splits, _SPLITS)
    if not task.splits:
        yield "splits: at least one is required"
    if task.role != "evaluation" and task.trained_target is not None:
        yield "trained_target: only an evaluation has one"
    if "test" in task.splits and task.trained_target is None:
        yield "trained_target: required with a test split; () trains nothing"
    if task.role == "target" and "train" not in task.splits:
        yield "splits: a target needs train"
    if task.format == "classification" and not task.labels:
        yield "labels: required for classification"
    in_words = "lm" in task.objectives and task.format == "classification"
    if in_words and len(task.verbalised) != len(task.labels):
        yield "verbalised: the objective lm needs a word for each label"
    if task.format in METRICS:
        yield from _not_allowed(f"metrics of {task.format}", task.metrics, METRICS[task.format])
    if "test" in task.splits and not task.metrics:
        yield "metrics: at least one is required with a test split"
    if not callable(task.to_example):
        yield "to_example: must be a function (row, index, language) -> Example"
    for name in (*(task.trained_target or ()), *((task.pool,) if task.pool else ())):
        if name not in tasks:
            yield f"unknown task {name!r}; allowed: {', '.join(sorted(tasks))}"
    for size in task.sizes:
        split, _, language = size.partition(":")
        if split not in task.splits or (language and language not in task.languages):
            yield f"sizes: {size!r} is not a split of the task, or split:language"
    if bool(task.sizes) != bool(task.sizes_source):
        yield "sizes and sizes_source belong together"
    mixtures = {mixture.name for mixture in PUBLISHED.values()}
    yield from _not_allowed("seen_by", task.seen_by, mixtures)
    yield from _not_allowed("maybe_seen_by", task.maybe_seen_by, mixtures)
    for row in task.recipes:
        yield from _not_allowed("recipes", [row.recipes], SETS)
        yield from _not_allowed(f"recipes {row.recipes}", row.changes, {*DEFAULTS, *_FURTHER_KEYS})


def _not_allowed(key: str, values: Iterable[str], allowed: Collection[str]) -> Iterator[str]:
    for value in values:
        if value not in allowed:
            yield f"{key}: invalid value {value!r}; allowed: {', '.join(sorted(allowed))}"
