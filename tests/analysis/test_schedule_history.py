"""The history page of a schedule."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.analysis.sample_report import HOSTILE
from tests.analysis.visit import DESKTOP, PHONE, Visit, serious
from xstilts.analysis.changes import COLUMNS
from xstilts.analysis.page.schedule_history import (
    Firing,
    averages_chart,
    averages_table,
    history_page,
    plan_hash,
)

WEEK = 7 * 86400.0


def average(arm: str, value: float | None, over: tuple[str, ...] = ("xnli",)) -> dict[str, Any]:
    return {"backbone": "b", "arm": arm, "all": value, "over": list(over)}


def firing(number: int, **given: Any) -> Firing:
    summary = {
        "answer": f"answer {number}",
        "confidence": 0.95,
        "averages": [average("x", 50.0 + number)],
    }
    return Firing(number, f"weekly-{number}", number * WEEK, **{"summary": summary, "link": f"./weekly-{number}/report.html", **given})  # fmt: skip


def changed(**given: Any) -> pd.DataFrame:
    row = {"backbone": "b", "arm": "x", "evaluation": "xnli", "metric": "accuracy", "score": 50.0, "other": 53.0,
           "change": -3.0, "ci_low": -4.0, "ci_high": -2.0, "ci_method": "t", "p": 0.001, "p_adjusted": 0.002,
           "n_seeds": 3, "regression": True, "reason": "", **given}  # fmt: skip
    return pd.DataFrame([row], columns=list(COLUMNS))


def test_a_firing_shows_its_answer_date_plan_and_changes() -> None:
    second = firing(1, plan="name: p", against=0, changes=changed(), threshold=1.0)
    html = history_page("weekly", "s3://b/p", [firing(0), second])
    for text in (
        "Firing 1: 1970-01-08 00:00", plan_hash("name: p"), "answer 1", "Changes against firing 0",
        "−3.0</td><td>−4.0 … −2.0</td><td>0.002", '<span class="bad">regression</span>', "There is no earlier report",
        'href="./weekly-1/report.html"', "a loss of more than 1 points",
    ):  # fmt: skip
        assert text in html


def test_what_was_not_compared_has_its_reason() -> None:
    table = changed(change=None, regression=False, reason="no seeds in common")
    html = history_page("w", "s3://b", [firing(0), firing(1, against=0, changes=table)])
    assert "b, x, xnli: no seeds in common" in html
    assert "not checked" in html


def test_a_firing_without_a_report_has_the_reason() -> None:
    lost = Firing(0, "weekly-0", 0.0, reason="failed with exit code 3")
    assert "failed with exit code 3" in history_page("w", "s3://b", [lost])
    assert "has not fired yet" in history_page("w", "s3://b", [])


def test_averages_over_other_evaluations_are_marked() -> None:
    summaries = [
        {"averages": [average("x", 50.0, ("xnli",)), average("y", 40.0)]},
        {"averages": [average("x", 60.0, ("xnli", "xquad")), average("z", None)]},
    ]
    table = averages_table([firing(k, summary=each) for k, each in enumerate(summaries)])
    assert [line["entries"] for line in table["lines"]] == [
        [{"value": 50.0, "other": True}, {"value": 60.0, "other": False}],
        [{"value": 40.0, "other": False}, None],
    ]
    assert table["marked"]


def test_the_chart_needs_two_reports_and_has_a_point_for_each() -> None:
    assert averages_chart([firing(0)]) is None
    chart = averages_chart([firing(0), firing(1)])
    assert chart is not None
    assert [(row["at"], row["value"]) for row in chart["data"]["values"]] == [
        (0.0, 50.0),
        (1000 * WEEK, 51.0),
    ]


@pytest.fixture(scope="module")
def hostile() -> str:
    summary = {
        "answer": HOSTILE,
        "confidence": 0.95,
        "averages": [average(HOSTILE, 1.0, (HOSTILE,))],
        "missing": [{}],
    }
    rows = changed(arm=HOSTILE, reason=HOSTILE)
    firings = [
        Firing(k, "weekly", k * WEEK, HOSTILE, "./weekly/report.html", summary, against=0, changes=rows)
        for k in range(3)
    ]  # fmt: skip
    return history_page(HOSTILE, HOSTILE, [*firings, Firing(3, HOSTILE, 0.0, reason=HOSTILE)])


def test_hostile_texts_are_escaped(hostile: str) -> None:
    assert "<img" not in hostile
    assert "<script" not in hostile
    assert "&lt;img src=x onerror" in hostile


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_in_a_browser_requests_nothing_and_axe_finds_nothing_serious(
    hostile: str, browser: Any, scheme: str, viewport: dict[str, int], tmp_path: Path
) -> None:
    path = tmp_path / "history.html"
    path.write_text(hostile)
    visit = Visit(browser, path, viewport=viewport, color_scheme=scheme)
    assert visit.page.locator(".chart svg").count() == 1
    assert visit.page.locator("img, script").count() == 0
    assert (visit.errors, visit.dialogs, visit.requests) == ([], [], [path.as_uri()])
    assert visit.page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    assert serious(visit.page) == []
    visit.context.close()
