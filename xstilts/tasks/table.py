"""The table of tasks in docs/tasks.md, made from the registry: python -m xstilts.tasks.table > docs/tasks.md."""

from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Task

_HEAD = """# Tasks

Made from the registry by `python -m xstilts.tasks.table`; `xstilts tasks --json` has every field.

| name | title | role | format | objectives | languages | metrics | trained on | source | licence |
|---|---|---|---|---|---|---|---|---|---|
"""


def page() -> str:
    """docs/tasks.md."""
    return _HEAD + "".join(f"| {' | '.join(_cells(one))} |\n" for one in TASKS.values())


def _cells(one: Task) -> list[str]:
    source = next(iter(one.splits.values()))
    further = [*source.plus, *([source.pictures] if source.pictures else [])]
    place = ", ".join(one.path if one.config is None else f"{one.path} `{one.config}`" for one in (source, *further))
    trained = "" if one.trained_target is None else ", then ".join(one.trained_target) or "nothing"
    return [
        f"`{one.name}`", one.title, one.role, one.format + (", pictures" if one.modality == "image" else ""),
        ", ".join(one.objectives), str(len(one.languages)), ", ".join(one.metrics), trained, place, one.licence,
    ]  # fmt: skip


if __name__ == "__main__":
    print(page(), end="")
