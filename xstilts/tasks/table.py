"""The tables in docs/tasks.md, made from the registry: python -m xstilts.tasks.table >
docs/tasks.md.
"""

from xstilts.tasks.exposure import PUBLISHED
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Task

_HEAD = """# Tasks

Made from the registry by `python -m xstilts.tasks.table`; `xstilts tasks --json` has every field.

Rows are those of the official splits, of a test in each language; `--json` has each language's and the source
(`sizes_source`). Where none was found there is nothing.

| name | title | role | format | objectives | languages | metrics | trained on | rows | source | licence |
|---|---|---|---|---|---|---|---|---|---|---|
"""
_SEEN = """
## What released models have seen

Whether a model was trained on a task's data before any plan trains it. *seen* (of photographs: under other texts) and
*unseen* stand only where its makers publish what they trained it on; a plan's report says it of each arm, with the source.
Tasks on text are *unknown* for every model but XLM-R, which learnt from unlabelled pages of CommonCrawl only: tasks with
labels are *unseen*, plain text is *unknown*. A model that is not here is *unknown* throughout.

"""


def page() -> str:
    """docs/tasks.md."""
    return _HEAD + "".join(_row(_cells(one)) for one in TASKS.values()) + _SEEN + _exposures()


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _cells(one: Task) -> list[str]:
    source = next(iter(one.splits.values()))
    further = [*source.plus, *([source.pictures] if source.pictures else [])]
    place = ", ".join(
        one.path if one.config is None else f"{one.path} `{one.config}`"
        for one in (source, *further)
    )
    trained = "" if one.trained_target is None else ", then ".join(one.trained_target) or "nothing"
    return [
        f"`{one.name}`",
        one.title,
        one.role,
        one.format + (", pictures" if one.modality == "image" else ""),
        ", ".join(one.objectives),
        str(len(one.languages)),
        ", ".join(one.metrics),
        trained,
        _rows(one),
        place,
        one.licence,
    ]


def _rows(one: Task) -> str:
    """train 550,152, select 10,000; of a test whose languages differ, the fewest and the most."""
    counts: dict[str, set[int]] = {}
    for name, count in one.sizes.items():
        counts.setdefault(name.partition(":")[0], set()).add(count)
    return ", ".join(
        f"{split} {min(found):,}" + (f" to {max(found):,}" if len(found) > 1 else "")
        for split, found in counts.items()
    )


def _exposures() -> str:
    """Image tasks × published models, and the sources."""
    pictures = [one for one in TASKS.values() if one.modality == "image"]
    models = {name: one for name, one in PUBLISHED.items() if "text" not in one.covers}
    head = ["task", *(f"`{name}`" for name in models)]
    rows = [
        [
            f"`{task.name}`",
            *(_state(task.name in one.photographs, one.of(task)[0]) for one in models.values()),
        ]
        for task in pictures
    ]
    sources = "".join(
        f"- `{name}`: {f'{one.gap}: ' if one.gap else ''}{one.source}\n"
        for name, one in PUBLISHED.items()
    )
    return _row(head) + "|---" * len(head) + "|\n" + "".join(map(_row, rows)) + "\n" + sources


def _state(photographs: bool, state: str) -> str:
    return f"{state}: photographs" if photographs else state


if __name__ == "__main__":
    print(page(), end="")
