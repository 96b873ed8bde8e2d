"""benchmarks/report.py with few examples: the report that it times is a whole one."""

import pytest

from benchmarks import report

pytestmark = pytest.mark.slow


def test_a_small_report_has_cells_and_a_page() -> None:
    size = report.of_size(backbones=1, share=0.002)
    assert size["cells"] > 100
    assert size["html_mb"] > 0.5
    rows = report.records([size, {**size, "predictions": size["predictions"] + 1}])
    assert [row.unit for row in rows] == ["s", "GiB", "s", "GiB", "MB"]
