"""What a run prints at its end."""

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from xstilts.analysis.terminal import MOST_ROWS, show


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


def test_a_few_effects_are_all_printed(tmp_path: Path) -> None:
    text = printed(tmp_path, [effect("seeing", "xnli"), effect("captions minus none", "xquad")])
    assert "captions minus none" in text
    assert "+1.2 │   -2.0 … +4.5 │  0.250 │ 5.0 │     3" in text
    assert "further" not in text


def test_of_many_the_headline_s_are_printed_and_the_others_counted(tmp_path: Path) -> None:
    many = [effect("captions minus none", f"task{k}") for k in range(MOST_ROWS)]
    text = printed(tmp_path, [*many, effect("seeing", "xnli")])
    assert "captions minus none" not in text
    assert "xnli" in text
    assert f"{MOST_ROWS} further effects are in the report" in text


def test_a_plan_without_arms_has_no_table(tmp_path: Path) -> None:
    assert "contrast" not in printed(tmp_path, [], None)


def test_what_is_missing_is_printed_with_its_reason(tmp_path: Path) -> None:
    text = printed(
        tmp_path,
        [],
        None,
        missing=[{"what": "a cell on xnli", "reason": "the loss is nan\nmore", "log": ""}],
    )
    assert "1 missing:" in text
    assert "a cell on xnli: the loss is nan" in text
