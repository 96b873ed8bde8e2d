"""The shape of a JSON document, and the first fault in one."""

import re
from pathlib import Path
from typing import Any

import pytest

from xstilts.document_shape import Between, Maybe, Whole, fault, fields_in, optional, read_shaped
from xstilts.errors import DataError
from xstilts.plan.expansion import Expansion

SHAPE = {
    "name": str,
    "seed?": (int, type(None)),
    "rows": [{"value": (int, float)}],
    "by_name?": {"first": bool, "*": str},
    "report?": Maybe({"points": Between(0, 10)}),
    "started?": re.compile(r"\d+Z"),
    "size?": Whole(1, 2000),
}
SOUND = {"name": "a", "rows": [{"value": 1}]}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"another": 1},
        {"seed": None},
        {"rows": []},
        {"rows": [{"value": 1}, {"value": 0.5, "more": []}]},
        {"by_name": {"first": True, "second": "b"}},
        {"report": None},
        {"report": {"points": 10}},
        {"started": "12Z"},
        {"size": 1},
        {"size": 2000},
    ],
)
def test_a_document_of_the_shape_has_no_fault(more: dict[str, Any]) -> None:
    assert fault({**SOUND, **more}, SHAPE) is None


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "expected a JSON object, not a list"),
        ({"rows": []}, "`name` is missing"),
        ({**SOUND, "name": None}, "`name` must be text, not null"),
        ({**SOUND, "seed": True}, "`seed` must be an integer or null, not a boolean"),
        ({**SOUND, "seed": 0.5}, "`seed` must be an integer or null, not a number"),
        ({**SOUND, "rows": {}}, "`rows` must be a list, not an object"),
        ({**SOUND, "rows": [{"value": 1}, []]}, "`rows[1]` must be an object, not a list"),
        ({**SOUND, "rows": [{"value": "1"}]}, "`rows[0].value` must be a number, not text"),
        ({**SOUND, "by_name": {}}, "`by_name.first` is missing"),
        ({**SOUND, "by_name": {"first": 1}}, "`by_name.first` must be a boolean, not a number"),
        ({**SOUND, "by_name": {"first": True, "b": 1}}, "`by_name.b` must be text, not a number"),
        ({**SOUND, "report": []}, "`report` must be an object, not a list"),
        ({**SOUND, "report": {"points": 11}}, "`report.points` must be a number from 0 to 10"),
        ({**SOUND, "size": 0}, "`size` must be a whole number from 1 to 2,000"),
        ({**SOUND, "size": 2001}, "`size` must be a whole number from 1 to 2,000"),
        ({**SOUND, "size": 1.0}, "`size` must be a whole number from 1 to 2,000"),
        ({**SOUND, "size": True}, "`size` must be a whole number from 1 to 2,000"),
        ({**SOUND, "started": "today"}, r"`started` must be text like \d+Z"),
    ],
)
def test_the_first_fault_is_named_with_its_place(document: Any, message: str) -> None:
    assert fault(document, SHAPE) == message


def test_optional_members_may_be_missing_but_not_wrong() -> None:
    shape = optional({"name": str, "seed?": int})
    assert fault({}, shape) is None
    assert fault({"name": 7}, shape) == "`name` must be text, not a number"


def test_members_of_later_versions_are_left_out_of_a_dataclass() -> None:
    assert fields_in({"name": "a", "later": 1}, Expansion) == {"name": "a"}


def test_a_file_of_another_shape_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"name": 7}')
    with pytest.raises(DataError, match=rf"^{file}: `name` must be text, not a number; delete it$"):
        read_shaped(file, SHAPE, "delete it")
    file.write_text('{"name')
    with pytest.raises(DataError, match=rf"^{file}: not valid JSON.*; delete it$"):
        read_shaped(file, SHAPE, "delete it")
