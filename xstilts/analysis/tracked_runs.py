"""The cells of a run as experiment trackers show them: parameters, tags, metrics by update, scores.

One cell of the plan is one run of the tracker.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from xstilts.analysis.estimands import AVERAGE

#: Curves of a training: name → points of (update, seconds since its start, value).
Curves = Mapping[str, Sequence[tuple[int, float, float]]]
#: Identify a cell in a table of scores.
CELL = ("backbone", "arm", "seed_intermediate", "seed_target", "trained_target")


@dataclass(frozen=True)
class TrackedRun:
    """One cell.

    name: the cell's id. curves: `<stage>/<curve>` → points of (update, seconds, value). scores:
    `score/<evaluation>/<metric>/<language>` → points. headline: the official averages among them.
    """

    name: str
    parameters: Mapping[str, str | int | float]
    tags: Mapping[str, str]
    curves: Curves = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    headline: Mapping[str, float] = field(default_factory=dict)


def tracked_runs(
    expanded: Mapping[str, Any],
    results: pd.DataFrame,
    curves: Callable[[str], Curves],
    tags: Mapping[str, str],
) -> Iterator[TrackedRun]:
    """The cells that have a finished training or a score, one by one: curves can be large.

    Args:
        expanded: the plan's expansion as JSON.
        results: the table of scores.
        curves: fingerprint of a training → its curves, none if it is not finished.
        tags: of every cell.
    """
    scores = _scores(results)
    for cell in expanded["cells"]:
        every, headline = scores.get(tuple(cell[key] for key in CELL), ({}, {}))
        of_cell = {
            f"{stage}/{name}": points
            for stage, fingerprint in _stages(expanded, cell).items()
            for name, points in curves(fingerprint).items()
        }
        if not every and not of_cell:
            continue
        yield TrackedRun(
            cell["id"],
            _parameters(expanded, cell),
            {**tags, **_manifests(expanded, cell)},
            of_cell,
            every,
            headline,
        )


def _scores(results: pd.DataFrame) -> dict[tuple[Any, ...], tuple[dict[str, float], ...]]:
    """Cell → (its scores with the selected weights, the official averages among them)."""
    rows = results[results["checkpoint"] == "selected"]
    official = results.groupby("evaluation", sort=False)["metric"].first().to_dict()
    scores: dict[tuple[Any, ...], tuple[dict[str, float], ...]] = {}
    for row in rows.to_dict("records"):
        key = tuple(None if pd.isna(row[name]) else row[name] for name in CELL)
        every, headline = scores.setdefault(key, ({}, {}))
        name = f"score/{row['evaluation']}/{row['metric']}/{row['language']}"
        every[name] = float(row["value"])
        if row["language"] == AVERAGE and row["metric"] == official[row["evaluation"]]:
            headline[name] = float(row["value"])
    return scores


def _stages(expanded: Mapping[str, Any], cell: Mapping[str, Any]) -> dict[str, str]:
    """The cell's trainings: stage → fingerprint. If a target has several, one after another (SIQA,
    then COPA), `<stage>-<task>`.
    """
    specs = {fingerprint: expanded["steps"][fingerprint]["spec"] for fingerprint in cell["chain"]}
    count = Counter(spec["stage"] for spec in specs.values())
    return {
        spec["stage"] if count[spec["stage"]] == 1 else f"{spec['stage']}-{spec['name']}": each
        for each, spec in specs.items()
    }


def _parameters(
    expanded: Mapping[str, Any], cell: Mapping[str, Any]
) -> dict[str, str | int | float]:
    """The cell's names and seeds, and the recipe of each of its trainings."""
    given = {key: cell[key] for key in CELL if cell[key] is not None}
    for stage, fingerprint in _stages(expanded, cell).items():
        spec = expanded["steps"][fingerprint]["spec"]
        of_step = {"task": spec["name"], "tuning": spec["tuning"]["mode"], **spec["recipe"]}
        given |= {
            f"{stage}.{key}": value
            for key, value in of_step.items()
            if isinstance(value, str | int | float)
        }
    return given


def _manifests(expanded: Mapping[str, Any], cell: Mapping[str, Any]) -> dict[str, str]:
    """Keys of the manifests of the cell's steps in the store."""
    trained = {
        f"manifest.{stage}": ("finetune", fingerprint)
        for stage, fingerprint in _stages(expanded, cell).items()
    }
    scored = {
        f"manifest.{evaluation}": ("score", fingerprint)
        for evaluation, fingerprint in cell["scores"].items()
    }
    return {
        name: f"steps/{kind}/{fingerprint}/manifest.json"
        for name, (kind, fingerprint) in (trained | scored).items()
    }
