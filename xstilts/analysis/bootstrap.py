"""The hierarchical bootstrap, reported next to the t interval if there are many seeds.

Each replicate draws seeds with replacement (units of pairs that share seeds; intermediate and
target seeds separately if they are crossed) and clusters of examples with replacement. Examples are
parallel, so one draw serves all languages and all cells. The corpus metrics are recomputed from the
drawn counts. The interval is the percentile interval.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xstilts.analysis.estimands import union
from xstilts.analysis.inputs import Array, Names, Scored
from xstilts.plan.seed_layout import SeedLayout
from xstilts.scoring.metrics import ratio_value

#: With fewer seeds the percentile interval is too short.
FEWEST_SEEDS = 5
REPLICATES = 2000
#: Bytes of counts, and of drawn weights, that are in memory at the same time.
BLOCK = 128 * 1024 * 1024

#: language → the cell's predictions
Languages = Mapping[str, Scored]


@dataclass(frozen=True)
class Paired:
    """The cells of a contrast: one {language: Scored} per pair of each side, in equal languages.

    layout: which seeds the pairs share.
    """

    arms: Sequence[Languages]
    references: Sequence[Languages]
    layout: SeedLayout


def bootstrap_interval(
    arms: Sequence[Languages],
    references: Sequence[Languages],
    layout: SeedLayout,
    metric: str,
    level: float = 0.95,
    replicates: int = REPLICATES,
) -> tuple[float, float]:
    """(low, high) of the mean effect over pairs and languages. Deterministic.

    Args:
        arms: one {language: Scored} per pair, of the arm.
        references: the same of the reference.
        layout: which seeds the pairs share.
        metric: a metric that is a ratio of counts.
        level: coverage of the interval.
        replicates: number of draws.
    """
    contrast = Paired(arms, references, layout)
    return bootstrap_intervals([contrast], metric, level, replicates)[0]


def bootstrap_intervals(
    contrasts: Sequence[Paired], metric: str, level: float = 0.95, replicates: int = REPLICATES
) -> list[tuple[float, float]]:
    """The intervals of several contrasts on one evaluation. Contrasts over the same examples share
    the draws, and each cell is resampled once.

    Args:
        contrasts: cells of one evaluation.
        metric: a metric that is a ratio of counts.
        level: coverage of the intervals.
        replicates: number of draws.
    """
    by_examples: dict[tuple[object, ...], list[int]] = {}
    for number, contrast in enumerate(contrasts):
        by_examples.setdefault(_examples(contrast), []).append(number)
    intervals: dict[int, tuple[float, float]] = {}
    for numbers in by_examples.values():
        chosen = [contrasts[number] for number in numbers]
        every = [cell for each in chosen for cell in (*each.arms, *each.references)]
        cells = {_key(cell): cell for cell in every}
        values, draws = _resampled(list(cells.values()), metric, replicates)
        column = {key: place for place, key in enumerate(cells)}
        for number, contrast in zip(numbers, chosen, strict=True):
            arms, references = (
                values[:, [column[_key(cell)] for cell in side]]
                for side in (contrast.arms, contrast.references)
            )
            seeds = _seed_weights(contrast.layout, len(contrast.arms), deepcopy(draws), replicates)
            total = (seeds * (arms - references)).sum(-1)
            low, high = np.quantile(total, [0.5 - level / 2, 0.5 + level / 2])
            intervals[number] = (float(low), float(high))
    return [intervals[number] for number in range(len(contrasts))]


def _key(cell: Languages) -> tuple[tuple[str, int], ...]:
    return tuple((language, id(scored)) for language, scored in cell.items())


def _examples(contrast: Paired) -> tuple[object, ...]:
    """What contrasts must share to share draws: languages, and the clusters of each."""
    cells = (*contrast.arms, *contrast.references)
    clusters = [scored.clusters for cell in cells for scored in cell.values()]
    distinct = (each.distinct if isinstance(each, Names) else tuple(each) for each in clusters)
    return (tuple(cells[0]), tuple(dict.fromkeys(distinct)))


def _resampled(
    cells: Sequence[Languages], metric: str, replicates: int
) -> tuple[Array, np.random.Generator]:
    """([replicates, cells], the metric's mean over languages; the generator after the draws)."""
    languages = list(cells[0])
    names = {id(scored): Names.of(scored.clusters) for cell in cells for scored in cell.values()}
    parts = list(dict.fromkeys(each.distinct for each in names.values()))
    clusters, places = union(*parts)
    place_of = dict(zip(parts, places, strict=True))
    draws = np.random.default_rng(0)
    weights = _drawn(draws, len(clusters), replicates)
    values = np.zeros((replicates, len(cells)))
    rows = sum(len(names[id(scored)].distinct) for scored in cells[0].values())
    size = max(1, BLOCK // (16 * rows))
    for first in range(0, len(cells), size):
        block = cells[first : first + size]
        sums = [
            [_cluster_counts(cell[code], metric, names[id(cell[code])]) for code in languages]
            for cell in block
        ]
        for number, language in enumerate(languages):
            distinct = names[id(block[0][language])].distinct
            same = all(names[id(cell[language])].distinct is distinct for cell in block)
            for columns in [range(len(block))] if same else [[k] for k in range(len(block))]:
                distinct = names[id(block[columns[0]][language])].distinct
                table = np.concatenate([sums[k][number] for k in columns], axis=1)
                values[:, [first + k for k in columns]] += _scores(
                    weights, place_of[distinct], table
                ) / len(languages)
    return values, draws


def _drawn(draws: np.random.Generator, clusters: int, replicates: int) -> npt.NDArray[np.uint8]:
    """[replicates, clusters]: how often each cluster is drawn. A count above 255 has a probability
    below 1e-300.
    """
    weights = np.empty((replicates, clusters), np.uint8)
    for each in weights:  # a tenth of the time of `multinomial`
        each[:] = np.bincount(draws.integers(0, clusters, clusters), minlength=clusters)
    return weights


def _scores(
    weights: npt.NDArray[np.uint8], place: npt.NDArray[np.intp] | slice, table: Array
) -> Array:
    """[replicates, cells]: the metric of one language. table: [clusters, cells · 2]."""
    values = np.empty((len(weights), table.shape[1] // 2))
    step = max(1, BLOCK // (8 * len(table)))
    for first in range(0, len(weights), step):
        drawn = weights[first : first + step, place].astype(np.float64)
        values[first : first + step] = ratio_value((drawn @ table).reshape(len(drawn), -1, 2))
    return values


def _cluster_counts(scored: Scored, metric: str, clusters: Names) -> Array:
    """[clusters, 2]: numerator and denominator of the metric, summed over each cluster."""
    ratio, size = scored.ratio(metric), len(clusters.distinct)
    sums = [np.bincount(clusters.codes, weights=ratio[:, k], minlength=size) for k in (0, 1)]
    return np.stack(sums, axis=-1)


def _seed_weights(
    layout: SeedLayout, pairs: int, draws: np.random.Generator, replicates: int
) -> Array:
    """[replicates, pairs]; each row sums to one."""

    def resampled(count: int) -> Array:
        return draws.multinomial(count, np.full(count, 1 / count), replicates) / count

    weights = np.zeros((replicates, pairs))
    first = resampled(len(layout.members))
    second = resampled(len(layout.members[0])) if layout.kind == "grid" else None
    for row, group in enumerate(layout.members):
        for column, index in enumerate(group):
            weights[:, index] = first[:, row] * (
                second[:, column] if second is not None else 1 / len(group)
            )
    return weights
