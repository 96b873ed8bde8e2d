"""The hierarchical bootstrap, reported next to the t interval if there are many seeds.

Each replicate draws seeds with replacement (units of pairs that share seeds; intermediate and
target seeds separately if they are crossed) and clusters of examples with replacement. Examples are
parallel, so one draw serves all languages and both arms. The corpus metrics are recomputed from the
drawn counts. The interval is the percentile interval.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from xstilts.analysis.inputs import Array, Scored
from xstilts.plan.seed_layout import SeedLayout
from xstilts.scoring.metrics import ratio_value

#: With fewer seeds the percentile interval is too short.
FEWEST_SEEDS = 5
REPLICATES = 2000


def bootstrap_interval(
    arms: Sequence[Mapping[str, Scored]],
    references: Sequence[Mapping[str, Scored]],
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
    draws = np.random.default_rng(0)
    clusters = _clusters([*arms, *references])
    index = {cluster: i for i, cluster in enumerate(clusters)}
    examples = draws.multinomial(
        len(clusters), np.full(len(clusters), 1 / len(clusters)), replicates
    ).astype(float)
    seeds = _seed_weights(layout, len(arms), draws, replicates)
    # One matrix product for all: [replicates, clusters] · [clusters, cells · languages · 2].
    tables = [
        _cluster_counts(cell[language], metric, index)
        for cell in (*arms, *references)
        for language in arms[0]
    ]
    sums = (examples @ np.concatenate(tables, axis=1)).reshape(
        replicates, 2, len(arms), len(arms[0]), 2
    )
    values = ratio_value(sums).mean(-1)
    total = (seeds * (values[:, 0] - values[:, 1])).sum(-1)
    low, high = np.quantile(total, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def _clusters(cells: Sequence[Mapping[str, Scored]]) -> list[str]:
    return list(
        dict.fromkeys(
            cluster for cell in cells for scored in cell.values() for cluster in scored.clusters
        )
    )


def _cluster_counts(scored: Scored, metric: str, index: Mapping[str, int]) -> Array:
    """[clusters, 2]: numerator and denominator of the metric, summed over each cluster."""
    table = np.zeros((len(index), 2))
    np.add.at(table, [index[cluster] for cluster in scored.clusters], scored.ratio(metric))
    return table


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
