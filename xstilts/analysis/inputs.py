"""The data that a report is made from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from xstilts.analysis.step_records import StepRecord
from xstilts.official.layout import averaged_languages, benchmark_of
from xstilts.scoring.metrics import CORPUS, METRICS, ratio_value, task_metrics

Array = npt.NDArray[np.float64]


@dataclass
class Scored:
    """One cell's predictions for one evaluation in one language.

    predictions, golds: parsed JSON, in the order of ids.
    clusters: examples that are resampled together. Names differ between languages, unless
        translations join them.
    split: the source split that was scored (a plan may override it).
    last: the same predictions with the weights of the last update, if selection on English dev
        chose earlier ones. Reported in results, never used for effects.
    asked: for retrieval, the English query sentences (the column `asked`); else empty.
    rows: positions in the records, which identify the examples. Empty in results of earlier
        versions.
    parallel: a key that translations of one example share; empty strings, or no entries at all, if
        there are no translations.
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
        """[n, 2]: each example's share of the metric's numerator and denominator."""
        if metric not in self._ratios:
            definition = METRICS[metric]
            counts = definition.counts(self.predictions, self.golds, self.language)
            self._ratios[metric] = definition.ratio(counts)
        return self._ratios[metric]

    def value(self, metric: str) -> float:
        """The metric, 0..100."""
        if metric == "cider":
            return CORPUS[metric](*self._by_picture())
        if metric in CORPUS:
            return CORPUS[metric](self.predictions, self.golds)
        return float(ratio_value(self.ratio(metric).sum(0)))

    def _by_picture(self) -> tuple[list[Any], list[list[str]]]:
        """One caption and all references per picture (cluster): COCO has one row per reference."""
        captions: dict[str, Any] = {}
        references: dict[str, list[str]] = {}
        for cluster, prediction, gold in zip(
            self.clusters, self.predictions, self.golds, strict=True
        ):
            captions.setdefault(cluster, prediction)
            references.setdefault(cluster, []).extend(gold)
        return list(captions.values()), list(references.values())

    def influence(self, metric: str) -> Array:
        """[n]: how much each example moves the metric, to first order (delta method).

        Sums to zero.
        """
        ratio = self.ratio(metric)
        bottom = ratio[:, 1].sum()
        if not bottom:
            return np.zeros(len(ratio))
        moved: Array = 100.0 * (ratio[:, 0] - self.value(metric) / 100.0 * ratio[:, 1]) / bottom
        return moved


@dataclass(frozen=True)
class Cell:
    """One cell and its predictions: (evaluation, language) → Scored."""

    backbone: str
    arm: str
    seed: int | None
    seed_intermediate: int | None
    seed_target: int | None
    trained_target: str
    scored: Mapping[tuple[str, str], Scored]


@dataclass(frozen=True)
class ReportInput:
    """Everything that a report is made from.

    expanded: the plan's expansion as JSON (plan, contrasts, overlaps, overrides, …).
    metrics: evaluation → its metrics, the official one first.
    missing: {what, reason, log} for each score that does not exist.
    spent: the training budget that each backbone and arm used.
    staged: records and encodings with bad rows, truncation or unknown tokens.
    intermediates: scores of arms on English dev rows of their own tasks, one row per metric.
    cut_contexts: see `xstilts.analysis.cut_contexts`.
    steps: fingerprint → what a finished step recorded.
    """

    expanded: Mapping[str, Any]
    cells: Sequence[Cell]
    metrics: Mapping[str, Sequence[str]]
    missing: Sequence[Mapping[str, Any]]
    spent: Sequence[Mapping[str, Any]]
    staged: Sequence[Mapping[str, Any]]
    banner: str
    run: str
    intermediates: Sequence[Mapping[str, Any]] = ()
    cut_contexts: Sequence[dict[str, Any]] = ()
    steps: Mapping[str, StepRecord] = field(default_factory=dict)

    @cached_property
    def contrasts(self) -> list[dict[str, Any]]:
        return [dict(contrast) for contrast in self.expanded["contrasts"]]

    @cached_property
    def official_metrics(self) -> dict[str, str]:
        """evaluation → its official metric."""
        return {evaluation: names[0] for evaluation, names in self.metrics.items()}

    @property
    def benchmark(self) -> str:
        """The benchmark of the plan's recipe set: `xtreme` or `xtreme-r`."""
        return benchmark_of(str(self.expanded.get("plan", {}).get("recipes", "")))

    def averaged(self, evaluation: str, scored: Iterable[str]) -> list[str]:
        """The scored languages that belong to the benchmark's average of an evaluation."""
        return averaged_languages(self.benchmark, evaluation, scored)


def metrics_of(names: Sequence[str]) -> tuple[str, ...]:
    """The reported metrics of an evaluation, the official one first (QA: the mean of EM and F1)."""
    return task_metrics(names)
