"""Retrieval: the nearest candidates of each query, among those of all languages and a pool."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, chain

import torch
from torch import Tensor

from xstilts.scoring.gold import Gold
from xstilts.scoring.nearest import nearest_candidates
from xstilts.scoring.vectors import Vectors

#: The number of candidates that the official scorers use (utils_lareqa.py, utils_mewslix.py).
DEPTH = 20
#: Vectors per chunk of the pool.
_CHUNK = 32_768


def rank(
    languages: Mapping[str, Vectors],
    queries: Mapping[str, Sequence[Gold]],
    names: Mapping[str, Sequence[str]],
    pool: Vectors | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, dict[int, list[str]]]:
    """Language → row of a query → names of the nearest candidates of all languages and the pool.

    Rows that are not queries are candidates. A name shared by several candidates takes a rank for
    each, but only the first is a hit (as in the official average precision). ValueError if there is
    no candidate, or one has no name.

    Args:
        languages: language → vectors of its rows.
        queries: language → its queries.
        names: language or `pool` → candidate name of each row of the records.
        pool: vectors of further candidates.
        device: to search on.
    """
    query_rows = {language: {gold.row for gold in golds} for language, golds in queries.items()}
    query_keys = [
        (language, index)
        for language, rows in languages.items()
        for index, row in enumerate(rows.rows)
        if row in query_rows[language]
    ]
    sources = [
        (
            language,
            rows,
            [index for index, row in enumerate(rows.rows) if row not in query_rows[language]],
        )
        for language, rows in languages.items()
    ]
    sources += [("pool", pool, list(range(len(pool))))] if pool is not None else []
    candidates = [
        names[source][rows.rows[index]] for source, rows, indices in sources for index in indices
    ]
    if not candidates:
        raise ValueError("no candidates to rank")
    if not all(candidates):
        raise ValueError("a candidate has no name")
    if not query_keys:
        return {language: {} for language in languages}
    vectors = torch.cat([languages[language].take([place]) for language, place in query_keys])

    def chunks() -> Iterator[Tensor]:
        return chain.from_iterable(rows.parts(places, _CHUNK) for _, rows, places in sources)

    rankings: dict[str, dict[int, list[str]]] = {language: {} for language in languages}
    take = partial(_take, [(rows, places) for _, rows, places in sources])
    nearest = nearest_candidates(vectors.to(device), chunks, take, DEPTH)[0].tolist()
    for (language, place), row in zip(query_keys, nearest, strict=True):
        rankings[language][languages[language].rows[place]] = [candidates[k] for k in row]
    return rankings


def _take(sources: Sequence[tuple[Vectors, Sequence[int]]], numbers: Sequence[int]) -> Tensor:
    """Vectors of candidates by their index over all sources."""
    starts = list(accumulate((len(places) for _, places in sources), initial=0))
    owners = [bisect_right(starts, number) - 1 for number in numbers]
    vectors = torch.empty(len(numbers), sources[0][0].table.shape[1])
    for owner in set(owners):
        rows, places = sources[owner]
        of_source = [k for k, source in enumerate(owners) if source == owner]
        vectors[of_source] = rows.take([places[numbers[k] - starts[owner]] for k in of_source])
    return vectors


def in_all_languages(queries: Mapping[str, Sequence[Gold]]) -> dict[str, list[Gold]]:
    """The queries with the answers of all their translations, which have the same `parallel` key
    (LAReQA). A query without a key keeps its answers (Mewsli-X).
    """
    answers: dict[str, list[str]] = {}
    for golds in queries.values():
        for gold in golds:
            answers.setdefault(gold.parallel, []).extend(gold.gold)

    def joined(gold: Gold) -> list[str]:
        return list(dict.fromkeys(answers[gold.parallel] if gold.parallel else gold.gold))

    return {
        language: [replace(gold, gold=joined(gold)) for gold in golds]
        for language, golds in queries.items()
    }
