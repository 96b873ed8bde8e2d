"""Queries against a pool of candidates: the 20 nearest by cosine, in chunks, so that a pool of a
million fits.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, chain

import torch
from torch import Tensor

from xstilts.scoring.gold import Gold
from xstilts.scoring.vectors import Vectors

#: As LAReQA's and Mewsli-X's official scorers look (utils_lareqa.py, utils_mewslix.py).
DEPTH = 20
_CHUNK, _QUERIES = 32_768, 1_024
#: Candidates beyond the depth that are ordered exactly, and queries for which that is done at a
#: time.
_SPARE, _EXACT = 20, 64


def nearest_candidates(
    queries: Tensor,
    pool: Iterable[Tensor],
    take: Callable[[Sequence[int]], Tensor],
    depth: int = DEPTH,
) -> tuple[Tensor, Tensor]:
    """[q, ≤ depth] places in the pool by falling cosine, of equals the lower place, and the cosines
    in double precision. queries [q, w]; pool: chunks [n, w] that follow one another; take: places →
    their vectors [n, w]. All are unit vectors in single precision. Held at a time: one chunk, and
    its similarities to 1,024 queries.

    The order is that of double precision: some more candidates than asked for are found in
    single precision, and these are ordered exactly.
    """
    near = _roughly_nearest(queries, pool, depth + _SPARE)
    blocks = zip(queries.split(_EXACT), near.split(_EXACT), strict=True)
    found = [_exact(block, places, take, depth) for block, places in blocks]
    return torch.cat([places for places, _ in found]), torch.cat([cosines for _, cosines in found])


def _roughly_nearest(queries: Tensor, pool: Iterable[Tensor], depth: int) -> Tensor:
    """[q, ≤ depth] places, on the CPU. The mean of the first chunk is subtracted from the pool:
    all cosines of a query change by the same amount, so the order stays, and single precision is
    spent on what tells candidates apart. Where all cosines are near 1, as with vectors of causal
    models, the last digits of the cosines themselves are rounding errors.
    """
    blocks = queries.float().split(_QUERIES)
    best = [block.new_zeros((len(block), 0)) for block in blocks]
    places = [
        torch.zeros((len(block), 0), dtype=torch.long, device=queries.device) for block in blocks
    ]
    first, center = 0, None
    for part in pool:
        part = part.to(queries.device).float()
        center = part.mean(0) if center is None else center
        part = part - center
        for k, block in enumerate(blocks):
            here = torch.arange(first, first + len(part), device=queries.device).expand(
                len(block), -1
            )
            values, where = torch.cat([best[k], block @ part.T], 1), torch.cat([places[k], here], 1)
            columns = largest(values, min(depth, values.shape[1]))
            best[k], places[k] = values.gather(1, columns), where.gather(1, columns)
        first += len(part)
    return torch.cat(places).cpu()


def _exact(
    queries: Tensor, places: Tensor, take: Callable[[Sequence[int]], Tensor], depth: int
) -> tuple[Tensor, Tensor]:
    """The best of these places in order of their exact cosines, and these. A matrix product's
    last bits depend on its shape: a pair has the same cosine in both directions only so.
    """
    places = places.sort(1).values
    vectors = take(places.flatten().tolist()).double().view(*places.shape, -1)
    cosines = (queries.to(vectors.device).double()[:, None] * vectors).sum(-1).cpu()
    order = cosines.argsort(dim=1, descending=True, stable=True)[:, :depth]
    return places.gather(1, order), cosines.gather(1, order)


def largest(values: Tensor, count: int) -> Tensor:
    """[q, count] columns of each row's largest values, falling; of equals the first."""
    top, columns = values.topk(count, dim=1)
    last = top[:, -1:]
    # topk chooses freely among equals, which matters where not all that equal the last one have
    # room.
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
    """language → row of a query → names of the nearest candidates of all languages and the pool.

    names: language or `pool` → name of each row of its records as a candidate. Rows of a language
    that are no queries are candidates. A name that several candidates share takes a place for each
    of them, and is one hit (the official average precision counts the first). ValueError where
    there is no candidate, or one has no name.
    """
    asked = {language: {gold.row for gold in golds} for language, golds in queries.items()}
    asking = [
        (language, place)
        for language, rows in languages.items()
        for place, row in enumerate(rows.rows)
        if row in asked[language]
    ]
    sources = [
        (
            language,
            rows,
            [place for place, row in enumerate(rows.rows) if row not in asked[language]],
        )
        for language, rows in languages.items()
    ]
    sources += [("pool", pool, list(range(len(pool))))] if pool is not None else []
    told = [names[source][rows.rows[place]] for source, rows, places in sources for place in places]
    if not told or not all(told):
        raise ValueError("a candidate has no name" if told else "there is no candidate to rank")
    if not asking:
        return {language: {} for language in languages}
    vectors = torch.cat([languages[language].take([place]) for language, place in asking])
    chunks = chain.from_iterable(rows.parts(places, _CHUNK) for _, rows, places in sources)
    found: dict[str, dict[int, list[str]]] = {language: {} for language in languages}
    take = partial(_take, [(rows, places) for _, rows, places in sources])
    nearest = nearest_candidates(vectors.to(device), chunks, take)[0].tolist()
    for (language, place), row in zip(asking, nearest, strict=True):
        found[language][languages[language].rows[place]] = [told[k] for k in row]
    return found


def _take(sources: Sequence[tuple[Vectors, Sequence[int]]], numbers: Sequence[int]) -> Tensor:
    """Vectors of candidates by their numbers over all sources."""
    starts = list(accumulate((len(places) for _, places in sources), initial=0))
    owners = [bisect_right(starts, number) - 1 for number in numbers]
    found = torch.empty(len(numbers), sources[0][0].table.shape[1])
    for owner in set(owners):
        rows, places = sources[owner]
        mine = [k for k, source in enumerate(owners) if source == owner]
        found[mine] = rows.take([places[numbers[k] - starts[owner]] for k in mine])
    return found


def in_all_languages(queries: Mapping[str, Sequence[Gold]]) -> dict[str, list[Gold]]:
    """The queries with the answers to their translations, those with the same `parallel` key
    (LAReQA). A query without a key has no translations and keeps its own answers (Mewsli-X).
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
