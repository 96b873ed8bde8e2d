"""Where a split's rows are: every part of a source, each with what may stand for it."""

from dataclasses import replace
from typing import Any

from xstilts.plan.load import load_plan
from xstilts.plan.split_sources import Origin, Sources
from xstilts.plan.tables import Tables
from xstilts.tasks.task import Source, Task


def found(tables: Tables, text: str, absent: set[str]) -> Origin | str:
    """ANLI+-like: org/a and, behind it, org/b or its other copy org/c."""

    def missing(mirror: Any, source: Source, language: str) -> str | None:
        asked = [source.path, *(one.path for one in source.plus)]
        lost = [path for path in asked if path in absent]
        return f"no {lost[0]}" if lost else None

    source = Source(
        "org/a",
        None,
        "train",
        plus=(Source("org/b", None, "train", alternatives=(Source("org/c", None, "train"),)),),
    )
    task: Task = replace(tables.tasks["quiz"], name="both", splits={"train": source})
    ours = Tables({**tables.tasks, "both": task}, tables.recipe, (), tables.identity, missing)
    return Sources(load_plan(text, tables), ours, None).find(task, "train", "en")


def test_a_part_that_is_absent_is_taken_from_its_other_copy(tables: Tables, text: str) -> None:
    origin = found(tables, text, {"org/b"})
    assert isinstance(origin, Origin)
    assert origin.source["path"] == "org/a"
    assert [one["path"] for one in origin.source["plus"]] == ["org/c"]


def test_all_parts_are_needed(tables: Tables, text: str) -> None:
    assert "all parts are needed" in str(found(tables, text, {"org/b", "org/c"}))
    assert found(tables, text, {"org/a"}) == "no org/a"
