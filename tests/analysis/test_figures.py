"""The figures of a report: what their SVG shows."""

import re
from typing import Any

import pandas as pd

from xstilts.analysis.figures import by_language, forest

ACCENT = "#1f6f8b"


def effects(*rows: dict[str, Any]) -> pd.DataFrame:
    default = {
        "backbone": "llava", "evaluation": "xnli", "language": "de", "effect": 1.0, "ci_low": 0.5, "ci_high": 1.5,
        "p_adjusted": 0.01,
    }  # fmt: skip
    return pd.DataFrame([default | row for row in rows])


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def fills_of_marks(svg: str) -> list[str]:
    return re.findall(rf'<use [^>]*style="fill: (#\w+); stroke: {ACCENT}"', svg)


def test_a_forest_has_one_labeled_line_per_effect_and_names_the_level() -> None:
    svg = forest(effects({}, {"evaluation": "xquad"}), ["llava, xnli", "llava, xquad"], 0.9)
    assert [text for text in texts(svg) if text.startswith("llava")] == [
        "llava, xnli",
        "llava, xquad",
    ]
    assert "effect, points (90 % interval)" in texts(svg)
    assert svg.startswith("<svg")


def test_the_mark_of_an_effect_is_filled_if_it_is_significant() -> None:
    rows = effects({}, {"p_adjusted": 0.2}, {"p_adjusted": None})
    assert fills_of_marks(forest(rows, ["a", "b", "c"], 0.95)) == [ACCENT, "#ffffff", "#ffffff"]


def test_the_same_effects_give_the_same_bytes() -> None:
    assert forest(effects({}), ["a"], 0.95) == forest(effects({}), ["a"], 0.95)


def test_effects_by_language_have_languages_as_ticks_and_series_in_the_legend() -> None:
    rows = effects({}, {"language": "sw"}, {"evaluation": "xquad"})
    labels = texts(by_language(rows, 0.95))
    assert [text for text in labels if text in ("de", "sw")] == ["de", "sw"]
    assert [text for text in labels if text.startswith("llava")] == ["llava, xnli", "llava, xquad"]


def test_marks_of_a_single_series_are_at_the_height_of_their_language() -> None:
    svg = by_language(effects({}), 0.95)
    (tick,) = re.findall(r'<text[^>]*y="([\d.]+)"[^>]*>de</text>', svg)
    marks = re.findall(rf'<use [^>]*y="([\d.]+)" style="fill: {ACCENT}; stroke: {ACCENT}"', svg)
    assert abs(float(marks[0]) - float(tick)) < 5
