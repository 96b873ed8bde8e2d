"""What a report concludes, in words: the headline's answer, and whether the controls did what they must."""

from collections.abc import Mapping
from typing import Any

import pandas as pd


def clear(p_adjusted: Any, alpha: float) -> bool:
    """Whether an effect differs from zero after correction. Without a test (one seed, no variance) it does not."""
    return bool(pd.notna(p_adjusted) and p_adjusted <= alpha)


def answer(headline: str | None, pooled: pd.DataFrame, rows: pd.DataFrame, level: float) -> str:
    """The headline contrast in a few sentences: of each backbone the mean over evaluations and non-English languages, then
    what single evaluations show. pooled: one row a backbone. rows: averages, one a backbone and evaluation."""
    if headline is None:
        return "The plan names no contrast as its headline: see every arm against `none` below."
    if rows.empty:
        return "No contrast could be computed: see what is missing below."
    alpha = 1 - level
    parts = [_backbone(row, alpha) for row in pooled.to_dict("records")]
    if parts:
        said = f"“{headline}”, non-English languages, mean over evaluations: {'; '.join(parts)}."
    else:
        said = f"“{headline}” has no mean over evaluations: all are retrieval, or an arm was trained on their data."
    if rows["p"].isna().all():
        return f"{said} {_untested(rows)}"
    tested = rows[rows["p_adjusted"].map(lambda p: clear(p, alpha))]
    up, down = tested[tested["effect"] > 0], tested[tested["effect"] < 0]
    span = f"effects run from {rows['effect'].min():+.1f} to {rows['effect'].max():+.1f} points"
    each = f"{len(rows)} averages of a backbone and evaluation"
    if tested.empty:
        return f"{said} After correction none of {each} differs from zero; {span}."
    return f"{said} After correction {len(up)} of {each} are above zero and {len(down)} below; {span}."


def _backbone(row: Mapping[str, Any], alpha: float) -> str:
    span = f"{row['effect']:+.1f} points ({row['ci_low']:+.1f} … {row['ci_high']:+.1f})"
    if pd.isna(row["p"]):
        return f"{row['backbone']} {span}, {row['ci_method'].split(', ', 2)[-1]}"
    p = row["p_adjusted"]
    told = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    verdict = ("helps" if row["effect"] > 0 else "hurts") if p <= alpha else "no effect separated from zero"
    limits = [note for note in row["ci_method"].split(", ")[2:] if note.startswith(("conditional", "approximate"))]
    return ", ".join([f"{row['backbone']} {span}, adjusted {told}: {verdict}", *limits])


def _untested(rows: pd.DataFrame) -> str:
    if (rows["n_seeds"] == 1).all():
        return "With one seed all intervals are conditional on the seed, and nothing is tested."
    return "Nothing could be tested: examples show no variance."


def control_verdicts(controls: Mapping[str, Any], rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Whether each control did what it must. positive: its interval lies above zero. negative: its interval lies within
    ±margin points, so that an effect of that size is excluded; a wide interval that holds zero shows nothing."""
    found = []
    for kind, control in controls.items():
        chosen = rows[
            (rows["arm"] == control["arm"])
            & (rows["reference"] == "none")
            & (rows["evaluation"] == control["evaluation"])
        ]
        for row in chosen.itertuples():
            verdict = _verdict(kind, float(row.ci_low), float(row.ci_high), float(control.get("margin", 1.0)))
            found.append(
                {"kind": kind, "backbone": row.backbone, "arm": row.arm, "evaluation": row.evaluation, "effect": row.effect,
                 "ci_low": row.ci_low, "ci_high": row.ci_high, "margin": control.get("margin") if kind == "negative" else None,
                 "verdict": verdict, "as_expected": verdict in ("helps", "no effect")}
            )  # fmt: skip
    return found


def _verdict(kind: str, low: float, high: float, margin: float) -> str:
    if kind == "positive":
        return "helps" if low > 0 else "inconclusive" if high > 0 else "does not help"
    if -margin <= low and high <= margin:
        return "no effect"
    return "effect" if low > 0 or high < 0 else "inconclusive"
