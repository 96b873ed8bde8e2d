"""What the report is made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from xstilts.official.layout import averaged_languages, benchmark_of
from xstilts.scoring.metrics import CORPUS, METRICS, ratio_value, task_metrics

Array = npt.NDArray[np.float64]


@dataclass
class Scored:
    """One cell's predictions of one evaluation in one language. predictions, golds: parsed JSON,
    in the order of ids. clusters: examples that are resampled together; named apart in each
    language, unless translations join them. rows: positions in the records, which identify the
    examples; empty in results of earlier versions. parallel: equal for the translations of one
    example, empty texts (or nothing at all) where there are none. split: the source split that
    was scored (it may be the plan's override). last: the same by the weights of the last update,
    where English dev chose earlier ones; reported beside, never used for effects. asked: of
    retrieval, the English sentences that were asked for; else empty.
    """

    ids: Sequence[str]
    clusters: Sequence[str]
    predictions: Sequence[Any]
    golds: Sequence[Any]
    split: str
    last: "Scored | None" = None
    language: str = "en"
    asked: Sequence[str] = ()
    rows: Sequence[int] = ()
    parallel: Sequence[str] = ()
    _ratios: dict[str, Array] = field(default_factory=dict, repr=False)

    def ratio(self, metric: str) -> Array:
        """[n, 2]: each example's share in the metric's numerator and denominator."""
        if metric not in self._ratios:
            one = METRICS[metric]
            self._ratios[metric] = one.ratio(
                one.counts(self.predictions, self.golds, self.language)
            )
        return self._ratios[metric]

    def value(self, metric: str) -> float:
        """The metric, 0..100."""
        if metric == "cider":
            return CORPUS[metric](*self._by_picture())
        if metric in CORPUS:
            return CORPUS[metric](self.predictions, self.golds)
        return float(ratio_value(self.ratio(metric).sum(0)))

    def _by_picture(self) -> tuple[list[Any], list[list[str]]]:
        """One caption and all references of each picture (cluster): COCO has a row a reference."""
        told: dict[str, Any] = {}
        golds: dict[str, list[str]] = {}
        for cluster, prediction, gold in zip(
            self.clusters, self.predictions, self.golds, strict=True
        ):
            told.setdefault(cluster, prediction)
            golds.setdefault(cluster, []).extend(gold)
        return list(told.values()), list(golds.values())

    def influence(self, metric: str) -> Array:
        """[n]: by how much each example moves the metric, to first order (delta method); sums to
        zero.
        """
        ratio = self.ratio(metric)
        bottom = ratio[:, 1].sum()
        if not bottom:
            return np.zeros(len(ratio))
        moved: Array = 100.0 * (ratio[:, 0] - self.value(metric) / 100.0 * ratio[:, 1]) / bottom
        return moved


@dataclass(frozen=True)
class Cell:
    """One cell with what was predicted: (evaluation, language) → Scored."""

    backbone: str
    arm: str
    seed: int | None
    seed_intermediate: int | None
    seed_target: int | None
    trained_target: str
    scored: Mapping[tuple[str, str], Scored]


@dataclass(frozen=True)
class ReportInput:
    """Everything that a report says. expanded: the plan's expansion as JSON (plan, contrasts,
    overlaps, overrides, skipped languages, …). missing: {what, reason, log}. spent: budgets as
    used, one row a backbone and arm.
    """

    expanded: Mapping[str, Any]
    cells: Sequence[Cell]
    metrics: Mapping[str, Sequence[str]]  # evaluation → its metrics, the official one first
    missing: Sequence[Mapping[str, Any]]
    spent: Sequence[Mapping[str, Any]]
    staged: Sequence[Mapping[str, Any]]  # bad rows and truncation worth naming
    banner: str
    run: str
    intermediates: Sequence[
        Mapping[str, Any]
    ] = ()  # arms on their own English dev rows, one row a metric
    cut_contexts: Sequence[dict[str, Any]] = ()  # see xstilts.analysis.cut_contexts

    @cached_property
    def contrasts(self) -> list[dict[str, Any]]:
        return [dict(contrast) for contrast in self.expanded["contrasts"]]

    @property
    def benchmark(self) -> str:
        """The benchmark of the plan's recipe set: `xtreme` or `xtreme-r`."""
        return benchmark_of(str(self.expanded.get("plan", {}).get("recipes", "")))

    def averaged(self, evaluation: str, scored: Iterable[str]) -> list[str]:
        """Those of the scored languages over which an evaluation's average is taken: the
        benchmark's own.
        """
        return averaged_languages(self.benchmark, evaluation, scored)


def metrics_of(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics reported for an evaluation, the official score first (QA: the mean of EM and
    F1).
    """
    return task_metrics(names)
