"""Cron with six fields: valid lines, and lines that KFP would misread or reject."""

import pytest

from pipelines.cron import problems


@pytest.mark.parametrize(
    "line",
    [
        "0 0 3 * * 1",
        "0 30 2 ? * MON-FRI",
        "0 0 */6 * * *",
        "30 15 4 1,15 JAN,jul ?",
        "0 0 12 29 2 *",
        "0 10-50/20 5/6 * * sun",
        "0 0 0 31 * 1",
    ],
)
def test_lines_that_kfp_reads_as_meant(line: str) -> None:
    assert problems(line) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 3 * * 1", "put the second before five-field cron: `0 0 3 * * 1`"),
        ("@weekly", "has 1 field;"),
        ("0 0 3 * * 1 2026", "has 7 fields"),
        ("* 0 3 * * 1", "fires 60 times a minute"),
        ("0,30 0 3 * * 1", "fires 2 times a minute"),
        ("0 60 3 * * 1", "0 to 59"),
        ("0 0 24 * * 1", "0 to 23"),
        ("0 0 3 0 * *", "1 to 31"),
        ("0 0 3 * 13 *", "1 to 12"),
        ("0 0 3 * * 7", "0 to 6"),
        ("0 0 3 * * FUN", "or a name"),
        ("0 0 3 * * 5-1", "empty range 5-1"),
        ("0 */0 3 * * *", "invalid step '0'"),
        ("0 0 3 L * *", "1 to 31"),
        ("0 0 3 30 2 *", "month 2 has no day 30"),
        ("0 0 3 31 4,6 ?", "month 4,6 has no day 31"),
        ("0 0 3 1, * *", "1 to 31"),
    ],
)
def test_lines_that_mean_something_else_are_refused_with_the_reason(line: str, said: str) -> None:
    assert said in "; ".join(problems(line))


def test_every_invalid_field_is_reported() -> None:
    assert len(problems("0 61 25 32 13 8")) == 5
