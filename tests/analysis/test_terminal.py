"""The summary that a run prints at its end."""

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from xstilts.analysis.terminal import LARGEST_TABLE, MISSING_SHOWN, show


def printed(
    folder: Path, effects: list[dict[str, Any]], headline: str | None = "seeing", **more: Any
) -> str:
    summary = {"title": "A plan", "effects": effects, "headline": headline, "answer": "It helps.", "controls": [], "missing": [],
               "banner": "", "primary": [], "confidence": 0.95, **more}  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    out = io.StringIO()
    show(folder, Console(file=out, width=120))
    return out.getvalue()


def effect(contrast: str, evaluation: str) -> dict[str, Any]:
    return {
        "contrast": contrast, "backbone": "llava", "evaluation": evaluation, "effect": 1.25, "ci_low": -2.0, "ci_high": 4.5,
        "seeds": "3", "p_adjusted": 0.25, "mde": 5.0,
    }  # fmt: skip


def test_few_effects_are_all_printed(tmp_path: Path) -> None:
    text = printed(tmp_path, [effect("seeing", "xnli"), effect("captions minus none", "xquad")])
    assert "captions minus none" in text
    assert "  +1.2   −2.0 … +4.5   0.250  5.0      3" in text
    assert "more effects" not in text


def test_of_many_effects_only_the_headlines_are_printed(tmp_path: Path) -> None:
    many = [effect("captions minus none", f"task{k}") for k in range(LARGEST_TABLE)]
    text = printed(tmp_path, [*many, effect("seeing", "xnli")])
    assert "captions minus none" not in text
    assert "xnli" in text
    assert f"the report has {LARGEST_TABLE} more effects" in text


def test_a_plan_without_arms_has_no_table(tmp_path: Path) -> None:
    assert "contrast" not in printed(tmp_path, [], None)


def test_missing_scores_are_printed_with_their_reasons(tmp_path: Path) -> None:
    text = printed(
        tmp_path,
        [],
        None,
        missing=[{"what": "a cell on xnli", "reason": "the loss is nan\nmore", "log": ""}],
    )
    assert "1 missing:" in text
    assert "a cell on xnli: the loss is nan" in text


def test_a_missing_score_whose_error_has_no_message_is_printed(tmp_path: Path) -> None:
    missing = [{"what": "a cell on xnli", "reason": "", "log": ""}]
    assert "  a cell on xnli: " in printed(tmp_path, [], None, missing=missing)


def test_many_missing_scores_are_counted(tmp_path: Path) -> None:
    entry = {"what": "a cell on xnli", "reason": "the loss is nan", "log": ""}
    text = printed(tmp_path, [], None, missing=[entry] * (MISSING_SHOWN + 3))
    assert f"{MISSING_SHOWN + 3} missing:" in text
    assert text.count("the loss is nan") == MISSING_SHOWN
    assert "… and 3 more" in text


def test_square_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    """rich would read them as markup: `[/en]` raises, `[en]` disappears."""
    missing = [{"what": "a cell", "reason": "expected [/en] or [en]", "log": ""}]
    text = printed(tmp_path, [effect("seeing", "[en]")], title="[/a] plan", missing=missing)
    assert "expected [/en] or [en]" in text
    assert " [en] " in text
    assert "[/a] plan" in text


def test_controls_are_printed_with_their_verdict(tmp_path: Path) -> None:
    control = {
        "kind": "negative", "backbone": "llava", "arm": "shuffled", "evaluation": "xnli", "effect": 1.5,
        "ci_low": 0.5, "ci_high": 2.5, "margin": 1.0, "verdict": "FAILED", "as_expected": False,
    }  # fmt: skip
    text = printed(tmp_path, [], None, controls=[control])
    assert "negative control, llava: shuffled on xnli +0.5 … +2.5: FAILED" in text
