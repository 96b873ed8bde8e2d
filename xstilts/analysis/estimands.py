"""What a contrast estimates: tables of paired differences, and the weighted means over languages
and evaluations of them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from scipy import stats

from xstilts.analysis.inputs import Array, Cell, Scored
from xstilts.analysis.variance import Interval, interval
from xstilts.plan.seed_layout import Layout, Pair, layout

#: The official average: the unweighted mean over all languages of an evaluation.
AVERAGE = "avg"
ENGLISH = "en"
#: The unweighted mean over the languages that are not English.
NON_ENGLISH = "non_en"
#: English minus the mean of the other languages: the cross-lingual transfer gap.
GAP = "gap"
#: The mean over a backbone's evaluations.
POOLED = "pooled"


@dataclass(frozen=True)
class Table:
    """Paired differences, arm minus reference. pairs, arms, references: seeds, of each pair and
    of its two cells. effects: [pairs]. influence: [pairs, clusters], how much each cluster moves
    them.
    """

    pairs: tuple[Pair, ...]
    arms: tuple[Pair, ...]
    references: tuple[Pair, ...]
    clusters: tuple[str, ...]
    effects: Array
    influence: Array

    @property
    def layout(self) -> Layout:
        return layout(self.pairs, self.arms, self.references)

    def interval(self, level: float, bound: float = 100.0) -> Interval:
        return interval(self.effects, self.influence, self.layout, level, bound)

    def of(self, pairs: Sequence[Pair]) -> "Table":
        """The same with these pairs alone, in this order."""
        index = [self.pairs.index(pair) for pair in pairs]
        arms, references = (tuple(side[k] for k in index) for side in (self.arms, self.references))
        return Table(
            tuple(pairs),
            arms,
            references,
            self.clusters,
            self.effects[index],
            self.influence[index],
        )


@dataclass(frozen=True)
class Differences:
    """A contrast on one evaluation, for one metric. languages: those that all paired cells have,
    each with its Table. left_out: the others. examples: rows of each language. averaged: those
    of the languages that the official average is taken over.
    """

    languages: Mapping[str, Table]
    left_out: tuple[str, ...]
    examples: Mapping[str, int]
    averaged: Sequence[str]

    def restricted(self, languages: Collection[str]) -> "Differences":
        """The same over these languages alone."""
        kept = {
            language: table for language, table in self.languages.items() if language in languages
        }
        dropped = tuple(language for language in self.languages if language not in kept)
        averaged = [language for language in self.averaged if language in kept]
        return Differences(kept, (*self.left_out, *dropped), self.examples, averaged)

    @cached_property
    def estimands(self) -> dict[str, tuple[Table, list[str]]]:
        """name → (table, languages in it): each language, the average, the mean of those that
        are not English, the gap.
        """
        found = {language: (table, [language]) for language, table in self.languages.items()}
        for name, weights in weighted(self.averaged).items():
            tables = [(self.languages[language], weight) for language, weight in weights.items()]
            found[name] = (combined(tables), list(weights))
        return found


def weighted(languages: Sequence[str]) -> dict[str, dict[str, float]]:
    """Estimand → language → its weight. Those that the languages do not allow are left out."""
    others = [language for language in languages if language != ENGLISH]
    found = {AVERAGE: dict.fromkeys(languages, 1 / len(languages))} if languages else {}
    if others:
        found[NON_ENGLISH] = dict.fromkeys(others, 1 / len(others))
        if ENGLISH in languages:
            found[GAP] = {ENGLISH: 1.0} | dict.fromkeys(others, -1 / len(others))
    return found


def combined(tables: Sequence[tuple[Table, float]]) -> Table:
    """The weighted sum of tables over the pairs that all of them have. A cluster of several
    tables is one cluster.
    """
    pairs = [pair for pair in tables[0][0].pairs if all(pair in table.pairs for table, _ in tables)]
    parts = [(table.of(pairs), weight) for table, weight in tables]
    clusters = list(dict.fromkeys(cluster for table, _ in parts for cluster in table.clusters))
    place = {cluster: index for index, cluster in enumerate(clusters)}
    influence = np.zeros((len(pairs), len(clusters)))
    for table, weight in parts:
        influence[:, [place[cluster] for cluster in table.clusters]] += weight * table.influence
    effects: Array = np.sum([weight * table.effects for table, weight in parts], axis=0)
    first = parts[0][0]
    return Table(tuple(pairs), first.arms, first.references, tuple(clusters), effects, influence)


def pooled(tables: Mapping[str, Table]) -> Table | None:
    """The mean over evaluations, over the pairs that all of them have; None where there is none.
    Clusters of two evaluations are not the same, whatever their names.
    """
    if not tables or not set.intersection(*(set(table.pairs) for table in tables.values())):
        return None
    parts = []
    for evaluation, table in tables.items():
        names = tuple(f"{evaluation}: {cluster}" for cluster in table.clusters)
        parts.append(
            (
                Table(
                    table.pairs, table.arms, table.references, names, table.effects, table.influence
                ),
                1 / len(tables),
            )
        )
    return combined(parts)


def interaction(one: Table, other: Table) -> Table | None:
    """One backbone's effect minus the other's, by seed and example; None where they have no
    seeds in common.
    """
    if not set(one.pairs) & set(other.pairs):
        return None
    return combined([(one, 1.0), (other, -1.0)])


def interquartile_mean(values: Array) -> float:
    """The mean of the middle half."""
    return float(stats.trim_mean(np.ravel(values), 0.25))


def probability_of_improvement(differences: Sequence[Array]) -> float:
    """The share of pairs in which the arm is better (ties count half), averaged over evaluations
    and languages. differences: one array [pairs] for each of these.
    """
    return float(np.mean([np.mean((values > 0) + 0.5 * (values == 0)) for values in differences]))


def paired(
    arms: Mapping[Pair, Cell], references: Mapping[Pair, Cell]
) -> dict[Pair, tuple[Cell, Cell]]:
    """Seeds → the two cells of equal seeds. A seed that one side does not have (None) meets all
    of the other's, and the pair has the seed of the side that has one; so it does not matter
    which side is the reference.
    """
    found: dict[Pair, tuple[Cell, Cell]] = {}
    for (a, cell), (r, other) in product(arms.items(), references.items()):
        if all(x is None or y is None or x == y for x, y in zip(a, r, strict=True)):
            first, second = (y if x is None else x for x, y in zip(a, r, strict=True))
            found[first, second] = (cell, other)
    return found


class Summed:
    """Scores and influences of cells, each computed once: (value, clusters, influence of each
    cluster).
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, str], tuple[Scored, float, list[str], Array]] = {}

    def of(self, scored: Scored, metric: str) -> tuple[float, list[str], Array]:
        key = (id(scored), metric)
        if key not in self._held:
            place = {cluster: index for index, cluster in enumerate(dict.fromkeys(scored.clusters))}
            moved: Array = np.bincount(
                [place[cluster] for cluster in scored.clusters],
                weights=scored.influence(metric),
                minlength=len(place),
            ).astype(np.float64)
            self._held[key] = (scored, scored.value(metric), list(place), moved)
        return self._held[key][1:]


def differences(
    pairs: Mapping[Pair, tuple[Cell, Cell]],
    evaluation: str,
    metric: str,
    summed: Summed,
    averaged: Callable[[Sequence[str]], Sequence[str]] = list,
) -> Differences:
    """The differences of paired cells on an evaluation. averaged: languages → those of them that
    its average is taken over. Raises ValueError where two were not scored on the same examples.
    """
    cells = [cell for both in pairs.values() for cell in both]
    everywhere = [
        [language for name, language in cell.scored if name == evaluation] for cell in cells
    ]
    known = list(dict.fromkeys(language for languages in everywhere for language in languages))
    common = [
        language for language in known if all(language in languages for languages in everywhere)
    ]
    tables = {language: _table(pairs, evaluation, language, metric, summed) for language in common}
    examples = {language: len(cells[0].scored[evaluation, language].ids) for language in common}
    left_out = tuple(language for language in known if language not in common)
    return Differences(
        tables, left_out, examples, [language for language in averaged(known) if language in common]
    )


def _table(
    pairs: Mapping[Pair, tuple[Cell, Cell]],
    evaluation: str,
    language: str,
    metric: str,
    summed: Summed,
) -> Table:
    effects, rows = [], []
    clusters: list[str] = []
    for arm, reference in pairs.values():
        one, other = arm.scored[evaluation, language], reference.scored[evaluation, language]
        if list(one.ids) != list(other.ids):
            raise ValueError(
                f"{evaluation} {language}: {arm.arm} and {reference.arm} were not scored on the same examples"
            )
        (value, names, moved), (base, _, moved_base) = (
            summed.of(one, metric),
            summed.of(other, metric),
        )
        if clusters and names != clusters:
            raise ValueError(
                f"{evaluation} {language}: two cells of {arm.arm} were not scored on the same examples"
            )
        clusters = names
        effects.append(value - base)
        rows.append(moved - moved_base)
    arms, references = (
        tuple((cell.seed_intermediate, cell.seed_target) for cell in side)
        for side in zip(*pairs.values(), strict=True)
    )
    return Table(
        tuple(pairs), arms, references, tuple(clusters), np.asarray(effects), np.asarray(rows)
    )
