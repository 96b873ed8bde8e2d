"""What a contrast estimates: tables of paired differences and their weighted means over languages
and evaluations.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain, product

import numpy as np
import numpy.typing as npt
from scipy import stats

from xstilts.analysis.inputs import Array, Cell, Names, Scored
from xstilts.analysis.variance import Interval, interval
from xstilts.plan.seed_layout import Pair, SeedLayout, layout

#: The official average: the unweighted mean over all languages of an evaluation.
AVERAGE = "avg"
ENGLISH = "en"
#: The unweighted mean over the non-English languages.
NON_ENGLISH = "non_en"
#: English minus the mean of the other languages: the cross-lingual transfer gap.
GAP = "gap"
#: The mean over a backbone's evaluations.
POOLED = "pooled"


@dataclass(frozen=True)
class Table:
    """Paired differences, arm minus reference.

    pairs, arms, references: the seeds of each pair and of its two cells. effects: [pairs].
    influence: [pairs, clusters], how much each cluster moves the effects; in a compact table
    [pairs, at most pairs], a matrix whose rows have the same products. count: number of clusters.
    """

    pairs: tuple[Pair, ...]
    arms: tuple[Pair, ...]
    references: tuple[Pair, ...]
    clusters: tuple[str, ...]
    effects: Array
    influence: Array
    count: int

    @property
    def layout(self) -> SeedLayout:
        return layout(self.pairs, self.arms, self.references)

    def interval(self, level: float, bound: float = 100.0) -> Interval:
        return interval(self.effects, self.influence, self.layout, level, bound, self.count)

    def of(self, pairs: Sequence[Pair]) -> "Table":
        """The same table with only these pairs, in this order."""
        if tuple(pairs) == self.pairs:
            return self
        index = [self.pairs.index(pair) for pair in pairs]
        arms, references = (tuple(side[k] for k in index) for side in (self.arms, self.references))
        return replace(
            self,
            pairs=tuple(pairs),
            arms=arms,
            references=references,
            effects=self.effects[index],
            influence=self.influence[index],
        )

    @property
    def compact(self) -> "Table":
        """The same table without its clusters. Variances are sums over clusters of products of two
        rows, which the triangular factor of the influence keeps.
        """
        if self.influence.shape[1] <= len(self.pairs):
            return replace(self, clusters=())
        factor = np.asarray(np.linalg.qr(self.influence.T, mode="r"))
        return replace(self, clusters=(), influence=factor.T)


@dataclass(frozen=True)
class Differences:
    """A contrast on one evaluation, for one metric.

    languages: the Table of each language that all paired cells have. left_out: the other languages.
    examples: number of rows of each language. averaged: the languages of the official average.
    """

    languages: Mapping[str, Table]
    left_out: tuple[str, ...]
    examples: Mapping[str, int]
    averaged: Sequence[str]

    def restricted(self, languages: Collection[str]) -> "Differences":
        """The same with only these languages."""
        kept = {
            language: table for language, table in self.languages.items() if language in languages
        }
        dropped = tuple(language for language in self.languages if language not in kept)
        averaged = [language for language in self.averaged if language in kept]
        return Differences(kept, (*self.left_out, *dropped), self.examples, averaged)

    @cached_property
    def estimands(self) -> dict[str, tuple[Table, list[str]]]:
        """name → (table, its languages): each language, the average, the mean over non-English
        languages, the gap.
        """
        estimands = {language: (table, [language]) for language, table in self.languages.items()}
        for name, weights in weighted(self.averaged).items():
            tables = [(self.languages[language], weight) for language, weight in weights.items()]
            estimands[name] = (combined(tables), list(weights))
        return estimands


def weighted(languages: Sequence[str]) -> dict[str, dict[str, float]]:
    """Estimand → language → weight, for the estimands that these languages allow."""
    others = [language for language in languages if language != ENGLISH]
    weights = {AVERAGE: dict.fromkeys(languages, 1 / len(languages))} if languages else {}
    if others:
        weights[NON_ENGLISH] = dict.fromkeys(others, 1 / len(others))
        if ENGLISH in languages:
            weights[GAP] = {ENGLISH: 1.0} | dict.fromkeys(others, -1 / len(others))
    return weights


def combined(tables: Sequence[tuple[Table, float]]) -> Table:
    """The weighted sum of tables over their common pairs. Clusters of the same name are one
    cluster.
    """
    pairs = [pair for pair in tables[0][0].pairs if all(pair in table.pairs for table, _ in tables)]
    parts = [(table.of(pairs), weight) for table, weight in tables]
    clusters, places = union(*(table.clusters for table, _ in parts))
    influence = np.zeros((len(pairs), len(clusters)))
    for (table, weight), place in zip(parts, places, strict=True):
        influence[:, place] += weight * table.influence
    effects: Array = np.sum([weight * table.effects for table, weight in parts], axis=0)
    return replace(
        parts[0][0], clusters=clusters, effects=effects, influence=influence, count=len(clusters)
    )


@lru_cache(maxsize=32)
def union(
    *clusters: tuple[str, ...],
) -> tuple[tuple[str, ...], tuple[npt.NDArray[np.intp] | slice, ...]]:
    """(all names once, the places of each part's names among them)."""
    names = tuple(dict.fromkeys(chain.from_iterable(clusters)))
    if all(part == names for part in clusters):
        return names, (slice(None),) * len(clusters)
    place = {cluster: index for index, cluster in enumerate(names)}
    return names, tuple(np.asarray([place[name] for name in part], np.intp) for part in clusters)


def pooled(tables: Mapping[str, Table]) -> Table | None:
    """The mean over evaluations on their common pairs; None if they have none.

    Clusters of different evaluations are independent, whatever their names.
    """
    if not tables or not set.intersection(*(set(table.pairs) for table in tables.values())):
        return None
    first = next(iter(tables.values()))
    pairs = [pair for pair in first.pairs if all(pair in each.pairs for each in tables.values())]
    parts = [table.of(pairs) for table in tables.values()]
    share = 1 / len(parts)
    effects: Array = np.sum([share * table.effects for table in parts], axis=0)
    return replace(
        parts[0],
        clusters=(),
        effects=effects,
        influence=np.concatenate([share * table.influence for table in parts], axis=1),
        count=sum(table.count for table in parts),
    )


def interaction(first: Table, second: Table) -> Table | None:
    """The first backbone's effect minus the second's, paired by seed and example; None if they have
    no seeds in common.
    """
    if not set(first.pairs) & set(second.pairs):
        return None
    return combined([(first, 1.0), (second, -1.0)])


def interquartile_mean(values: Array) -> float:
    """The mean of the middle half."""
    return float(stats.trim_mean(np.ravel(values), 0.25))


def probability_of_improvement(differences: Sequence[Array]) -> float:
    """The share of pairs in which the arm is better (ties count half), averaged over evaluations
    and languages. `differences` has one array [pairs] for each of these.
    """
    return float(np.mean([np.mean((values > 0) + 0.5 * (values == 0)) for values in differences]))


def paired(
    arms: Mapping[Pair, Cell], references: Mapping[Pair, Cell]
) -> dict[Pair, tuple[Cell, Cell]]:
    """Seeds → the arm's and the reference's cell with these seeds.

    A side without a seed of one kind (None) pairs with every seed of the other side, and the pair
    gets that seed. The result does not depend on which side is the reference.
    """
    pairs: dict[Pair, tuple[Cell, Cell]] = {}
    for (a, cell), (r, reference) in product(arms.items(), references.items()):
        if all(x is None or y is None or x == y for x, y in zip(a, r, strict=True)):
            intermediate, target = (y if x is None else x for x, y in zip(a, r, strict=True))
            pairs[intermediate, target] = (cell, reference)
    return pairs


class ScoreCache:
    """Scores and influences of cells, computed once for contrasts that follow each other."""

    def __init__(self) -> None:
        # The entry keeps its Scored alive, so that no other object gets the same id.
        self._entries: dict[tuple[int, str], tuple[Scored, float, tuple[str, ...], Array]] = {}
        self._older = dict(self._entries)

    def next_contrast(self) -> None:
        """Forgets what the contrast before did not use. Most arms are in one or two contrasts, next
        to each other, and `none` is in nearly all.
        """
        self._entries, self._older = {}, self._entries

    def of(self, scored: Scored, metric: str) -> tuple[float, tuple[str, ...], Array]:
        """(value, clusters, influence of each cluster)."""
        key = (id(scored), metric)
        if key in self._older:
            self._entries[key] = self._older.pop(key)
        if key not in self._entries:
            clusters = Names.of(scored.clusters)
            moved: Array = np.bincount(
                clusters.codes,
                weights=scored.influence(metric),
                minlength=len(clusters.distinct),
            ).astype(np.float64)
            self._entries[key] = (scored, scored.value(metric), clusters.distinct, moved)
        return self._entries[key][1:]


def differences(
    pairs: Mapping[Pair, tuple[Cell, Cell]],
    evaluation: str,
    metric: str,
    cache: ScoreCache,
    averaged: Callable[[Sequence[str]], Sequence[str]] = list,
) -> Differences:
    """The differences of paired cells on one evaluation.

    Args:
        pairs: seeds → the arm's and the reference's cell.
        evaluation: name of the evaluation.
        metric: name of the metric.
        cache: scores that other contrasts computed.
        averaged: languages → those of them that belong to the evaluation's average.

    Raises:
        ValueError: two cells were scored on different examples.
    """
    cells = [cell for both in pairs.values() for cell in both]
    everywhere = [
        [language for name, language in cell.scored if name == evaluation] for cell in cells
    ]
    scored = list(dict.fromkeys(language for languages in everywhere for language in languages))
    common = [
        language for language in scored if all(language in languages for languages in everywhere)
    ]
    for cell in cells:  # all languages of a cell at once: they are stored together
        for language in common:
            cache.of(cell.scored[evaluation, language], metric)
    tables = {language: _table(pairs, evaluation, language, metric, cache) for language in common}
    examples = {language: len(cells[0].scored[evaluation, language].ids) for language in common}
    left_out = tuple(language for language in scored if language not in common)
    return Differences(
        tables,
        left_out,
        examples,
        [language for language in averaged(scored) if language in common],
    )


def _table(
    pairs: Mapping[Pair, tuple[Cell, Cell]],
    evaluation: str,
    language: str,
    metric: str,
    cache: ScoreCache,
) -> Table:
    effects, rows = [], []
    clusters: tuple[str, ...] = ()
    for arm, reference in pairs.values():
        scored, base = arm.scored[evaluation, language], reference.scored[evaluation, language]
        if scored.ids is not base.ids and list(scored.ids) != list(base.ids):
            raise ValueError(
                f"{evaluation} {language}: {arm.arm} and {reference.arm} were not scored on the "
                "same examples; score both again with one version of the data"
            )
        value, names, moved = cache.of(scored, metric)
        base_value, _, base_moved = cache.of(base, metric)
        if clusters and names != clusters:
            raise ValueError(
                f"{evaluation} {language}: two cells of {arm.arm} were not scored on the same "
                "examples; score both again with one version of the data"
            )
        clusters = names
        effects.append(value - base_value)
        rows.append(moved - base_moved)
    arms, references = (
        tuple((cell.seed_intermediate, cell.seed_target) for cell in side)
        for side in zip(*pairs.values(), strict=True)
    )
    return Table(
        tuple(pairs),
        arms,
        references,
        clusters,
        np.asarray(effects),
        np.asarray(rows),
        len(clusters),
    )
