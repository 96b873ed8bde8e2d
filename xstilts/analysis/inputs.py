"""The data that a report is made from."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from xstilts.analysis.step_records import StepRecord
from xstilts.official.layout import averaged_languages, benchmark_of
from xstilts.scoring.counts import corpus_values
from xstilts.scoring.metrics import CORPUS, METRICS, ratio_value, task_metrics

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


class Lazy(Sequence[Any]):
    """A sequence of known length whose items are read at each use, for texts that few need."""

    def __init__(self, length: int, read: Callable[[], Sequence[Any]]) -> None:
        self._length, self.read = length, read

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self.read()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.read())


class Names(Sequence[str]):
    """Names that repeat, as codes into the distinct ones. The cells of an evaluation share it.

    distinct: in order of their first use. codes: [n].
    """

    def __init__(self, distinct: tuple[str, ...], codes: Codes) -> None:
        self.distinct, self.codes = distinct, codes

    @classmethod
    def of(cls, names: Sequence[str]) -> "Names":
        """The names, coded; itself if they are coded already."""
        if isinstance(names, Names):
            return names
        place: dict[str, int] = {}
        codes = [place.setdefault(name, len(place)) for name in names]
        return cls(tuple(place), np.asarray(codes, dtype=np.intp))

    def renamed(self, names: Mapping[str, str]) -> "Names":
        """The names with these replaced; equal ones become one."""
        place: dict[str, int] = {}
        new = [place.setdefault(names.get(name, name), len(place)) for name in self.distinct]
        return Names(tuple(place), np.asarray(new, dtype=np.intp)[self.codes])

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self.distinct[code] for code in self.codes[index]]
        return self.distinct[self.codes[index]]

    def __iter__(self) -> Iterator[str]:
        return (self.distinct[code] for code in self.codes)


@dataclass
class Scored:
    """One cell's predictions for one evaluation in one language.

    predictions, golds: parsed JSON, in the order of ids. Those of a stored step are read at each
        use; metrics use its counts instead.
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
    counts: metric → its counts [n, k], read at each use. None: counted from the predictions.
    corpus: metrics that are not ratios of counts, if they were computed when it was scored.
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
    counts: Callable[[str], npt.NDArray[Any]] | None = field(default=None, repr=False)
    corpus: Mapping[str, float] = field(default_factory=dict, repr=False)
    _ratios: dict[str, Array] = field(default_factory=dict, repr=False)
    _values: dict[str, float] = field(default_factory=dict, repr=False)

    def ratio(self, metric: str) -> Array:
        """[n, 2]: each example's share of the metric's numerator and denominator."""
        definition = METRICS[metric]
        if self.counts is not None:
            return definition.ratio(self.counts(metric))
        if metric not in self._ratios:
            counts = definition.counts(self.predictions, self.golds, self.language)
            self._ratios[metric] = definition.ratio(counts)
        return self._ratios[metric]

    def value(self, metric: str) -> float:
        """The metric, 0..100."""
        if metric not in self._values:
            self._values[metric] = self._value(metric)
        return self._values[metric]

    def _value(self, metric: str) -> float:
        if metric in self.corpus:
            return self.corpus[metric]
        if metric in CORPUS:
            return corpus_values([metric], self.predictions, self.golds, self.clusters)[metric]
        if self.counts is not None:  # weights k sums instead of n rows
            return float(METRICS[metric].value(self.counts(metric).sum(0)))
        return float(ratio_value(self.ratio(metric).sum(0)))

    def influence(self, metric: str) -> Array:
        """[n]: how much each example moves the metric, to first order (delta method).

        Sums to zero.
        """
        ratio = self.ratio(metric)
        bottom = ratio[:, 1].sum()
        if not bottom:
            return np.zeros(len(ratio))
        value = float(ratio_value(ratio.sum(0)))
        moved: Array = 100.0 * (ratio[:, 0] - value / 100.0 * ratio[:, 1]) / bottom
        return moved


@dataclass(frozen=True)
class Cell:
    """One cell and its predictions: (evaluation, language) → Scored.

    steps: evaluation → fingerprint of the score step.
    """

    backbone: str
    arm: str
    seed: int | None
    seed_intermediate: int | None
    seed_target: int | None
    trained_target: str
    scored: Mapping[tuple[str, str], Scored]
    steps: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def evaluations(self) -> frozenset[str]:
        """Those that the cell was scored on."""
        return frozenset(evaluation for evaluation, _ in self.scored)


@dataclass(frozen=True)
class ReportInput:
    """Everything that a report is made from.

    expanded: the plan's expansion as JSON (plan, contrasts, overlaps, overrides, …).
    metrics: evaluation → its metrics, the official one first.
    missing: {what, reason, log} for each score that does not exist.
    spent: the training budget that each backbone and arm used.
    staged: records and encodings with bad rows, truncation or unknown tokens.
    intermediates: scores of arms on English dev rows of their own tasks, one row per metric; those
        after a target have `target` and `seed_target`.
    cut_contexts: see `xstilts.analysis.cut_contexts`.
    provenance: where the numbers come from: run, store, plan, versions, commits, command.
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
    provenance: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, StepRecord] = field(default_factory=dict)

    @cached_property
    def contrasts(self) -> list[dict[str, Any]]:
        return [dict(contrast) for contrast in self.expanded["contrasts"]]

    @cached_property
    def arms(self) -> dict[tuple[str, str], list[Cell]]:
        """(backbone, arm) → its cells."""
        arms: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.cells:
            arms.setdefault((cell.backbone, cell.arm), []).append(cell)
        return arms

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
