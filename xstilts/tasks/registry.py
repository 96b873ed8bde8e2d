"""Every task by name. A benchmark is added by writing its table and naming its module here."""

import difflib
from collections.abc import Mapping
from typing import Any

from xstilts.errors import PlanError
from xstilts.tasks import choice, images, nli, plain_text, ranking, retrieval, span, tagging
from xstilts.tasks.task import OVERLAPS, Overlap, Source, Task, closeness

TASKS: Mapping[str, Task] = {
    task.name: task
    for module in (nli, choice, span, tagging, retrieval, ranking, images, plain_text)
    for task in module.TASKS
}


def task(name: str) -> Task:
    """A task by name; PlanError names those that exist."""
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise PlanError(f"unknown task {name!r}{hint}; allowed: {', '.join(sorted(TASKS))}")
    return TASKS[name]


def as_json() -> list[dict[str, Any]]:
    """Every task as JSON: what `xstilts tasks --json` prints."""
    return [_as_json(one) for one in TASKS.values()]


def _as_json(one: Task) -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.title,
        "role": one.role,
        "format": one.format,
        "modality": one.modality,
        "objectives": list(one.objectives),
        "languages": list(one.languages),
        "labels": list(one.labels),
        "metrics": list(one.metrics),
        "licence": one.licence,
        "citation": one.citation,
        "overlap": _overlap(one),
        "sizes": dict(one.sizes),
        "sizes_source": one.sizes_source or None,
        "english_training_data": _english(one),
        "licensed": one.licensed or None,
        "trained_target": None if one.trained_target is None else list(one.trained_target),
        "splits": {
            split: [_source(s) for s in (source, *source.alternatives)]
            for split, source in one.splits.items()
        },
    }


def _overlap(one: Task) -> dict[str, Overlap]:
    """How close a task that can be an arm is to each target that some evaluation trains; of an
    evaluation, how close each such task is to what is trained for it (the closest of several).
    """
    if one.trained_target is None:
        targets = dict.fromkeys(
            name for other in TASKS.values() for name in other.trained_target or ()
        )
        return {name: closeness(one, name) for name in targets} if "train" in one.splits else {}
    arms = [
        name
        for name, other in TASKS.items()
        if other.role != "evaluation" and "train" in other.splits
    ]
    return {
        name: max(
            (closeness(TASKS[name], target) for target in one.trained_target),
            key=OVERLAPS.index,
            default="unrelated",
        )
        for name in arms
    }


def _english(one: Task) -> list[str]:
    """The data that an evaluation's road is trained on, or a task's own."""
    names = one.trained_target if one.trained_target is not None else (one.name,)
    trained = [TASKS[name].splits["train"] for name in names if "train" in TASKS[name].splits]
    return [source.path for one in trained for source in (one, *one.plus)]


def _source(source: Source) -> dict[str, Any]:
    """plus: further sources whose rows follow; pictures: where its pictures stand."""
    return {
        "path": source.path, "config": source.config, "split": source.split,
        **({"plus": [_source(one) for one in source.plus]} if source.plus else {}),
        **({"pictures": _source(source.pictures)} if source.pictures else {}),
        **({"files": list(source.files)} if source.files else {}),
    }  # fmt: skip
