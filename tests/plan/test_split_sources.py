"""Where the rows of a split come from: every part of a source, or an alternative of it."""

from dataclasses import replace
from typing import Any

from xstilts.plan.load import load_plan
from xstilts.plan.split_sources import Origin, Sources
from xstilts.plan.tables import Tables
from xstilts.tasks.task import Source, Task


def origin_of(tables: Tables, text: str, absent: set[str]) -> Origin | str:
    """The origin of a source with two parts: org/a, then org/b or its alternative org/c."""

    def missing(mirror: Any, source: Source, language: str) -> str | None:
        paths = [source.path, *(part.path for part in source.plus)]
        lost = [path for path in paths if path in absent]
        return f"no {lost[0]}" if lost else None

    source = Source(
        "org/a",
        None,
        "train",
        plus=(Source("org/b", None, "train", alternatives=(Source("org/c", None, "train"),)),),
    )
    task: Task = replace(tables.tasks["quiz"], name="both", splits={"train": source})
    changed = Tables({**tables.tasks, "both": task}, tables.recipe, (), tables.identity, missing)
    return Sources(load_plan(text, tables), changed, None).find(task, "train", "en")


def test_a_missing_part_is_replaced_by_its_alternative(tables: Tables, text: str) -> None:
    origin = origin_of(tables, text, {"org/b"})
    assert isinstance(origin, Origin)
    assert origin.source["path"] == "org/a"
    assert [part["path"] for part in origin.source["plus"]] == ["org/c"]


def test_all_parts_are_needed(tables: Tables, text: str) -> None:
    assert "all parts are needed" in str(origin_of(tables, text, {"org/b", "org/c"}))
    assert origin_of(tables, text, {"org/a"}) == "no org/a"
