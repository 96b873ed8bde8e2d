"""What a report concludes, in words: the headline's answer, and whether the controls did what
they must.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from xstilts.analysis.estimands import POOLED


def clear(p_adjusted: Any, alpha: float) -> bool:
    """Whether an effect differs from zero after correction. Without a test (one seed, no
    variance) it does not.
    """
    return bool(pd.notna(p_adjusted) and p_adjusted <= alpha)


def p_text(p: Any) -> str:
    """A p value for a table: three digits, `< 0.001` below, empty where nothing was tested."""
    if pd.isna(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def answer(
    headline: str | None,
    primary: pd.DataFrame,
    rows: pd.DataFrame,
    level: float,
    absent: Mapping[str, str] | None = None,
) -> str:
    """The headline contrast in a few sentences: its primary rows (of each backbone the mean over
    non-English languages, of all evaluations or of those that the plan names), then what single
    evaluations show. primary: one row a backbone and primary evaluation. rows: averages, one a
    backbone and evaluation. absent: backbone → why it has no primary row.
    """
    if headline is None:
        return "The plan names no contrast as its headline: see every arm against `none` below."
    if rows.empty:
        return "No contrast could be computed: see what is missing below."
    alpha = 1 - level
    parts = []
    for evaluation, part in primary.groupby("evaluation", sort=False):
        what = "mean over evaluations" if evaluation == POOLED else evaluation
        parts.append(
            f"{what}: {'; '.join(_backbone(row, alpha) for row in part.to_dict('records'))}"
        )
    parts += [f"{backbone} has no result: {reason}" for backbone, reason in (absent or {}).items()]
    said = f"“{headline}”, non-English languages, {'. '.join(parts)}."
    if rows["p"].isna().all():
        return f"{said} {_untested(rows)}"
    tested = rows[rows["p_adjusted"].map(lambda p: clear(p, alpha))]
    up, down = tested[tested["effect"] > 0], tested[tested["effect"] < 0]
    span = f"effects run from {rows['effect'].min():+.1f} to {rows['effect'].max():+.1f} points"
    each = f"{len(rows)} averages of a backbone and evaluation"
    if tested.empty:
        return f"{said} After correction none of {each} differs from zero; {span}."
    return (
        f"{said} After correction {len(up)} of {each} are above zero and {len(down)} below; {span}."
    )


def _backbone(row: Mapping[str, Any], alpha: float) -> str:
    span = f"{row['effect']:+.1f} points ({row['ci_low']:+.1f} … {row['ci_high']:+.1f})"
    limits = [*_notes(row["ci_method"]), *filter(None, [row.get("left_out")])]
    if pd.isna(row["p"]):
        return ", ".join([f"{row['backbone']} {span}", *limits])
    p = row["p_adjusted"]
    value = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    verdict = (
        _direction(row["effect"], row["reference"])
        if p <= alpha
        else "no effect separated from zero"
    )
    return ", ".join([f"{row['backbone']} {span}, adjusted {value}: {verdict}", *limits])


def _direction(effect: float, reference: str) -> str:
    if reference == "none":
        return "helps" if effect > 0 else "hurts"
    return f"{'better' if effect > 0 else 'worse'} than {reference}"


def _notes(method: str) -> list[str]:
    """What an interval's label says beyond its formula and degrees of freedom."""
    parts = method.split(", ")
    return parts[2:] if method.startswith("t, ") else parts[1:]


def _untested(rows: pd.DataFrame) -> str:
    if (rows["n_seeds"] == 1).all():
        return "With one seed all intervals are conditional on the seed, and nothing is tested."
    return "Nothing could be tested: examples show no variance."


def control_verdicts(controls: Mapping[str, Any], rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Whether each control did what it must. positive: its interval lies above zero. negative:
    its interval lies within ±margin points, so that an effect of that size is excluded; a wide
    interval that holds zero shows nothing.
    """
    found = []
    for kind, control in controls.items():
        chosen = rows[
            (rows["arm"] == control["arm"])
            & (rows["reference"] == "none")
            & (rows["evaluation"] == control["evaluation"])
        ].drop_duplicates("backbone")
        for row in chosen.itertuples():
            verdict = _verdict(
                kind, float(row.ci_low), float(row.ci_high), float(control.get("margin", 1.0))
            )
            found.append(
                {
                    "kind": kind,
                    "backbone": row.backbone,
                    "arm": row.arm,
                    "evaluation": row.evaluation,
                    "effect": row.effect,
                    "ci_low": row.ci_low,
                    "ci_high": row.ci_high,
                    "margin": control.get("margin") if kind == "negative" else None,
                    "verdict": verdict,
                    "as_expected": verdict in ("helps", "no effect"),
                }
            )
    return found


def _verdict(kind: str, low: float, high: float, margin: float) -> str:
    if kind == "positive":
        return "helps" if low > 0 else "inconclusive" if high > 0 else "does not help"
    if -margin <= low and high <= margin:
        return "no effect"
    return "effect" if low > 0 or high < 0 else "inconclusive"
