"""The table of what changed between two runs."""

import io

import pandas as pd
from rich.console import Console

from xstilts.analysis.terminal_changes import show_changes

ROW = {
    "backbone": "tiny-qwen-vl", "arm": "snli-shuffled", "evaluation": "tatoeba", "score": 100.0, "other": 21.6, "change": 78.4,
    "ci_low": 20.1, "ci_high": 100.0, "p_adjusted": 0.05, "n_seeds": 2, "regression": False, "reason": "",
}  # fmt: skip


def printed(*rows: dict[str, object], threshold: float | None = None, width: int = 120) -> str:
    out = io.StringIO()
    table = pd.DataFrame([ROW | row for row in rows])
    show_changes(table, "new against old", threshold, Console(file=out, width=width))
    return out.getvalue()


def test_eighty_columns_show_every_number() -> None:
    text = printed({}, width=80)
    assert "100.0   +78.4  +20.1 … +100.0   0.050      2" in text
    assert "note" not in text
    assert "losses are not checked" in text


def test_a_regression_and_a_reason_are_notes() -> None:
    lost = {"regression": True, "change": -3.0}
    absent = {"change": float("nan"), "reason": "only the other run has this arm"}
    text = printed(lost, absent, threshold=1.0)
    (line,) = [line for line in text.splitlines() if "-3.0" in line]
    assert line.rstrip().endswith("regression")
    assert "only the other run has this arm" in text
    assert "1 loss of more than 1 points that noise does not explain." in text
