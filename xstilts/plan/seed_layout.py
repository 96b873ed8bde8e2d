"""Which seeds a contrast's pairs share, and so which formula its variance needs.

A pair is one cell of the arm and one of the reference at the same seeds (intermediate, target).
Pairs that share a seed are not independent. `layout` sorts them: independent units, a complete grid
of crossed seeds, or one pair.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

Pair = tuple[int | None, int | None]
Index = tuple[int, ...]

#: So few seeds leave one or two degrees of freedom: the rates are near the nominal ones, and not
#: quite at them.
FEW = 3
#: More levels than this on the shorter side of an incomplete grid are not searched subset by
#: subset.
MOST_SEARCHED = 12


@dataclass(frozen=True)
class Layout:
    """How pairs replicate. kind: `single` (one pair), `units` (independent units, each the mean
    of its pairs), `grid` (every intermediate seed with every target seed). members: indices of
    pairs, one tuple per unit or per intermediate seed (in the order of target seeds). shared:
    all pairs use one and the same cell of one side, whose seed variance the spread over pairs
    does not show. notes: what the reader must know, as the interval's label says it. dropped:
    pairs not used.
    """

    kind: Literal["single", "units", "grid"]
    members: tuple[Index, ...]
    shared: bool = False
    notes: tuple[str, ...] = ()
    dropped: int = 0

    @property
    def replicates(self) -> int:
        """Pairs that the estimate uses."""
        return sum(len(group) for group in self.members)

    @property
    def seeds(self) -> str:
        """How many seeds the estimate uses, of a grid `intermediate × target`."""
        return (
            f"{len(self.members)} × {len(self.members[0])}"
            if self.kind == "grid"
            else str(self.replicates)
        )


def layout(
    pairs: Sequence[Pair], arms: Sequence[Hashable], references: Sequence[Hashable]
) -> Layout:
    """pairs: the (intermediate, target) seeds of each pair, None where neither side has such a
    seed. arms, references: the seeds of the cell on either side of each pair. Raises ValueError
    when there are no pairs.
    """
    if not pairs:
        raise ValueError("a contrast needs at least one pair of cells")
    everything = tuple(range(len(pairs)))
    if len(pairs) == 1:
        return Layout("single", (everything,), notes=("conditional on the seed",))
    components = _components(pairs)
    if len(components) > 1:
        return Layout("units", tuple(components), notes=_few(len(components), "seeds"))
    firsts, seconds = (list(dict.fromkeys(pair[k] for pair in pairs)) for k in (0, 1))
    if len(firsts) == 1 or len(seconds) == 1:
        fixed = "intermediate" if len(firsts) == 1 else "target"
        shared = 1 in (
            len(set(arms)),
            len(set(references)),
        )  # with seeds: where neither has one, units are apart
        notes = [f"conditional on the {fixed} seed"]
        if shared:
            notes.append("seed variance of the only cell of one side taken from the other side")
        return Layout(
            "units",
            tuple((index,) for index in everything),
            shared,
            (*notes, *_few(len(pairs), "seeds")),
        )
    place = {pair: index for index, pair in enumerate(pairs)}
    rows, columns = _complete(firsts, seconds, place)
    if len(rows) > 1 and len(columns) > 1:
        members = tuple(tuple(place[i, t] for t in columns) for i in rows)
        dropped = len(pairs) - len(rows) * len(columns)
        notes = (
            [f"complete {len(rows)} × {len(columns)} part of {len(pairs)} cells"] if dropped else []
        )
        kind = "intermediate" if len(rows) < len(columns) else "target"
        notes += _few(min(len(rows), len(columns)), f"{kind} seeds")
        return Layout("grid", members, notes=tuple(notes), dropped=dropped)
    chosen = _matching(firsts, place)
    return Layout(
        "units" if len(chosen) > 1 else "single",
        tuple((index,) for index in chosen),
        dropped=len(pairs) - len(chosen),
        notes=(
            f"{len(chosen)} cells without a common seed, of {len(pairs)}",
            *_few(len(chosen), "seeds"),
        ),
    )


def _few(count: int, what: str) -> tuple[str, ...]:
    return (f"approximate: only {count} {what}",) if 1 < count <= FEW else ()


def _components(pairs: Sequence[Pair]) -> list[Index]:
    """Indices of pairs that are linked by common seeds, as the pairs come."""
    parent: dict[tuple[int, int | None], tuple[int, int | None]] = {}

    def root(node: tuple[int, int | None]) -> tuple[int, int | None]:
        parent.setdefault(node, node)
        while parent[node] != node:
            node = parent[node]
        return node

    nodes = [[(side, seed) for side, seed in enumerate(pair) if seed is not None] for pair in pairs]
    for links in nodes:
        for one, other in pairwise(links):
            parent[root(other)] = root(one)
    groups: dict[object, list[int]] = {}
    for index, links in enumerate(nodes):
        groups.setdefault(root(links[0]) if links else index, []).append(index)
    return [tuple(group) for group in groups.values()]


def _complete(
    firsts: Sequence[int | None], seconds: Sequence[int | None], place: dict[Pair, int]
) -> tuple[list[int | None], list[int | None]]:
    """The levels of the complete grid with the most cells; of equal ones that with the most even
    sides.
    """
    flip = len(firsts) < len(seconds)
    long, short = (seconds, firsts) if flip else (firsts, seconds)

    def there(a: int | None, b: int | None) -> bool:
        return ((b, a) if flip else (a, b)) in place

    best: tuple[tuple[int, int], list[int | None], list[int | None]] = ((0, 0), [], [])
    sizes = (
        range(len(short), 1, -1) if len(short) <= MOST_SEARCHED else [len(short), len(short) - 1, 2]
    )
    for size in sizes:
        for kept in combinations(short, size):
            rows = [a for a in long if all(there(a, b) for b in kept)]
            score = (len(rows) * size, min(len(rows), size))
            if len(rows) > 1 and score > best[0]:
                best = (score, rows, list(kept))
    return (best[2], best[1]) if flip else (best[1], best[2])


def _matching(firsts: Sequence[int | None], place: dict[Pair, int]) -> list[int]:
    """Indices of as many pairs as possible of which no two share a seed (augmenting paths)."""
    taken: dict[int | None, int | None] = {}  # target seed → intermediate seed

    def augment(first: int | None, seen: set[int | None]) -> bool:
        for i, t in place:
            if i == first and t not in seen:
                seen.add(t)
                if t not in taken or augment(taken[t], seen):
                    taken[t] = first
                    return True
        return False

    for first in firsts:
        augment(first, set())
    return sorted(place[i, t] for t, i in taken.items())
