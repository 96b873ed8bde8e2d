"""Shortlists: the candidates of each query that can be among its nearest, while a search goes
through the pool.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: Columns per group in the search for large values.
_GROUP = 64
#: Slots of a query: this often the depth, and at least so many.
_SLOTS, _FEWEST = 8, 64
_LOWEST = float("-inf")


@dataclass(frozen=True)
class Rounding:
    """Errors of similarities: |computed - true| ≤ absolute + relative · |computed|."""

    absolute: float = 0.0
    relative: float = 0.0

    def limits(self, values: Tensor) -> Tensor:
        """The lowest computed similarity whose true value can reach the true value of each."""
        wider = 2 * (1 + 2 * self.relative)
        lower = values - wider * (self.absolute + self.relative * values.abs())
        return torch.where(values.isfinite(), lower, values)

    def with_other(self, other: "Rounding") -> "Rounding":
        """Errors that hold for similarities of both kinds."""
        return Rounding(max(self.absolute, other.absolute), max(self.relative, other.relative))


class Shortlist:
    """The candidates of some queries: all whose true similarity can be among the `depth` largest,
    given the rounding errors of the computed ones.

    Most of the pool is refused by one comparison of the maxima of groups. Candidates are appended
    in the order of their indices. Those that newer ones have displaced are removed when the slots
    of a query are full.
    """

    def __init__(self, queries: int, depth: int, device: torch.device) -> None:
        self._depth, self._seen = depth, 0
        self._slots = max(_FEWEST, _SLOTS * depth)
        self._values = torch.full((queries, self._slots), _LOWEST, device=device)
        self._places = torch.zeros(queries, self._slots, dtype=torch.long, device=device)
        self._counts = torch.zeros(queries, dtype=torch.long, device=device)
        #: The `depth`-th largest similarity when last computed, and the largest without a slot.
        self._last = torch.full((queries,), _LOWEST, device=device)
        self._lost = torch.full((queries,), _LOWEST, device=device)
        self._rounding = Rounding()

    def add(self, similar: Tensor, first: int, rounding: Rounding, turned: bool = False) -> None:
        """Adds the candidates among further vectors of the pool.

        Args:
            similar: [q, n] similarities, or [n, q] if turned.
            first: index of the first vector; higher than those so far.
            rounding: errors of these similarities.
            turned: whether the queries are columns.
        """
        self._rounding = self._rounding.with_other(rounding)
        if self._seen >= self._depth:
            if self._append(similar, first, turned):
                return
            self._remove()
            if self._append(similar, first, turned):
                return
        self._seen += similar.shape[0 if turned else 1]
        similar = (similar.T if turned else similar).float().contiguous()
        self._raise(torch.cat([self._values, similar], 1))
        self._remove()
        if not self._append(similar, first):
            self._crowd(similar, first)

    def close(self) -> tuple[Tensor, Tensor, Tensor]:
        """([q, n] indices in the pool, [q, n] marks of those that are candidates, [q] whether there
        were more than slots; these are the largest computed ones, lower index first for equals).
        """
        self._remove()
        width = int(self._counts.max()) if len(self._counts) else 0
        marks = torch.arange(width, device=self._counts.device) < self._counts[:, None]
        crowded = (self._lost >= self._limits()) & (self._lost > _LOWEST)
        return self._places[:, :width], marks, crowded

    def _limits(self) -> Tensor:
        return self._rounding.limits(self._last)

    def _append(self, similar: Tensor, first: int, turned: bool = False) -> bool:
        """Appends the candidates, if there are slots for all of them."""
        queries, columns, values = _at_least(similar, self._limits(), turned)
        new = queries.bincount(minlength=len(self._counts))
        counts = self._counts + new
        if int(counts.max()) > self._slots:
            return False
        slots = torch.arange(len(queries), device=queries.device)
        slots += (self._counts - new.cumsum(0) + new)[queries]
        self._values[queries, slots], self._places[queries, slots] = values, columns + first
        self._counts = counts
        return True

    def _raise(self, values: Tensor) -> None:
        """Raises the limits to those of all candidates [q, n]."""
        if values.shape[1] >= self._depth:
            last = values.topk(self._depth, dim=1).values[:, -1]
            self._last = torch.maximum(self._last, last)

    def _remove(self) -> None:
        """Removes displaced candidates; the others keep their order."""
        self._raise(self._values)
        keep = (self._values >= self._limits()[:, None]) & (self._values > _LOWEST)
        rows = keep.nonzero()[:, 0]
        slots = (keep.cumsum(1) - 1)[keep]
        values, places = self._values[keep], self._places[keep]
        self._values.fill_(_LOWEST)
        self._values[rows, slots], self._places[rows, slots] = values, places
        self._counts = keep.sum(1)

    def _crowd(self, similar: Tensor, first: int) -> None:
        """Fills the slots with the largest of all candidates."""
        places = torch.arange(first, first + similar.shape[1], device=similar.device)
        values = torch.cat([self._values, similar], 1)
        columns = largest(values, self._slots)
        places = torch.cat([self._places, places.expand(similar.shape)], 1)
        self._values, self._places = values.gather(1, columns), places.gather(1, columns)
        self._counts = (self._values > _LOWEST).sum(1)
        dropped = (values > _LOWEST).sum(1) > self._slots
        lost = torch.where(dropped, self._values[:, -1], _LOWEST)
        self._lost = torch.maximum(self._lost, lost)


def _at_least(
    similar: Tensor, limits: Tensor, turned: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """(queries, columns, values) of the similarities that reach the limit of their query, in the
    order of queries and columns.

    Columns are in groups, and only groups whose maximum reaches a limit are looked at.
    """
    size = similar.shape[0 if turned else 1]
    group = _GROUP if size % _GROUP == 0 else 1
    if turned:
        grouped = similar.view(size // group, group, similar.shape[1])
        queries, groups = (grouped.amax(1) >= limits).T.nonzero(as_tuple=True)
        inside = grouped[groups, :, queries]
    else:
        grouped = similar.view(len(similar), size // group, group)
        queries, groups = (grouped.amax(2) >= limits[:, None]).nonzero(as_tuple=True)
        inside = grouped[queries, groups]
    chosen, columns = (inside >= limits[queries, None]).nonzero(as_tuple=True)
    return queries[chosen], groups[chosen] * group + columns, inside[chosen, columns].float()


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
        values = F.pad(values, (0, missing), value=_LOWEST)
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
