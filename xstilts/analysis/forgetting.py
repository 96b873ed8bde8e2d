"""Forgetting: what training on a target changes in an arm's score on its own intermediate task."""

from collections.abc import Iterable, Mapping
from statistics import fmean, stdev
from typing import Any

#: What a line of the table is about. Seeds are averaged.
LINE = ("backbone", "arm", "task", "translated", "objective", "metric", "target")


def forgetting(intermediates: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per backbone, arm, task, metric and target: the scores before and after the target,
    in points, and their difference, averaged over intermediate seeds.

    A seed counts if it has both scores; its score after the target is the mean over target seeds.
    `translated`: the languages of a task that was trained in translations, else None.
    `standard_error`: of the difference over intermediate seeds; None with one.

    Args:
        intermediates: scores of arms on their own tasks; those after a target have `target`.
    """
    scored = [row for row in intermediates if "value" in row]
    before = {
        (_key(row, LINE[:-1]), row["seed"]): row["value"] for row in scored if not _is_after(row)
    }
    after: dict[tuple[Any, ...], dict[int, list[float]]] = {}
    for row in scored:
        if _is_after(row):
            after.setdefault(_key(row, LINE), {}).setdefault(row["seed"], []).append(row["value"])
    table = []
    for key, by_seed in after.items():
        pairs = [
            (before[key[:-1], seed], fmean(values))
            for seed, values in by_seed.items()
            if (key[:-1], seed) in before
        ]
        if not pairs:
            continue
        changes = [later - earlier for earlier, later in pairs]
        table.append(
            {
                **dict(zip(LINE, key, strict=True)),
                "before": fmean(earlier for earlier, _ in pairs),
                "after": fmean(later for _, later in pairs),
                "change": fmean(changes),
                "standard_error": stdev(changes) / len(changes) ** 0.5
                if len(changes) > 1
                else None,
                "seeds": len(changes),
            }
        )
    return table


def of_arms(intermediates: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of the arms themselves, without those after a target."""
    return [row for row in intermediates if not _is_after(row)]


def _is_after(row: Mapping[str, Any]) -> bool:
    return row.get("target") is not None


def _key(row: Mapping[str, Any], names: Iterable[str]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in names)
