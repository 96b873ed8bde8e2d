"""What changed between two runs: the scores of each arm, paired by seed and example."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import pandas as pd

from xstilts.analysis.averages import RETRIEVAL
from xstilts.analysis.effects import backbones_of, cells_of, confidence
from xstilts.analysis.estimands import (
    AVERAGE,
    POOLED,
    Differences,
    ScoreCache,
    Table,
    differences,
    paired,
    pooled,
)
from xstilts.analysis.inputs import Cell, ReportInput
from xstilts.analysis.multiplicity import HEAT_MAP, adjusted
from xstilts.analysis.parallel import in_parallel
from xstilts.plan.seed_layout import Pair

COLUMNS = (
    "backbone",
    "arm",
    "evaluation",
    "metric",
    "score",
    "other",
    "change",
    "ci_low",
    "ci_high",
    "ci_method",
    "p",
    "p_adjusted",
    "n_seeds",
    "regression",
    "reason",
)


def changes(run: ReportInput, other: ReportInput) -> pd.DataFrame:
    """One row per backbone, arm and evaluation of either run, in the official metric averaged over
    languages; then the mean over the evaluations that are not retrieval.

    `change` is the run's score minus the other's. `reason` says why there is none. `regression`: a
    loss above the plan's threshold (`report: {regression: {points: …}}`) that is not noise: its
    adjusted p-value, or with one seed its interval, excludes zero.
    """
    level = confidence(run)
    run, other = _parallel(run, other)
    rows: list[dict[str, Any]] = []
    names = [name for name in run.metrics if name in other.metrics]
    for backbone in dict.fromkeys(chain(backbones_of(run), backbones_of(other))):
        for arm in dict.fromkeys(each.arm for each in (*run.cells, *other.cells)):
            rows += _of_arm(run, other, names, backbone, arm, level)
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "regression"])
    table = adjusted(table.assign(family=HEAT_MAP)).drop(columns="family")
    points = threshold(run)
    lost = [
        points is not None and _is_loss(row, points, 1 - level) for row in table.to_dict("records")
    ]
    return table.assign(regression=lost)[list(COLUMNS)]


def threshold(run: ReportInput) -> float | None:
    """The loss in points above which the plan calls a change a regression; None without one."""
    report = run.expanded.get("plan", {}).get("report") or {}
    regression = report.get("regression")
    return None if regression is None else float(regression["points"])


def _is_loss(row: Mapping[str, Any], points: float, alpha: float) -> bool:
    if pd.isna(row["change"]) or row["change"] >= -points:
        return False
    if pd.notna(row["p_adjusted"]):
        return bool(row["p_adjusted"] <= alpha)
    return bool(row["ci_high"] < 0)


def _parallel(*runs: ReportInput) -> list[ReportInput]:
    """The runs with the same clusters for the same examples."""
    joined = iter(in_parallel([cell for run in runs for cell in run.cells]))
    return [replace(run, cells=[next(joined) for _ in run.cells]) for run in runs]


def _of_arm(
    run: ReportInput,
    other: ReportInput,
    evaluations: Sequence[str],
    backbone: str,
    arm: str,
    level: float,
) -> Iterator[dict[str, Any]]:
    """The rows of one backbone and arm.

    Args:
        run: the run.
        other: the run that it is compared with.
        evaluations: that both runs have.
        backbone: name of a backbone.
        arm: name of an arm.
        level: confidence level.
    """
    head: dict[str, Any] = {"backbone": backbone, "arm": arm}
    means: dict[str, Table] = {}
    for evaluation in evaluations:
        metric = run.official_metrics[evaluation]
        sides = [cells_of(each, backbone, arm, evaluation) for each in (run, other)]
        if not any(sides):
            continue
        row = {**head, "evaluation": evaluation, "metric": metric}
        pairs = paired(*sides)
        reason = _reason(sides, pairs, evaluation)
        if reason is None:
            averaged = partial(run.averaged, evaluation)
            by_language = differences(pairs, evaluation, metric, ScoreCache(), averaged)
            if AVERAGE in by_language.estimands:
                table, over = by_language.estimands[AVERAGE]
                scores = _scores(pairs, evaluation, metric, over)
                yield row | scores | _interval(table, level) | {"reason": _left_out(by_language)}
                if metric not in RETRIEVAL:
                    means[evaluation] = table.compact
                continue
            reason = "no language of the benchmark's average in common"
        yield row | {"reason": reason}
    mean = pooled(means)
    if mean is not None and len(means) > 1:
        row = {**head, "evaluation": POOLED, "metric": "official", "reason": ""}
        yield row | _interval(mean, level)


def _reason(
    sides: Sequence[Mapping[Pair, Cell]],
    pairs: Mapping[Pair, tuple[Cell, Cell]],
    evaluation: str,
) -> str | None:
    """Why two runs cannot be compared on an evaluation; None if they can."""
    if not all(sides):
        return "only in this run" if sides[0] else "only in the other run"
    if not pairs:
        return "no seeds in common"
    for cell, base in pairs.values():
        for (name, language), scored in cell.scored.items():
            old = base.scored.get((name, language))
            if name == evaluation and old is not None and list(scored.ids) != list(old.ids):
                return f"{language} was scored on other examples"
    return None


def _left_out(effects: Differences) -> str:
    return f"without {' '.join(effects.left_out)}" if effects.left_out else ""


def _scores(
    pairs: Mapping[Pair, tuple[Cell, Cell]], evaluation: str, metric: str, over: Sequence[str]
) -> dict[str, float]:
    """Both runs' means over pairs and languages."""
    means = []
    for side in (0, 1):
        values = [
            pair[side].scored[evaluation, code].value(metric)
            for pair in pairs.values()
            for code in over
        ]
        means.append(sum(values) / len(values))
    return dict(zip(("score", "other"), means, strict=True))


def _interval(table: Table, level: float) -> dict[str, Any]:
    estimate = table.interval(level)
    return {
        "change": estimate.effect,
        "ci_low": estimate.low,
        "ci_high": estimate.high,
        "ci_method": estimate.method,
        "p": estimate.p,
        "n_seeds": table.layout.replicates,
    }
