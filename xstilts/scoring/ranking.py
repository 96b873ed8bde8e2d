"""Nearest-neighbor search of queries in a pool of candidates, by cosine and in chunks, so that a
pool of a million fits.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, chain

import torch
import torch.nn.functional as F
from torch import Tensor

from xstilts.scoring.gold import Gold
from xstilts.scoring.vectors import Vectors

#: The number of candidates that the official scorers use (utils_lareqa.py, utils_mewslix.py).
DEPTH = 20
_CHUNK, _QUERIES = 32_768, 512
#: Most candidates beyond the depth that are also ordered exactly, and queries per block of that.
_SPARE, _EXACT = 20, 64
#: Columns per group in the search for the largest values.
_GROUP = 64


def nearest_candidates(
    queries: Tensor,
    pool: Iterable[Tensor],
    take: Callable[[Sequence[int]], Tensor],
    depth: int = DEPTH,
) -> tuple[Tensor, Tensor]:
    """[q, ≤ depth] indices in the pool by descending cosine, lower index first for equals, and the
    cosines in double precision.

    More candidates than needed are found in single precision. Those that rounding errors could put
    among the nearest are then ordered in double precision.
    Memory: one chunk twice, and its similarities to 512 queries. All vectors are unit vectors in
    single precision.

    Args:
        queries: [q, w].
        pool: the vectors in chunks [n, w].
        take: indices → their vectors [n, w].
        depth: number of candidates.
    """
    near, similar = _roughly_nearest(queries, pool, depth + _SPARE)
    if not similar.numel():
        return near, similar.double()
    counts = _possible(similar, depth, queries.shape[1])
    blocks = [each.split(_EXACT) for each in (queries, near, counts)]
    results = [
        _exact(block, indices[:, : int(count.max())], take, depth)
        for block, indices, count in zip(*blocks, strict=True)
    ]
    return (
        torch.cat([indices for indices, _ in results]),
        torch.cat([cosines for _, cosines in results]),
    )


def _possible(similar: Tensor, depth: int, width: int) -> Tensor:
    """[q]: how many candidates can be among the `depth` nearest, given similarities in descending
    order with the error of single precision.

    A dot product of this width has an error of at most width · u · |x| · |y|, u = 2⁻²⁴ (Higham,
    Accuracy and Stability of Numerical Algorithms, 3.1), here with |y| ≤ 2 after centering. Two
    candidates can be in the wrong order if their similarities differ by less than twice that.
    """
    error = 2 * width * torch.finfo(torch.float32).eps
    depth = min(depth, similar.shape[1])
    return (similar >= similar[:, depth - 1, None] - error).sum(1).clamp(min=depth)


def _roughly_nearest(queries: Tensor, pool: Iterable[Tensor], depth: int) -> tuple[Tensor, Tensor]:
    """([q, ≤ depth] indices, their similarities in descending order), on the CPU.

    The mean of the first chunk is subtracted from the pool. This changes all cosines of a query by
    the same amount, so the order stays, and leaves the precision for the differences between
    candidates. If all cosines are near 1, as with vectors of causal models, the last digits of the
    cosines themselves are rounding errors.
    """
    blocks = queries.float().split(_QUERIES)
    best = [block.new_zeros((len(block), 0)) for block in blocks]
    places = [
        torch.zeros((len(block), 0), dtype=torch.long, device=queries.device) for block in blocks
    ]
    first, center = 0, None
    memory = queries.new_empty(0, dtype=torch.float32)
    for part in pool:
        part = part.to(queries.device).float()
        center = part.mean(0) if center is None else center
        part = part - center
        for k, block in enumerate(blocks):
            # One table for all blocks: to get new memory of this size costs as much as to search.
            size = len(block) * len(part)
            memory = memory if len(memory) >= size else memory.new_empty(size)
            similar = torch.mm(block, part.T, out=memory[:size].view(len(block), len(part)))
            columns = largest(similar, min(depth, len(part)))
            values = torch.cat([best[k], similar.gather(1, columns)], 1)
            where = torch.cat([places[k], columns + first], 1)
            columns = largest(values, min(depth, values.shape[1]))
            best[k], places[k] = values.gather(1, columns), where.gather(1, columns)
        first += len(part)
    return torch.cat(places).cpu(), torch.cat(best).cpu()


def _exact(
    queries: Tensor, places: Tensor, take: Callable[[Sequence[int]], Tensor], depth: int
) -> tuple[Tensor, Tensor]:
    """(the best of some indices in the order of exact cosines, these cosines). Not a matrix
    product, whose last bits depend on its shape: a pair must have the same cosine in both
    directions.
    """
    places = places.sort(1).values
    vectors = take(places.flatten().tolist()).double().view(*places.shape, -1)
    cosines = (queries.to(vectors.device).double()[:, None] * vectors).sum(-1).cpu()
    order = cosines.argsort(dim=1, descending=True, stable=True)[:, :depth]
    return places.gather(1, order), cosines.gather(1, order)


def largest(values: Tensor, count: int) -> Tensor:
    """[q, count] columns of the largest values of each row in descending order, first column first
    for equals.

    The columns are in groups of 64, and only the groups with the largest maxima are searched: a
    value of another group has at least `count` values before it. One pass over the maxima is
    several times cheaper than a selection among all values.
    """
    rows, width = values.shape
    if width <= 4 * _GROUP * count:
        return _largest(values, count)
    groups = -(-width // _GROUP)
    if missing := groups * _GROUP - width:
        values = F.pad(values, (0, missing), value=float("-inf"))
    grouped = values.view(rows, groups, _GROUP)
    chosen = _largest(grouped.amax(2), count).sort(1).values
    inside = grouped.gather(1, chosen[:, :, None].expand(-1, -1, _GROUP)).flatten(1)
    columns = _largest(inside, count)
    return chosen.gather(1, columns // _GROUP) * _GROUP + columns % _GROUP


def _largest(values: Tensor, count: int) -> Tensor:
    top, columns = values.topk(count, dim=1)
    last = top[:, -1:]
    # topk chooses arbitrarily among equals, which matters if not all that equal the last one fit.
    tied = (values == last).sum(1) > (top == last).sum(1)
    columns[tied] = values[tied].argsort(dim=1, descending=True, stable=True)[:, :count]
    columns = columns.sort(1).values
    return columns.gather(1, values.gather(1, columns).argsort(dim=1, descending=True, stable=True))


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
    chunks = chain.from_iterable(rows.parts(places, _CHUNK) for _, rows, places in sources)
    rankings: dict[str, dict[int, list[str]]] = {language: {} for language in languages}
    take = partial(_take, [(rows, places) for _, rows, places in sources])
    nearest = nearest_candidates(vectors.to(device), chunks, take)[0].tolist()
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
