"""The hierarchical bootstrap that stands beside the t interval where seeds are many.

Each replicate draws seeds with replacement (units of pairs that share seeds; intermediate and
target seeds apart where they are crossed) and clusters of examples with replacement, one draw for
all languages and both arms, since their examples are parallel; the corpus metrics are computed
again from the drawn counts. Percentile interval.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from xstilts.analysis.inputs import Array, Scored
from xstilts.plan.seed_layout import Layout
from xstilts.scoring.metrics import ratio_value

#: Fewer seeds than this say too little of their own spread to be resampled: the percentile interval
#: would be too short.
FEWEST_SEEDS = 5
REPLICATES = 2000


def bootstrap_interval(
    arms: Sequence[Mapping[str, Scored]], references: Sequence[Mapping[str, Scored]], shape: Layout,
    metric: str, level: float = 0.95, replicates: int = REPLICATES,
) -> tuple[float, float]:  # fmt: skip
    """(low, high) of the mean effect over pairs and languages. arms, references: one {language:
    Scored} a pair; shape: how the pairs' seeds are laid out. Deterministic.
    """
    draws = np.random.default_rng(0)
    clusters = _clusters([*arms, *references])
    index = {cluster: i for i, cluster in enumerate(clusters)}
    examples = draws.multinomial(
        len(clusters), np.full(len(clusters), 1 / len(clusters)), replicates
    ).astype(float)
    seeds = _seed_weights(shape, len(arms), draws, replicates)
    # One product for all: [replicates, clusters] · [clusters, cells · languages · 2].
    tables = [
        _summed(cell[language], metric, index)
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


def _clusters(found: Sequence[Mapping[str, Scored]]) -> list[str]:
    return list(
        dict.fromkeys(
            cluster for one in found for scored in one.values() for cluster in scored.clusters
        )
    )


def _summed(scored: Scored, metric: str, index: Mapping[str, int]) -> Array:
    """[clusters, 2]: numerator and denominator of the metric, summed over each cluster's
    examples.
    """
    table = np.zeros((len(index), 2))
    np.add.at(table, [index[cluster] for cluster in scored.clusters], scored.ratio(metric))
    return table


def _seed_weights(shape: Layout, pairs: int, draws: np.random.Generator, replicates: int) -> Array:
    """[replicates, pairs], rows sum to one."""

    def drawn(count: int) -> Array:
        return draws.multinomial(count, np.full(count, 1 / count), replicates) / count

    weights = np.zeros((replicates, pairs))
    first = drawn(len(shape.members))
    second = drawn(len(shape.members[0])) if shape.kind == "grid" else None
    for row, group in enumerate(shape.members):
        for column, index in enumerate(group):
            weights[:, index] = first[:, row] * (
                second[:, column] if second is not None else 1 / len(group)
            )
    return weights
