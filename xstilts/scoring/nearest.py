"""Search of nearest neighbors by cosine: exact, and in chunks, so that a pool of a million fits.

Candidates are selected by a matrix product in single precision. Those that rounding errors could
put among the nearest are then ordered by cosines in double precision.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: Queries and vectors of the pool per matrix product: its table stays in the processor's cache.
_QUERIES, _POOL = 2_048, 2_048
#: Most candidates beyond the depth that are also ordered exactly, and pairs per block of that.
_SPARE, _EXACT = 20, 512
#: Times the depth: further similarities of a query that are merged one by one.
_FEW = 4
#: Columns per group in the search for the largest values.
_GROUP = 64

#: [q, ≤ depth] indices in the pool by descending cosine, and the cosines in double precision.
Neighbors = tuple[Tensor, Tensor]


def nearest_candidates(
    queries: Tensor, pool: Iterable[Tensor], take: Callable[[Sequence[int]], Tensor], depth: int
) -> Neighbors:
    """[q, ≤ depth] indices in the pool by descending cosine, lower index first for equals, and the
    cosines in double precision.

    Memory: one chunk twice, and similarities of 2,048 queries to 2,048 vectors. All vectors are
    unit vectors in single precision.

    Args:
        queries: [q, w].
        pool: the vectors in chunks [n, w].
        take: indices → their vectors [n, w].
        depth: number of candidates.
    """
    near, error = _roughly_nearest(queries, pool, depth + _SPARE)
    marks = _possible(near.values, depth, error)
    candidates = near.places[marks]
    rows = marks.nonzero()[:, 0]
    cosines = _cosines(queries.cpu(), rows, lambda some: take(some.tolist()), candidates)
    return _ordered(near.places, marks, cosines, depth)


def mutual_neighbors(x: Tensor, y: Tensor, depth: int) -> tuple[Neighbors, Neighbors]:
    """The nearest neighbors of each vector of x in y, and of each vector of y in x, as
    `nearest_candidates` gives them. A pair has the same cosine in both directions.

    One matrix product serves both directions.

    Args:
        x: [n, w] unit vectors in single precision.
        y: [m, w] likewise.
        depth: number of neighbors.
    """
    of_x, of_y, error = _roughly_mutual(x, y, depth + _SPARE)
    forward, backward = (_possible(near.values, depth, error) for near in (of_x, of_y))
    pairs = torch.cat(
        [
            forward.nonzero()[:, 0] * len(y) + of_x.places[forward],
            of_y.places[backward] * len(y) + backward.nonzero()[:, 0],
        ]
    )
    # Each pair once, whichever side proposes it.
    pairs, inverse = pairs.unique(return_inverse=True)
    cosines = _cosines(x.cpu(), pairs // len(y), y.cpu().__getitem__, pairs % len(y))[inverse]
    ahead = int(forward.sum())
    return (
        _ordered(of_x.places, forward, cosines[:ahead], depth),
        _ordered(of_y.places, backward, cosines[ahead:], depth),
    )


@dataclass
class _Best:
    """The largest similarities so far of each query, in descending order, and their indices in the
    pool, lower index first for equals: [q, ≤ depth] each.
    """

    values: Tensor
    places: Tensor

    @staticmethod
    def empty(queries: int, device: torch.device) -> "_Best":
        return _Best(
            torch.empty(queries, 0, device=device),
            torch.empty(queries, 0, dtype=torch.long, device=device),
        )

    @staticmethod
    def joined(parts: Sequence["_Best"]) -> "_Best":
        """Of all queries, on the CPU."""
        return _Best(
            torch.cat([part.values for part in parts]).cpu(),
            torch.cat([part.places for part in parts]).cpu(),
        )

    def add(self, similar: Tensor, first: int, depth: int, turned: bool = False) -> None:
        """Merges similarities to further vectors.

        Once there are enough, only those above the last of the best of their query are looked at.

        Args:
            similar: [q, n], or [n, q] if turned.
            first: index of the first vector; higher than those so far.
            depth: how many are kept.
            turned: whether the queries are columns.
        """
        if self.values.shape[1] == depth:
            limits = self.values[:, -1]
            over = (similar > limits).T.contiguous() if turned else similar > limits[:, None]
            queries, places = over.nonzero(as_tuple=True)
            counts = queries.bincount(minlength=len(limits))
            if (width := int(counts.max())) <= _FEW * depth:
                if width:
                    values = similar[places, queries] if turned else similar[queries, places]
                    starts = counts.cumsum(0) - counts
                    slots = torch.arange(len(queries), device=queries.device) - starts[queries]
                    table = similar.new_full((len(limits), width), float("-inf"))
                    indices = torch.zeros_like(table, dtype=torch.long)
                    table[queries, slots], indices[queries, slots] = values, places + first
                    self._merge(table, indices, depth)
                return
        similar = similar.T.contiguous() if turned else similar
        columns = largest(similar, min(depth, similar.shape[1]))
        self._merge(similar.gather(1, columns), columns + first, depth)

    def _merge(self, values: Tensor, places: Tensor, depth: int) -> None:
        values = torch.cat([self.values, values], 1)
        columns = largest(values, min(depth, values.shape[1]))
        places = torch.cat([self.places, places], 1)
        self.values, self.places = values.gather(1, columns), places.gather(1, columns)


def _roughly_nearest(queries: Tensor, pool: Iterable[Tensor], depth: int) -> tuple[_Best, float]:
    """(the best in single precision, their largest rounding error), on the CPU.

    The mean of the first chunk is subtracted from the pool. This changes all cosines of a query by
    the same amount, so the order stays, and leaves the precision for the differences between
    candidates. If all cosines are near 1, as with vectors of causal models, the last digits of the
    cosines themselves are rounding errors.
    """
    blocks = queries.float().split(_QUERIES)
    best = [_Best.empty(len(block), block.device) for block in blocks]
    first, center, longest = 0, None, 0.0
    memory = queries.new_empty(0, dtype=torch.float32)
    for part in pool:
        part = part.to(queries.device).float()
        center = part.mean(0) if center is None else center
        part = part - center
        longest = max(longest, _longest(part))
        for piece in part.split(_POOL):
            for block, its in zip(blocks, best, strict=True):
                memory, similar = _product(memory, block, piece)
                its.add(similar, first, depth)
            first += len(piece)
    return _Best.joined(best), _rounding(queries.shape[1], longest)


def _roughly_mutual(x: Tensor, y: Tensor, depth: int) -> tuple[_Best, _Best, float]:
    """`_roughly_nearest` in both directions.

    x·y - cx·cy = (x - cx)·(y - cy) + cx·(y - cy) + (x - cx)·cy, where cx and cy are the means: two
    more columns make the product of centered vectors a table that is in order along both axes.
    """
    blocks, parts = x.split(_QUERIES), y.split(_POOL)
    center_x, center_y = _mean(blocks), _mean(parts)
    offsets_x = [_offsets(block, center_x, center_y) for block in blocks]
    offsets_y = [_offsets(part, center_y, center_x) for part in parts]
    of_x = [_Best.empty(len(block), x.device) for block in blocks]
    of_y = [_Best.empty(len(part), x.device) for part in parts]
    memory = x.new_empty(0)
    for n, part in enumerate(parts):  # in blocks, so that no vectors are copied whole
        right = torch.cat([part - center_y, offsets_y[n], torch.ones_like(offsets_y[n])], 1)
        for k, block in enumerate(blocks):
            left = torch.cat([block - center_x, torch.ones_like(offsets_x[k]), offsets_x[k]], 1)
            memory, similar = _product(memory, left, right)
            of_x[k].add(similar, n * _POOL, depth)
            of_y[n].add(similar, k * _QUERIES, depth, turned=True)
    size = max(_longest(block - center_x) for block in blocks)
    size *= max(_longest(part - center_y) for part in parts)
    size += sum(float(torch.cat(each).abs().max()) for each in (offsets_x, offsets_y))
    return _Best.joined(of_x), _Best.joined(of_y), _rounding(x.shape[1] + 2, size)


def _mean(blocks: Sequence[Tensor]) -> Tensor:
    sums = torch.stack([block.double().sum(0) for block in blocks])
    return (sums.sum(0) / sum(map(len, blocks))).float()


def _offsets(vectors: Tensor, center: Tensor, other: Tensor) -> Tensor:
    """[n, 1] products of centered vectors with the other center, rounded once."""
    return ((vectors - center).double() @ other.double())[:, None].float()


def _product(memory: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(memory, x · yᵀ in it). One piece of memory for all products: to get new memory of this size
    costs as much as to search.
    """
    size = len(x) * len(y)
    if len(memory) < size:
        memory = memory.new_empty(size)
    return memory, torch.mm(x, y.T, out=memory[:size].view(len(x), len(y)))


def _longest(vectors: Tensor) -> float:
    return float(torch.linalg.vector_norm(vectors, dim=1).max()) if len(vectors) else 0.0


def _rounding(width: int, size: float) -> float:
    """The largest error of a dot product of this width with Σ|x·y| ≤ size: width · u · size,
    u = 2⁻²⁴ (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), and four roundings of
    the vectors.
    """
    return (width + 4) * torch.finfo(torch.float32).eps / 2 * size


def _possible(similar: Tensor, depth: int, error: float) -> Tensor:
    """[q, n] marks of the candidates that can be among the `depth` nearest, given similarities in
    descending order, each with at most this error.
    """
    depth = min(depth, similar.shape[1])
    marks = similar >= similar[:, depth - 1 : depth] - 2 * error
    marks[:, :depth] = True
    return marks


def _cosines(
    x: Tensor, rows: Tensor, take: Callable[[Tensor], Tensor], candidates: Tensor
) -> Tensor:
    """[pairs] cosines of rows of x with candidates in double precision, on the CPU. Not a matrix
    product, whose last bits depend on its shape: equal vectors must have equal cosines.
    """
    cosines = [
        (x[of_x].double() * take(of_y).cpu().double()).sum(1)
        for of_x, of_y in zip(rows.split(_EXACT), candidates.split(_EXACT), strict=True)
    ]
    return torch.cat(cosines) if cosines else torch.empty(0, dtype=torch.double)


def _ordered(places: Tensor, marks: Tensor, cosines: Tensor, depth: int) -> Neighbors:
    """The marked places [q, n] of each query by cosine, of which there is one for each mark."""
    table = torch.full(places.shape, float("-inf"), dtype=torch.double)
    table[marks] = cosines
    order = places.argsort(dim=1)
    places, table = places.gather(1, order), table.gather(1, order)
    order = table.argsort(dim=1, descending=True, stable=True)[:, :depth]
    return places.gather(1, order), table.gather(1, order)


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
