"""Which seeds the pairs of a contrast share, which decides the variance formula.

A pair is one cell of the arm and one of the reference with the same seeds (intermediate, target).
Pairs that share a seed are not independent. `layout` classifies them as independent units, a
complete grid of crossed seeds, or a single pair.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

Pair = tuple[int | None, int | None]
Index = tuple[int, ...]

#: Up to this number of seeds leaves one or two degrees of freedom: error rates are close to the
#: nominal ones, but not equal to them.
FEW_SEEDS = 3
#: An incomplete grid with more levels than this on its shorter side is not searched exhaustively.
MAX_SEARCHED_LEVELS = 12
#: Note of an interval between two models that are not trained. It covers examples, and nothing that
#: other seeds would change.
WITHOUT_SEED = "no seed in either model"


@dataclass(frozen=True)
class SeedLayout:
    """How pairs replicate.

    Attributes:
        kind: `single` (one pair), `units` (independent units, each the mean of its pairs) or
            `grid` (every intermediate seed with every target seed).
        members: Indices of pairs, one tuple per unit or per intermediate seed (in the order of
            target seeds).
        shared: Whether all pairs use the same cell on one side. The spread over pairs does not
            show the seed variance of that cell.
        notes: Limitations, worded for the label of the interval.
        dropped: Number of unused pairs.
    """

    kind: Literal["single", "units", "grid"]
    members: tuple[Index, ...]
    shared: bool = False
    notes: tuple[str, ...] = ()
    dropped: int = 0

    @property
    def replicates(self) -> int:
        """Number of pairs that the estimate uses."""
        return sum(len(group) for group in self.members)

    @property
    def seeds(self) -> str:
        """Number of seeds that the estimate uses; `intermediate × target` for a grid."""
        return (
            f"{len(self.members)} × {len(self.members[0])}"
            if self.kind == "grid"
            else str(self.replicates)
        )


def layout(
    pairs: Sequence[Pair], arms: Sequence[Hashable], references: Sequence[Hashable]
) -> SeedLayout:
    """Classifies the pairs of a contrast.

    pairs: (intermediate, target) seeds of each pair, None where neither side has such a seed.
    arms, references: the seeds of the two cells of each pair. Raises ValueError without pairs.
    """
    if not pairs:
        raise ValueError("a contrast needs at least one pair of cells")
    everything = tuple(range(len(pairs)))
    if len(pairs) == 1:
        seeded = any(seed is not None for seed in pairs[0])
        note = "conditional on the seed" if seeded else WITHOUT_SEED
        return SeedLayout("single", (everything,), notes=(note,))
    components = _components(pairs)
    if len(components) > 1:
        return SeedLayout("units", tuple(components), notes=_few(len(components), "seeds"))
    firsts, seconds = (list(dict.fromkeys(pair[k] for pair in pairs)) for k in (0, 1))
    if len(firsts) == 1 or len(seconds) == 1:
        fixed = "intermediate" if len(firsts) == 1 else "target"
        # Cells without any seed are separate components and never get here.
        shared = 1 in (len(set(arms)), len(set(references)))
        notes = [f"conditional on the {fixed} seed"]
        if shared:
            notes.append("seed variance of the only cell of one side taken from the other side")
        return SeedLayout(
            "units",
            tuple((index,) for index in everything),
            shared,
            (*notes, *_few(len(pairs), "seeds")),
        )
    index_of = {pair: index for index, pair in enumerate(pairs)}
    rows, columns = _complete(firsts, seconds, index_of)
    if len(rows) > 1 and len(columns) > 1:
        members = tuple(tuple(index_of[i, t] for t in columns) for i in rows)
        dropped = len(pairs) - len(rows) * len(columns)
        notes = (
            [f"complete {len(rows)} × {len(columns)} part of {len(pairs)} cells"] if dropped else []
        )
        kind = "intermediate" if len(rows) < len(columns) else "target"
        notes += _few(min(len(rows), len(columns)), f"{kind} seeds")
        return SeedLayout("grid", members, notes=tuple(notes), dropped=dropped)
    chosen = _matching(firsts, index_of)
    return SeedLayout(
        "units" if len(chosen) > 1 else "single",
        tuple((index,) for index in chosen),
        dropped=len(pairs) - len(chosen),
        notes=(
            f"{len(chosen)} cells without a common seed, of {len(pairs)}",
            *_few(len(chosen), "seeds"),
        ),
    )


def _few(count: int, what: str) -> tuple[str, ...]:
    return (f"approximate: only {count} {what}",) if 1 < count <= FEW_SEEDS else ()


def _components(pairs: Sequence[Pair]) -> list[Index]:
    """Indices of pairs that common seeds link, one tuple per connected component."""
    parent: dict[tuple[int, int | None], tuple[int, int | None]] = {}

    def root(node: tuple[int, int | None]) -> tuple[int, int | None]:
        parent.setdefault(node, node)
        while parent[node] != node:
            node = parent[node]
        return node

    nodes = [[(side, seed) for side, seed in enumerate(pair) if seed is not None] for pair in pairs]
    for links in nodes:
        for left, right in pairwise(links):
            parent[root(right)] = root(left)
    groups: dict[object, list[int]] = {}
    for index, links in enumerate(nodes):
        groups.setdefault(root(links[0]) if links else index, []).append(index)
    return [tuple(group) for group in groups.values()]


def _complete(
    firsts: Sequence[int | None], seconds: Sequence[int | None], index_of: dict[Pair, int]
) -> tuple[list[int | None], list[int | None]]:
    """The levels of the largest complete grid; among equal sizes, of the most even one."""
    flip = len(firsts) < len(seconds)
    long, short = (seconds, firsts) if flip else (firsts, seconds)

    def exists(a: int | None, b: int | None) -> bool:
        return ((b, a) if flip else (a, b)) in index_of

    best: tuple[tuple[int, int], list[int | None], list[int | None]] = ((0, 0), [], [])
    exhaustive = len(short) <= MAX_SEARCHED_LEVELS
    sizes = range(len(short), 1, -1) if exhaustive else [len(short), len(short) - 1, 2]
    for size in sizes:
        for kept in combinations(short, size):
            rows = [a for a in long if all(exists(a, b) for b in kept)]
            score = (len(rows) * size, min(len(rows), size))
            if len(rows) > 1 and score > best[0]:
                best = (score, rows, list(kept))
    return (best[2], best[1]) if flip else (best[1], best[2])


def _matching(firsts: Sequence[int | None], index_of: dict[Pair, int]) -> list[int]:
    """Indices of a maximum set of pairs without a common seed (augmenting paths)."""
    taken: dict[int | None, int | None] = {}  # target seed → intermediate seed

    def augment(first: int | None, seen: set[int | None]) -> bool:
        for i, t in index_of:
            if i == first and t not in seen:
                seen.add(t)
                if t not in taken or augment(taken[t], seen):
                    taken[t] = first
                    return True
        return False

    for first in firsts:
        augment(first, set())
    return sorted(index_of[i, t] for t, i in taken.items())
