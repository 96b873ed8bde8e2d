"""The report's conclusions in words: the answer for the headline contrast and the verdicts of the
controls.
"""

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from xstilts.analysis.estimands import POOLED
from xstilts.analysis.result_texts import clear, conditional_on_seed, points

Verdict = Literal["passed", "FAILED", "inconclusive", "not computed"]


def answer(
    headline: str | None,
    primary: pd.DataFrame,
    averages: pd.DataFrame,
    level: float,
    without_result: Mapping[str, str] | None = None,
) -> str:
    """The headline contrast in a few sentences: its primary effects with intervals, seeds and
    adjusted significance; what cannot be concluded; the effects on single evaluations.

    How many evaluations differ from zero is only said if a primary effect does. So pure noise
    yields any claim in at most 1 − `level` of runs.

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
        return (
            "The plan has no headline contrast. The report shows the effect of every arm against "
            "“none”."
        )
    if averages.empty:
        return "The headline contrast could not be computed; see “Missing” below."
    parts = []
    for evaluation, rows in primary.groupby("evaluation", sort=False):
        name = "mean over evaluations" if evaluation == POOLED else evaluation
        effects = "; ".join(_effect_text(row, level) for row in rows.to_dict("records"))
        parts.append(f"{name}: {effects}")
    parts += [
        f"{backbone} has no result: {reason}" for backbone, reason in (without_result or {}).items()
    ]
    sentences = [f"“{headline}”, non-English languages, {'. '.join(parts)}."]
    sentences += _limits(primary, 1 - level)
    return " ".join([*sentences, _single_evaluations(primary, averages, 1 - level)])


def _limits(primary: pd.DataFrame, alpha: float) -> list[str]:
    """What the primary effects do not show: with one seed, and where nothing was found."""
    limits = []
    rows = primary.to_dict("records")
    if any(map(conditional_on_seed, rows)):
        limits.append(
            "With one seed, effects and intervals are conditional on the seed: other seeds may "
            "give other effects, and no test is possible."
        )
    several = primary["evaluation"].nunique() > 1
    undetected = [
        f"{row['mde']:.1f} points ({row['backbone']}{', ' + row['evaluation'] if several else ''})"
        for row in rows
        if pd.notna(row.get("mde")) and not clear(row["p_adjusted"], alpha)
    ]
    if undetected:
        limits.append(
            f"Effects below {', '.join(undetected)} cannot be excluded: a test like this one finds "
            "them in fewer than four of five runs."
        )
    return limits


def _single_evaluations(primary: pd.DataFrame, averages: pd.DataFrame, alpha: float) -> str:
    low, high = averages["effect"].min(), averages["effect"].max()
    effects = f"Effects on single evaluations range from {points(low)} to {points(high)} points"
    if averages["p"].isna().all():
        tested = (averages["n_seeds"] == 1).all()
        return f"{effects}." if tested else f"{effects}; the examples show no variance to test."
    if not any(clear(p, alpha) for p in primary["p_adjusted"]):
        return f"{effects}, which is exploratory."
    significant = averages[averages["p_adjusted"].map(lambda p: clear(p, alpha))]
    above = int((significant["effect"] > 0).sum())
    count = f"{len(significant)} of {len(averages)} differ from zero"
    split = f" ({above} above, {len(significant) - above} below)" if len(significant) else ""
    return f"{effects}; after correction, {count}{split}."


def _effect_text(row: Mapping[str, Any], level: float) -> str:
    seeds = str(row.get("seeds") or row["n_seeds"])
    interval = (
        f"{100 * level:g}% interval {points(row['ci_low'])} … {points(row['ci_high'])}, "
        f"{seeds} {'seed' if seeds == '1' else 'seeds'}"
    )
    effect = f"{row['backbone']} {points(row['effect'])} points ({interval})"
    limits = [*_notes(row["ci_method"]), *filter(None, [row.get("left_out")])]
    if pd.isna(row["p"]):
        return ", ".join([effect, *limits])
    p = row["p_adjusted"]
    p_value = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    direction = _direction(row["effect"], row["reference"])
    conclusion = direction if clear(p, 1 - level) else "indistinguishable from zero"
    return ", ".join([f"{effect}, adjusted {p_value}: {conclusion}", *limits])


def _direction(effect: float, reference: str) -> str:
    if reference == "none":
        return "helps" if effect > 0 else "hurts"
    return f"{'better' if effect > 0 else 'worse'} than {reference}"


def _notes(method: str) -> list[str]:
    """The notes in an interval's label, after its formula and degrees of freedom."""
    parts = method.split(", ")
    return parts[2:] if method.startswith("t, ") else parts[1:]


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
