"""The share of rows whose context was truncated to the recipe's length, per arm, target and
evaluation.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
#: The arm's name in a row that is the same for all arms of a backbone.
ALL_ARMS = "all"
KEYS = ("backbone", "arm", "use", "task", "language")


def cut_contexts(
    info: Callable[[str], Mapping[str, Any] | None], expanded: Mapping[str, Any]
) -> list[Row]:
    """One row per backbone, arm, use (intermediate, target, evaluation), task and language with
    truncated contexts: `rows`, `cut`, `share` (0…1).

    Steps that an earlier version did not name, and encodings that are missing or did not count
    truncated contexts, have no row. `info` returns what an encode step counted, by fingerprint.
    """
    steps = expanded["steps"]
    counts: dict[str, Mapping[str, Any]] = {}
    uses: dict[tuple[str, str, str, str, str], dict[str, Mapping[str, Any]]] = {}
    for cell in expanded["cells"]:
        for arm, use, task, language, encoding in _encodings(cell, steps):
            if encoding not in counts:
                counts[encoding] = info(encoding) or {}
            key = (cell["backbone"], arm, use, task, language)
            uses.setdefault(key, {})[encoding] = counts[encoding]
    rows: list[Row] = []
    for key, encodings in uses.items():
        counted = [count for count in encodings.values() if count.get("truncated") is not None]
        total, cut = (sum(int(count[name]) for count in counted) for name in ("rows", "truncated"))
        if cut:
            head = dict(zip(KEYS, key, strict=True))
            rows.append({**head, "rows": total, "cut": cut, "share": cut / total})
    return rows


def _encodings(
    cell: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str, str, str, str]]:
    """(arm, use, task, language, fingerprint) of every encoding that a cell reads."""
    for fingerprint in cell["chain"]:
        if fingerprint not in steps:
            continue
        use = steps[fingerprint]["spec"]["stage"]
        arm = cell["arm"] if use == "intermediate" else ALL_ARMS
        for role, parent in steps[fingerprint]["parents"].items():
            if role.startswith("train:"):
                spec = steps[parent]["spec"]
                yield arm, use, spec["task"], spec["language"], parent
    for evaluation, fingerprint in cell["scores"].items():
        if fingerprint not in steps:
            continue
        for role, parent in steps[fingerprint]["parents"].items():
            if role.startswith("test:"):
                yield ALL_ARMS, "evaluation", evaluation, role.removeprefix("test:"), parent


def cut_shares(effect: Mapping[str, Any], reference: str, cuts: Sequence[Row]) -> dict[str, float]:
    """The largest shares of truncated contexts behind an effect, over tasks and languages.

    `cut_arm` and `cut_reference`: rows that the two arms were trained on. `cut_rows`: rows that
    were scored.
    """

    def largest_share(**keys: str) -> float:
        return max(
            (row["share"] for row in cuts if all(row[key] == value for key, value in keys.items())),
            default=0.0,
        )

    backbone = str(effect["backbone"])
    arm, evaluation = str(effect["arm"]), str(effect["evaluation"])
    return {
        "cut_arm": largest_share(backbone=backbone, use="intermediate", arm=arm),
        "cut_reference": largest_share(backbone=backbone, use="intermediate", arm=reference),
        "cut_rows": largest_share(backbone=backbone, use="evaluation", task=evaluation),
    }
