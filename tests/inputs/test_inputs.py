"""Bad inputs end in one message and a documented exit code, never in a traceback.

docs/reliability/inputs.json lists what each ends with; `make inputs` writes it.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inputs.cases import CASES, SOUND, Case

TABLE = Path(__file__).resolve().parents[2] / "docs/reliability/inputs.json"
#: Seconds of CPU: no input may keep a command busy.
LONGEST = 10
#: Invalid usage, plan or data; infrastructure.
CODES = (2, 3)
_NAMES = [f"{area}: {name}" for area, name, _ in CASES]

#: What Arrow says of a damaged footer depends on bytes after it.
_UNSTABLE = re.compile(r"(deserialize thrift:) [^;)]*")


Table = dict[tuple[str, str], dict[str, object]]


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    """(area, case) → recorded outcome. With XSTILTS_GOLDEN=write it is filled and saved instead."""
    if os.environ.get("XSTILTS_GOLDEN") != "write":
        yield {(row["area"], row["case"]): row for row in json.loads(TABLE.read_text())}
        return
    made: Table = {}
    yield made
    TABLE.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in made.values())
    TABLE.write_text(f"[\n{lines}\n]\n")


def test_there_are_enough_cases_and_none_twice() -> None:
    assert len(CASES) >= 250
    assert len(set(_NAMES)) == len(_NAMES)


@pytest.mark.parametrize("case", CASES, ids=_NAMES)
def test_a_bad_input_ends_in_a_message(case: Case, table: Table, tmp_path: Path) -> None:
    area, name, run = case
    start = time.process_time()
    code, message = run(tmp_path)
    seconds = time.process_time() - start
    message = _UNSTABLE.sub(r"\1 …", message.replace(str(tmp_path), "DIR"))
    message = " ".join(message.split())[:300].removeprefix("xstilts: ")
    row = {"case": name, "area": area, "exit": code, "message": message}
    assert code in CODES, row
    assert message
    assert "unexpected" not in message
    assert "Traceback" not in message
    assert seconds < LONGEST
    if os.environ.get("XSTILTS_GOLDEN") == "write":
        table[area, name] = row
    assert table[area, name] == row


@pytest.mark.parametrize("case", SOUND, ids=[f"{area}: {name}" for area, name, _ in SOUND])
def test_a_sound_input_is_accepted(case: Case, tmp_path: Path) -> None:
    """A reader that refused everything would pass the test above."""
    code, message = case[2](tmp_path)
    assert message == ""
    assert code == (2 if case[0] == "submission" else 0)


def test_the_table_lists_these_cases(table: Table) -> None:
    assert set(table) == {(area, name) for area, name, _ in CASES}
