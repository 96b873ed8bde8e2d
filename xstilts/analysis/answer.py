"""The report's conclusions in words: the answer for the headline contrast and the verdicts of the
controls.
"""

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from xstilts.analysis.estimands import POOLED
from xstilts.analysis.result_texts import clear

Verdict = Literal["passed", "FAILED", "inconclusive", "not computed"]


def answer(
    headline: str | None,
    primary: pd.DataFrame,
    averages: pd.DataFrame,
    level: float,
    without_result: Mapping[str, str] | None = None,
) -> str:
    """The headline contrast in a few sentences: its primary effects, then how many averages differ
    from zero.

    Args:
        headline: name of the contrast; None if the plan has none.
        primary: the contrast's primary effects (mean over non-English languages), one row per
            backbone and primary evaluation.
        averages: the contrast's effects averaged over languages, one row per backbone and
            evaluation.
        level: confidence level of the report.
        without_result: backbone → why it has no primary effect.
    """
    if headline is None:
        return "The plan has no headline contrast; see every arm against `none` below."
    if averages.empty:
        return "The headline contrast could not be computed; see “Missing” below."
    alpha = 1 - level
    parts = []
    for evaluation, rows in primary.groupby("evaluation", sort=False):
        name = "mean over evaluations" if evaluation == POOLED else evaluation
        effects = "; ".join(_effect_text(row, alpha) for row in rows.to_dict("records"))
        parts.append(f"{name}: {effects}")
    parts += [
        f"{backbone} has no result: {reason}" for backbone, reason in (without_result or {}).items()
    ]
    sentence = f"“{headline}”, non-English languages, {'. '.join(parts)}."
    return f"{sentence} {_summary_of_averages(averages, alpha)}"


def _summary_of_averages(averages: pd.DataFrame, alpha: float) -> str:
    if averages["p"].isna().all():
        return _untested(averages)
    significant = averages[averages["p_adjusted"].map(lambda p: clear(p, alpha))]
    above = int((significant["effect"] > 0).sum())
    low, high = averages["effect"].min(), averages["effect"].max()
    effects = f"effects range from {low:+.1f} to {high:+.1f} points"
    count = f"{len(significant)} of {len(averages)} averages (one per backbone and evaluation)"
    if significant.empty:
        return f"After correction, {count} differ from zero; {effects}."
    below = len(significant) - above
    return (
        f"After correction, {count} differ from zero, {above} above and {below} below; {effects}."
    )


def _effect_text(row: Mapping[str, Any], alpha: float) -> str:
    interval = f"({row['ci_low']:+.1f} … {row['ci_high']:+.1f})"
    effect = f"{row['backbone']} {row['effect']:+.1f} points {interval}"
    limits = [*_notes(row["ci_method"]), *filter(None, [row.get("left_out")])]
    if pd.isna(row["p"]):
        return ", ".join([effect, *limits])
    p = row["p_adjusted"]
    p_value = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    direction = _direction(row["effect"], row["reference"])
    conclusion = direction if p <= alpha else "indistinguishable from zero"
    return ", ".join([f"{effect}, adjusted {p_value}: {conclusion}", *limits])


def _direction(effect: float, reference: str) -> str:
    if reference == "none":
        return "helps" if effect > 0 else "hurts"
    return f"{'better' if effect > 0 else 'worse'} than {reference}"


def _notes(method: str) -> list[str]:
    """The notes in an interval's label, after its formula and degrees of freedom."""
    parts = method.split(", ")
    return parts[2:] if method.startswith("t, ") else parts[1:]


def _untested(averages: pd.DataFrame) -> str:
    if (averages["n_seeds"] == 1).all():
        return "With one seed, all intervals are conditional on the seed and no test is possible."
    return "No test is possible: the examples show no variance."


def control_verdicts(controls: Mapping[str, Any], effects: pd.DataFrame) -> list[dict[str, Any]]:
    """Each control's verdict, one entry per backbone.

    A positive control passes if its interval is above zero and fails if the interval is below zero.
    A negative control passes if its interval is within ±margin points, which excludes an effect of
    that size, and fails if the interval excludes zero instead. Any other interval is inconclusive:
    a wide interval around zero proves nothing. A control without any effect is `not computed`.
    """
    verdicts: list[dict[str, Any]] = []
    for kind, control in controls.items():
        entry = {"kind": kind, "arm": control["arm"], "evaluation": control["evaluation"]}
        margin = float(control.get("margin", 1.0))
        shown_margin = control.get("margin") if kind == "negative" else None
        rows = effects[
            (effects["arm"] == control["arm"])
            & (effects["reference"] == "none")
            & (effects["evaluation"] == control["evaluation"])
        ].drop_duplicates("backbone")
        for row in rows.itertuples():
            verdict = _verdict(kind, float(row.ci_low), float(row.ci_high), margin)
            verdicts.append(
                {
                    **entry,
                    "backbone": row.backbone,
                    "effect": row.effect,
                    "ci_low": row.ci_low,
                    "ci_high": row.ci_high,
                    "margin": shown_margin,
                    "verdict": verdict,
                    "as_expected": verdict == "passed",
                }
            )
        if rows.empty:
            unknown = dict.fromkeys(("effect", "ci_low", "ci_high"))
            verdicts.append(
                {
                    **entry,
                    "backbone": "",
                    **unknown,
                    "margin": shown_margin,
                    "verdict": "not computed",
                    "as_expected": False,
                }
            )
    return verdicts


def _verdict(kind: str, low: float, high: float, margin: float) -> Verdict:
    if kind == "positive":
        return "passed" if low > 0 else "inconclusive" if high > 0 else "FAILED"
    if -margin <= low and high <= margin:
        return "passed"
    return "FAILED" if low > 0 or high < 0 else "inconclusive"
