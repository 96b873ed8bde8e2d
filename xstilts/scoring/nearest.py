"""Search of nearest neighbors by cosine: exact, and in chunks, so that a pool of a million fits.

Candidates are selected by a matrix product in low precision. Those that its rounding errors could
put among the nearest are then ordered by cosines in double precision.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from xstilts.scoring.shortlist import Rounding, Shortlist

#: Queries and vectors of the pool per matrix product: its table stays in the processor's cache.
_QUERIES, _POOL = 2_048, 2_048
#: Pairs per block of exact cosines.
_EXACT = 512
#: Capabilities of processors that multiply bfloat16 matrices at least twice as fast as float32.
_FAST_BFLOAT16 = ("avx512_bf16", "amx_bf16")

#: [q, ≤ depth] indices in the pool by descending cosine, and the cosines in double precision.
Neighbors = tuple[Tensor, Tensor]
#: [q, n] indices of candidates in the pool, and which of them count.
Candidates = tuple[Tensor, Tensor]


def nearest_candidates(
    queries: Tensor,
    pool: Callable[[], Iterable[Tensor]],
    take: Callable[[Sequence[int]], Tensor],
    depth: int,
) -> Neighbors:
    """[q, ≤ depth] indices in the pool by descending cosine, lower index first for equals, and the
    cosines in double precision.

    Memory: one chunk twice, similarities of 2,048 queries to 2,048 vectors, and a shortlist of each
    query. All vectors are unit vectors in single precision.

    Args:
        queries: [q, w].
        pool: starts to read the vectors in chunks [n, w]; called a second time for queries with too
            many candidates.
        take: indices → their vectors [n, w].
        depth: number of candidates.
    """
    dtype = fast_dtype(queries.device)
    lists = _shortlists(queries, pool(), depth, dtype)
    places, marks = _settled(lists, queries, pool, depth, dtype)
    rows = marks.nonzero()[:, 0]
    cosines = _cosines(queries.cpu(), rows, lambda some: take(some.tolist()), places[marks])
    return _ordered(places, marks, cosines, depth)


def mutual_neighbors(x: Tensor, y: Tensor, depth: int) -> tuple[Neighbors, Neighbors]:
    """The nearest neighbors of each vector of x in y, and of each vector of y in x, as
    `nearest_candidates` gives them. A pair has the same cosine in both directions.

    One matrix product serves both directions.

    Args:
        x: [n, w] unit vectors in single precision.
        y: [m, w] likewise.
        depth: number of neighbors.
    """
    dtype = fast_dtype(x.device)
    of_x, of_y = _mutual_shortlists(x, y, depth, dtype)
    places_x, marks_x = _settled(of_x, x, lambda: y.split(_POOL), depth, dtype)
    places_y, marks_y = _settled(of_y, y, lambda: x.split(_POOL), depth, dtype)
    pairs = torch.cat(
        [
            marks_x.nonzero()[:, 0] * len(y) + places_x[marks_x],
            places_y[marks_y] * len(y) + marks_y.nonzero()[:, 0],
        ]
    )
    # Each pair once, whichever side proposes it.
    pairs, inverse = pairs.unique(return_inverse=True)
    cosines = _cosines(x.cpu(), pairs // len(y), y.cpu().__getitem__, pairs % len(y))[inverse]
    ahead = int(marks_x.sum())
    return (
        _ordered(places_x, marks_x, cosines[:ahead], depth),
        _ordered(places_y, marks_y, cosines[ahead:], depth),
    )


def fast_dtype(device: torch.device) -> torch.dtype:
    """The precision of the first search: bfloat16 on processors that are built for it."""
    able = torch.cpu.get_capabilities()
    native = any(able.get(name) for name in _FAST_BFLOAT16) and torch.backends.mkldnn.enabled
    # On a GPU, products of bfloat16 may add up in bfloat16, where no useful bound holds.
    return torch.bfloat16 if device.type == "cpu" and native else torch.float32


def _settled(
    lists: Sequence[Shortlist],
    queries: Tensor,
    pool: Callable[[], Iterable[Tensor]],
    depth: int,
    dtype: torch.dtype,
) -> Candidates:
    """The candidates in the shortlists. Queries with more than fit are searched again in single
    precision, which leaves fewer.
    """
    places, marks, crowded = _listed(lists)
    if dtype == torch.float32 or not crowded.any():
        return places, marks
    again = _listed(_shortlists(queries[crowded], pool(), depth, torch.float32))
    width = max(places.shape[1], again[0].shape[1])
    places, marks = _widened(places, width), _widened(marks, width)
    places[crowded], marks[crowded] = (_widened(table, width) for table in again[:2])
    return places, marks


def _shortlists(
    queries: Tensor, pool: Iterable[Tensor], depth: int, dtype: torch.dtype
) -> list[Shortlist]:
    """The candidates of each block of queries.

    The mean of the first chunk is subtracted from the pool. This changes all cosines of a query by
    the same amount, so the order stays, and leaves the precision for the differences between
    candidates. If all cosines are near 1, as with vectors of causal models, the last digits of the
    cosines themselves are rounding errors.
    """
    blocks = queries.float().split(_QUERIES)
    lists = [Shortlist(len(block), depth, block.device) for block in blocks]
    center = _mean(blocks)
    lefts: list[_Factor] = []
    tables: list[Tensor] = []
    first, mean = 0, None
    memory = _Memory()
    for part in pool:
        if not len(part):
            continue
        part = part.to(queries.device).float()
        if mean is None:
            mean = _mean([part])
            lefts = [_Factor(block, center, mean, dtype, left=True) for block in blocks]
            tables = [left.table() for left in lefts]
        for piece in part.split(_POOL):
            right = _Factor(piece, mean, center, dtype, left=False)
            table = right.table()
            for left, own, its in zip(lefts, tables, lists, strict=True):
                its.add(memory.product(own, table), first, left.rounding(right))
            first += len(piece)
    return lists


def _mutual_shortlists(
    x: Tensor, y: Tensor, depth: int, dtype: torch.dtype
) -> tuple[list[Shortlist], list[Shortlist]]:
    """`_shortlists` in both directions."""
    blocks, parts = x.split(_QUERIES), y.split(_POOL)
    center_x, center_y = _mean(blocks), _mean(parts)
    of_x = [Shortlist(len(block), depth, x.device) for block in blocks]
    of_y = [Shortlist(len(part), depth, x.device) for part in parts]
    lefts = [_Factor(block, center_x, center_y, dtype, left=True) for block in blocks]
    memory = _Memory()
    for n, part in enumerate(parts):  # in blocks, so that no vectors are copied whole
        right = _Factor(part, center_y, center_x, dtype, left=False)
        table = right.table()
        for k, left in enumerate(lefts):
            similar, rounding = memory.product(left.table(), table), left.rounding(right)
            of_x[k].add(similar, n * _POOL, rounding)
            of_y[n].add(similar, k * _QUERIES, rounding, turned=True)
    return of_x, of_y


class _Factor:
    """One side of a matrix product of centered vectors.

    x·y - cx·cy = (x - cx)·(y - cy) + cx·(y - cy) + (x - cx)·cy, where cx and cy are the means: more
    columns make the product of centered vectors a table that is in order along both axes.
    """

    def __init__(
        self, vectors: Tensor, center: Tensor, other: Tensor, dtype: torch.dtype, left: bool
    ) -> None:
        self._vectors, self._center, self._dtype = vectors, center, dtype
        centered = vectors - center
        offsets = (centered.double() @ other.double())[:, None]
        columns = torch.cat([*_digits(offsets, dtype)], 1)
        ones = torch.ones_like(columns)
        self._columns = torch.cat([ones, columns] if left else [columns, ones], 1)
        self._reach, self._others = _longest(centered), _longest(other[None])
        rounded = centered.to(dtype).float()
        self._longest = _longest(rounded)
        self._lost = _longest(centered.sub_(rounded))
        self._offset = float(offsets.abs().max()) if len(offsets) else 0.0

    def table(self) -> Tensor:
        """[n, w + columns] in the precision of the product."""
        return torch.cat([(self._vectors - self._center).to(self._dtype), self._columns], 1)

    def rounding(self, right: "_Factor") -> Rounding:
        """Errors of the product with the right side.

        Centering rounds x - cx by at most u · |x - cx|, which changes its products with y - cy and
        with cy; likewise y - cy. Rounding the vectors to the precision of the product changes x·y
        by at most |x - x'|·|y| + |x'|·|y - y'|. The product of n columns in single precision is
        wrong by at most n · u · Σ|x·y| (Higham, Accuracy and Stability of Numerical Algorithms,
        3.1); twice that, because instructions for bfloat16 round sums of two products more than
        once. The last roundings are those of offsets in single precision, and of the results.
        """
        unit = torch.finfo(torch.float32).eps / 2
        lost = self._lost * (right._longest + right._lost) + self._longest * right._lost
        lost += unit * self._reach * (right._reach + self._others)
        lost += unit * right._reach * (self._reach + right._others)
        size = self._longest * right._longest + self._offset + right._offset
        columns = self._vectors.shape[1] + self._columns.shape[1] + 4
        sums = 2 * columns * unit * size
        return Rounding(lost + sums, torch.finfo(self._dtype).eps / 2)


class _Memory:
    """One piece of memory for all products: to get new memory of this size costs as much as to
    search.
    """

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def product(self, x: Tensor, y: Tensor) -> Tensor:
        """x · yᵀ; valid until the next product."""
        size = len(x) * len(y)
        if self._memory is None or len(self._memory) < size:
            self._memory = x.new_empty(size)
        return torch.mm(x, y.T, out=self._memory[:size].view(len(x), len(y)))


def _digits(values: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
    """Values in double precision as a sum of numbers in a lower one, right to 24 bits."""
    for _ in range(1 if dtype == torch.float32 else 3):
        digits = values.to(dtype)
        values = values - digits.double()
        yield digits


def _mean(blocks: Sequence[Tensor]) -> Tensor:
    sums = torch.stack([block.double().sum(0) for block in blocks])
    return (sums.sum(0) / max(1, sum(map(len, blocks)))).float()


def _longest(vectors: Tensor) -> float:
    return float(torch.linalg.vector_norm(vectors, dim=1).max()) if len(vectors) else 0.0


def _listed(lists: Sequence[Shortlist]) -> tuple[Tensor, Tensor, Tensor]:
    """([q, n] places, marks, [q] whether there were more candidates than fit), on the CPU."""
    closed = [each.close() for each in lists]
    width = max((places.shape[1] for places, _, _ in closed), default=0)
    places = torch.cat([_widened(places, width) for places, _, _ in closed]).cpu()
    marks = torch.cat([_widened(marks, width) for _, marks, _ in closed]).cpu()
    return places, marks, torch.cat([crowded for _, _, crowded in closed]).cpu()


def _widened(table: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(table, (0, width - table.shape[1]))


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
