"""Which share of an arm's, a target's or an evaluation's rows had a context that was cut to the
recipe's length.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
#: Stands for the arm where all arms of a backbone read the same rows.
ALL_ARMS = "all"


def cut_contexts(
    info: Callable[[str], Mapping[str, Any] | None], expanded: Mapping[str, Any]
) -> list[Row]:
    """One row for each backbone, arm, use (intermediate, target, evaluation), task and language
    of which a row was cut: rows, cut, share (0…1). info: what encoding counted, by the
    fingerprint of its step. Steps that an earlier run did not name, and encodings that are not
    there or did not count cuts, have no row.
    """
    steps = expanded["steps"]
    known: dict[str, Mapping[str, Any]] = {}
    found: dict[tuple[str, str, str, str, str], dict[str, Mapping[str, Any]]] = {}
    for cell in expanded["cells"]:
        for arm, use, task, language, encoding in _encodings(cell, steps):
            if encoding not in known:
                known[encoding] = info(encoding) or {}
            found.setdefault((cell["backbone"], arm, use, task, language), {})[encoding] = known[
                encoding
            ]
    rows = []
    for key, infos in found.items():
        counted = [info for info in infos.values() if info.get("truncated") is not None]
        total, cut = (sum(int(info[name]) for info in counted) for name in ("rows", "truncated"))
        if cut:
            names = ("backbone", "arm", "use", "task", "language")
            rows.append(
                {
                    **dict(zip(names, key, strict=True)),
                    "rows": total,
                    "cut": cut,
                    "share": cut / total,
                }
            )
    return rows


def _encodings(
    cell: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str, str, str, str]]:
    """(arm, use, task, language, fingerprint) of every encoding that a cell trains on or is
    scored on.
    """
    for fingerprint in (one for one in cell["chain"] if one in steps):
        use = steps[fingerprint]["spec"]["stage"]
        for role, parent in steps[fingerprint]["parents"].items():
            if role.startswith("train:"):
                spec = steps[parent]["spec"]
                yield (
                    cell["arm"] if use == "intermediate" else ALL_ARMS,
                    use,
                    spec["task"],
                    spec["language"],
                    parent,
                )
    for evaluation, fingerprint in (
        (name, one) for name, one in cell["scores"].items() if one in steps
    ):
        for role, parent in steps[fingerprint]["parents"].items():
            if role.startswith("test:"):
                yield ALL_ARMS, "evaluation", evaluation, role.removeprefix("test:"), parent


def beside(effect: Mapping[str, Any], reference: str, cuts: Sequence[Row]) -> dict[str, float]:
    """The largest shares of rows with a cut context behind an effect: cut_arm and cut_reference
    of what the two arms were trained on, cut_rows of what was scored, over its languages.
    """

    def most(**keys: str) -> float:
        return max(
            (row["share"] for row in cuts if all(row[key] == value for key, value in keys.items())),
            default=0.0,
        )

    backbone = str(effect["backbone"])
    return {
        "cut_arm": most(backbone=backbone, use="intermediate", arm=str(effect["arm"])),
        "cut_reference": most(backbone=backbone, use="intermediate", arm=reference),
        "cut_rows": most(backbone=backbone, use="evaluation", task=str(effect["evaluation"])),
    }
