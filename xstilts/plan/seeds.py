"""Warnings about what a plan's seeds cannot show, before anything is computed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xstilts.plan.seed_layout import WITHOUT_SEED, Pair, layout

#: From this number of seeds on, each kind of interval has the error rates shown in docs/methods.md.
RECOMMENDED_SEEDS = 5


def seed_warnings(
    cells: Sequence[Mapping[str, Any]], contrasts: Sequence[Mapping[str, Any]]
) -> list[str]:
    """One line per limitation, with the contrasts that it affects.

    cells, contrasts: those of an expansion.
    """
    seeds: dict[tuple[str, str, str], list[Pair]] = {}
    for cell in cells:
        key = (cell["backbone"], cell["trained_target"], cell["arm"])
        seeds.setdefault(key, []).append((cell["seed_intermediate"], cell["seed_target"]))
    affected: dict[str, list[str]] = {}
    for contrast in contrasts:
        lines = {
            line
            for backbone, target, arm in seeds
            if arm == contrast["arm"] and contrast.get("backbone") in (None, backbone)
            if (
                reference := (
                    contrast.get("reference_backbone") or backbone,
                    target,
                    contrast["reference"],
                )
            )
            in seeds
            for line in _lines(seeds[backbone, target, arm], seeds[reference])
        }
        for line in sorted(lines):
            affected.setdefault(line, []).append(contrast["name"])
    return [f"{line} ({_names(names)})" for line, names in affected.items()]


def _lines(arms: Sequence[Pair], references: Sequence[Pair]) -> Iterator[str]:
    pairs = [
        (arm, reference) for arm in arms for reference in references
        if all(a is None or b is None or a == b for a, b in zip(arm, reference, strict=True))
    ]  # fmt: skip
    if not pairs:
        return
    seeds = [
        tuple(b if a is None else a for a, b in zip(arm, reference, strict=True))
        for arm, reference in pairs
    ]
    shape = layout(seeds, *zip(*pairs, strict=True))  # type: ignore[arg-type]
    if WITHOUT_SEED in shape.notes:
        return
    if shape.kind == "single":
        yield (
            "one seed: intervals are conditional on this seed and there is no test; set "
            f"seeds: {RECOMMENDED_SEEDS}"
        )
        return
    if shape.shared:
        fewer, more = sorted((len(set(arms)), len(set(references))))
        yield (
            f"{fewer} cell on one side, {more} on the other: the seed variance of the single cell "
            f"is estimated from the other side; set seeds: {more} for equal numbers"
        )
    for note in shape.notes:
        if "seed variance" not in note:
            enough = max(RECOMMENDED_SEEDS, shape.replicates)
            yield f"intervals will be {note}; set seeds: {enough} for independent pairs"


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} contrasts, for example {names[0]}"
