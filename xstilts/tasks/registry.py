"""Every shipped task by name: the `TASKS` of each file in `xstilts/tasks/benchmarks/`.

A benchmark is added by adding a file there; no list names the files.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any

from xstilts.errors import PlanError
from xstilts.tasks import benchmarks
from xstilts.tasks.task import OVERLAPS, Overlap, Source, Task, closeness
from xstilts.tasks.task_checks import task_problems


def collected(files: Iterable[tuple[str, Iterable[Task]]]) -> dict[str, Task]:
    """name → Task, sorted by name. files: (file, its tasks). ValueError for a name in two files,
    and for invalid tasks.
    """
    origin: dict[str, str] = {}
    tasks: dict[str, Task] = {}
    for file, defined in files:
        for definition in defined:
            if definition.name in origin:
                raise ValueError(
                    f"duplicate task {definition.name!r}: {origin[definition.name]} and {file}; "
                    "rename one of them"
                )
            origin[definition.name], tasks[definition.name] = file, definition
    problems = [
        f"{origin[name]}: {problem}"
        for name, definition in tasks.items()
        for problem in task_problems(definition, tasks)
    ]
    if problems:
        raise ValueError("\n".join(["invalid tasks", *(f"  - {problem}" for problem in problems)]))
    return dict(sorted(tasks.items()))


def _shipped() -> Iterable[tuple[str, Iterable[Task]]]:
    for module in sorted(pkgutil.iter_modules(benchmarks.__path__), key=lambda info: info.name):
        path = f"xstilts/tasks/benchmarks/{module.name}.py"
        yield path, importlib.import_module(f"{benchmarks.__name__}.{module.name}").TASKS


TASKS: Mapping[str, Task] = collected(_shipped())


def task(name: str, tasks: Mapping[str, Task] = TASKS) -> Task:
    """A task by name; PlanError with the allowed names."""
    if name not in tasks:
        near = difflib.get_close_matches(name, tasks, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise PlanError(f"unknown task {name!r}{hint}; allowed: {', '.join(sorted(tasks))}")
    return tasks[name]


def as_json(tasks: Mapping[str, Task] = TASKS) -> list[dict[str, Any]]:
    """Every task as JSON: what `xstilts tasks --json` prints."""
    return [_as_json(definition, tasks) for definition in tasks.values()]


def _as_json(definition: Task, tasks: Mapping[str, Task]) -> dict[str, Any]:
    trained = definition.trained_target
    return {
        "name": definition.name,
        "title": definition.title,
        "role": definition.role,
        "format": definition.format,
        "modality": definition.modality,
        "objectives": list(definition.objectives),
        "languages": list(definition.languages),
        "labels": list(definition.labels),
        "metrics": list(definition.metrics),
        "licence": definition.licence,
        "citation": definition.citation,
        "overlap": _overlap(definition, tasks),
        "sizes": dict(definition.sizes),
        "sizes_source": definition.sizes_source or None,
        "english_training_data": _english(definition, tasks),
        "licensed": definition.licensed or None,
        "trained_target": None if trained is None else list(trained),
        "splits": {
            split: [_source(origin) for origin in (source, *source.alternatives)]
            for split, source in definition.splits.items()
        },
    }


def _overlap(definition: Task, tasks: Mapping[str, Task]) -> dict[str, Overlap]:
    """For a task that can be an arm: trained target → how close they are. For an evaluation: arm →
    how close it is to the evaluation's trained targets (the closest counts).
    """
    if definition.trained_target is None:
        targets = dict.fromkeys(
            name for other in tasks.values() for name in other.trained_target or ()
        )
        can_train = "train" in definition.splits
        return {name: closeness(definition, name) for name in targets} if can_train else {}
    arms = [
        name
        for name, other in tasks.items()
        if other.role != "evaluation" and "train" in other.splits
    ]
    return {
        name: max(
            (closeness(tasks[name], target) for target in definition.trained_target),
            key=OVERLAPS.index,
            default="unrelated",
        )
        for name in arms
    }


def _english(definition: Task, tasks: Mapping[str, Task]) -> list[str]:
    """The training data of an evaluation's targets, or a task's own."""
    trained = definition.trained_target
    names = trained if trained is not None else (definition.name,)
    sources = [tasks[name].splits["train"] for name in names if "train" in tasks[name].splits]
    return [part.path for source in sources for part in (source, *source.plus)]


def _source(source: Source) -> dict[str, Any]:
    """plus: further sources whose rows follow; pictures: the source of the images."""
    return {
        "path": source.path, "config": source.config, "split": source.split,
        **({"plus": [_source(further) for further in source.plus]} if source.plus else {}),
        **({"pictures": _source(source.pictures)} if source.pictures else {}),
        **({"files": list(source.files)} if source.files else {}),
    }  # fmt: skip
