"""What a plan's seeds cannot tell, said before anything is computed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xstilts.plan.seed_layout import Pair, layout

#: Of so many seeds each kind of interval has the rates that docs/methods.md shows.
ENOUGH = 5


def seed_warnings(
    cells: Sequence[Mapping[str, Any]], contrasts: Sequence[Mapping[str, Any]]
) -> list[str]:
    """One line for each way in which contrasts fall short, with their number. cells, contrasts:
    an expansion's.
    """
    held: dict[tuple[str, str, str], list[Pair]] = {}
    for cell in cells:
        key = (cell["backbone"], cell["trained_target"], cell["arm"])
        held.setdefault(key, []).append((cell["seed_intermediate"], cell["seed_target"]))
    counts: dict[str, list[str]] = {}
    for contrast in contrasts:
        lines = {
            line
            for backbone, target, arm in held
            if arm == contrast["arm"] and (backbone, target, contrast["reference"]) in held
            for line in _lines(
                held[backbone, target, arm], held[backbone, target, contrast["reference"]]
            )
        }
        for line in sorted(lines):
            counts.setdefault(line, []).append(contrast["name"])
    return [f"{line} ({_names(names)})" for line, names in counts.items()]


def _lines(arms: Sequence[Pair], references: Sequence[Pair]) -> Iterator[str]:
    pairs = [
        (arm, other) for arm in arms for other in references
        if all(a is None or b is None or a == b for a, b in zip(arm, other, strict=True))
    ]  # fmt: skip
    if not pairs:
        return
    seeds = [
        tuple(b if a is None else a for a, b in zip(arm, other, strict=True))
        for arm, other in pairs
    ]
    shape = layout(seeds, *zip(*pairs, strict=True))  # type: ignore[arg-type]
    if shape.kind == "single":
        yield f"one seed: intervals are conditional on it, and there is no test; seeds: {ENOUGH} gives pairs"
        return
    if shape.shared:
        fewer, more = sorted((len(set(arms)), len(set(references))))
        yield (
            f"{fewer} cell on one side against {more} on the other: its own seed variance can only be taken from the other "
            f"side; seeds: {more} gives both sides as many"
        )
    for note in shape.notes:
        if "seed variance" not in note:
            yield f"intervals will be {note}; seeds: {max(ENOUGH, shape.replicates)} gives independent pairs"


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} contrasts, such as {names[0]}"
