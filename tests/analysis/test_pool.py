"""Effects pooled over evaluations, without their examples in memory."""

import gc
import weakref

import numpy as np

from xstilts.analysis.estimands import Differences, Table
from xstilts.analysis.pool import Pool


def differences(seed: int, clusters: int = 50) -> Differences:
    """Effects in English and two other languages, with two pairs of seeds."""
    draws = np.random.default_rng(seed)
    tables = {
        code: Table(
            clusters=tuple(f"{code}{k}" for k in range(clusters)),
            pairs=((0, 0), (1, 1)),
            arms=((0, 0), (1, 1)),
            references=((None, 0), (None, 1)),
            effects=draws.normal(size=2),
            influence=draws.normal(size=(2, clusters)),
            count=clusters,
        )
        for code in ("en", "de", "sw")
    }
    return Differences(tables, (), dict.fromkeys(tables, clusters), list(tables))


def test_a_pool_keeps_no_value_of_an_example() -> None:
    pool, kept = Pool(), []
    for evaluation in ("xnli", "xquad"):
        effects = {name: differences(number) for number, name in enumerate(("llava", "qwen"))}
        kept += [
            weakref.ref(table.influence)
            for each in effects.values()
            for table in (*each.languages.values(), *(t for t, _ in each.estimands.values()))
        ]
        pool.add(evaluation, effects)
    del effects
    gc.collect()
    assert len(kept) == 2 * 2 * (3 + 6)
    assert [each() for each in kept] == [None] * len(kept)
