"""The files of a report: Markdown and HTML for small inputs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.analysis.test_effects import cell, report, scored
from xstilts.analysis.inputs import Cell, ReportInput
from xstilts.analysis.page.view import score_tables
from xstilts.analysis.report import write_report
from xstilts.analysis.report_markdown import markdown
from xstilts.analysis.scores import results_table

EMPTY: dict[str, Any] = {
    "title": "A plan", "banner": "", "answer": "It helps.", "confidence": 0.95, "primary": [], "pooled": [], "effects": [],
    "controls": [], "cut_contexts": [], "intermediates": [], "forms": [], "missing": [], "not_applicable": [],
    "trained_in_part": [], "skipped_languages": [], "left_out": [],
}  # fmt: skip


def test_markdown_without_results_has_title_answer_and_an_empty_table() -> None:
    assert markdown(EMPTY) == (
        "# A plan\n\nIt helps.\n\n"
        "| contrast | backbone | evaluation | effect | 95% interval | adjusted p | MDE | seeds |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )


def test_a_markdown_effect_is_one_line() -> None:
    effect = {
        "contrast": "c", "backbone": "llava", "evaluation": "xnli", "effect": 1.0, "ci_low": -0.5, "ci_high": 2.5,
        "p_adjusted": 0.25, "mde": None, "seeds": "3",
    }  # fmt: skip
    assert markdown({**EMPTY, "effects": [effect]}).splitlines()[-1] == (
        "| c | llava | xnli | +1.0 | -0.5 … +2.5 | 0.250 |  | 3 |"
    )


@pytest.mark.parametrize(
    ("key", "entry", "title", "line"),
    [
        (
            "missing",
            {"what": "a cell on xnli", "reason": "the loss is nan", "log": "Traceback"},
            "## Missing",
            "- a cell on xnli: the loss is nan",
        ),
        (
            "not_applicable",
            {"backbone": "xlm-r", "arm": "captions", "reason": "it sees no images"},
            "## Not applicable",
            "- xlm-r, captions: it sees no images",
        ),
        (
            "left_out",
            {"contrast": "c", "backbone": "llava", "evaluation": "xnli", "left_out": "sw"},
            "## Left out of a contrast",
            "- c, llava, xnli: sw",
        ),
    ],
)
def test_markdown_lists_end_with_the_reason(
    key: str, entry: dict[str, Any], title: str, line: str
) -> None:
    assert markdown({**EMPTY, key: [entry]}).splitlines()[-3:] == [title, "", line]


def test_a_table_of_scores_names_each_split_once() -> None:
    """The averages' joint split is not one of them."""
    german = scored([1, 0])
    german.split = "validation"
    languages = {("xnli", "en"): scored([1, 1]), ("xnli", "de"): german}
    data = report([Cell("b", "none", 0, None, 0, "mnli", languages)])
    (table,) = score_tables(data, results_table(data))
    assert table["splits"] == ["test", "validation"]
    assert table["languages"] == ["avg", "non_en", "en", "de"]
    assert table["lines"] == [
        {"backbone": "b", "arm": "none", "values": [75.0, 50.0, 100.0, 50.0], "errors": [None] * 4}
    ]


def test_a_score_has_its_standard_error_over_seeds() -> None:
    cells = [cell("none", None, seed, {"en": [1, seed]}) for seed in (0, 1)]
    data = report(cells)
    (table,) = score_tables(data, results_table(data))
    assert table["lines"][0]["values"][0] == 75.0
    assert table["lines"][0]["errors"][0] == pytest.approx(25.0)


def test_hostile_texts_are_no_markup_in_markdown() -> None:
    """Rendered, each text is as it was written."""
    from markdown_it import MarkdownIt

    hostile = "Study of [/INST] <b>markup</b> *x* `y` ![i](http://z) a_b _c_ | &amp; $m$ ~~s~~"
    lost = {"what": hostile, "reason": hostile, "log": ""}
    text = markdown({**EMPTY, "title": hostile, "answer": hostile, "missing": [lost]})
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    inline = [token for token in tokens if token.type == "inline"]
    assert [token.content for token in inline][-1].count("INST") == 2
    for token in inline:
        assert {child.type for child in token.children or ()} <= {"text", "text_special"}
    shown = "".join(child.content for child in inline[0].children or ())
    assert shown == hostile


def full_report(**more: Any) -> ReportInput:
    """Two arms with the controls `x` on xnli, everything else empty."""
    expanded = {
        "name": "small", "plan": {"title": "A <b> plan"}, "controls": {}, "not_applicable": [], "skipped_languages": [],
        "overrides": [], "identities": [], "environment": {"torch": "2"},
        "order": {"arms": ["none", "x"], "backbones": ["b"]}, "headline": "x minus none", "overlaps": [],
    }  # fmt: skip
    cells = [
        cell(
            arm, None if arm == "none" else seed, seed, {"en": [1, 0, 1], "de": [arm == "x", 0, 1]}
        )
        for arm in ("none", "x")
        for seed in range(3)
    ]
    data = report(cells, **{**expanded, **more})
    return replace(data, expanded={**data.expanded, "cells": []})


def test_the_page_has_the_answer_and_escapes_texts(tmp_path: Path) -> None:
    summary = write_report(tmp_path, full_report())
    page = (tmp_path / "report.html").read_text()
    assert summary["answer"].startswith("“x minus none”, non-English languages, ")
    assert summary["answer"] in page
    assert "<title>A &lt;b&gt; plan</title>" in page


def test_the_page_shows_a_control_that_was_not_computed(tmp_path: Path) -> None:
    controls = {"positive": {"arm": "y", "evaluation": "xnli"}}
    write_report(tmp_path, full_report(controls=controls))
    assert '<span class="bad">not computed</span>' in (tmp_path / "report.html").read_text()
    assert "- positive control: y on xnli: not computed" in (tmp_path / "report.md").read_text()


def test_the_tables_of_a_report_have_the_documented_columns(tmp_path: Path) -> None:
    write_report(tmp_path, full_report())
    assert list(pd.read_parquet(tmp_path / "results.parquet")) == [
        "backbone", "arm", "seed", "seed_intermediate", "seed_target", "trained_target", "checkpoint", "evaluation", "split",
        "language", "metric", "value", "n",
    ]  # fmt: skip
    assert list(pd.read_parquet(tmp_path / "effects.parquet")) == [
        "contrast", "backbone", "arm", "reference", "evaluation", "language", "metric", "effect", "ci_low", "ci_high",
        "ci_method", "p", "p_adjusted", "family", "mde", "n_seeds", "seeds", "n_examples", "n_languages", "left_out",
        "pooled_over", "same_data", "iqm", "p_improvement", "bootstrap_low", "bootstrap_high",
    ]  # fmt: skip
    assert json.loads((tmp_path / "summary.json").read_text())["title"] == "A <b> plan"
