"""The page about reliability shows what was measured, and what was measured is right."""

import json
from pathlib import Path

from tests.reliability.chaos import FAULTS
from tests.reliability.page import PAGE, RESULTS, TABLES, rendered


def test_the_page_shows_the_results_of_the_files() -> None:
    """Update it with: python -m tests.reliability.page"""
    page = PAGE.read_text(encoding="utf-8")
    assert page == rendered(page)
    assert all(f"<!-- table: {name} -->" in page for name in TABLES)


def test_every_fault_has_a_name_and_a_moment_of_its_own() -> None:
    assert len({(fault.name, fault.moment) for fault in FAULTS}) == len(FAULTS)


def test_no_fault_changed_results_or_left_processes() -> None:
    path = RESULTS / "faults.json"
    for row in json.loads(path.read_text()) if path.is_file() else []:
        assert row["failed"] == [], row["fault"]
        assert row["equal"], row["fault"]
        assert row["orphans"] == [], row["fault"]


def test_cells_cannot_break_the_table(tmp_path: Path) -> None:
    row = {"case": "a | b", "exit": 2, "message": "line\n`code` | more"}
    (tmp_path / "inputs.json").write_text(json.dumps([row]))
    page = rendered("<!-- table: inputs -->\nold\n<!-- end -->", tmp_path)
    assert "| a \\| b | 2 | `line 'code' \\| more` |" in page
