"""Learning curves and costs from the records of steps."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xstilts.analysis.page.charts import Spec, curves
from xstilts.analysis.step_records import StepRecord, thinned

#: The most points of one chart of curves.
MOST_POINTS = 4000
#: Phase of a run → the records that belong to it.
PHASES: Mapping[str, tuple[str, str]] = {
    "Read data": ("records", ""),
    "Tokenize": ("encode", ""),
    "Intermediate training": ("finetune", "intermediate"),
    "Target training": ("finetune", "target"),
    "Scoring": ("score", ""),
}


def curve_charts(records: Iterable[StepRecord]) -> list[tuple[str, str, Spec]]:
    """(backbone, title, chart) of the training loss, and of English dev where it was evaluated."""
    backbones: dict[str, list[StepRecord]] = {}
    for record in records:
        if record.curve:
            backbones.setdefault(record.backbone, []).append(record)
    charts = []
    for backbone, steps in backbones.items():
        steps = sorted(steps, key=lambda record: record.stage)
        for title, key in (("Training loss", "curve"), ("English dev", "dev")):
            rows = _rows(steps, key)
            if rows:
                charts.append((backbone, title, curves(rows, "value", title.lower())))
    return charts


def _rows(steps: Sequence[StepRecord], key: str) -> list[dict[str, Any]]:
    with_curve = [record for record in steps if getattr(record, key)]
    points = max(5, MOST_POINTS // max(1, len(with_curve)))
    return [
        {
            "panel": _panel(record),
            "step": record.label.removeprefix(f"{record.backbone}: "),
            "update": update,
            "value": round(value, 4),
        }
        for record in with_curve
        for update, value in _thinned(getattr(record, key), points)
    ]


def _thinned(curve: Sequence[tuple[int, float]], points: int) -> list[tuple[int, float]]:
    return thinned([update for update, _ in curve], [value for _, value in curve], points)


def _panel(record: StepRecord) -> str:
    if record.stage == "intermediate":
        return f"intermediate: {record.arm or record.name}"
    return f"target: {record.name}"


def costs(records: Iterable[StepRecord], gpu_hour_price: float | None) -> list[dict[str, Any]]:
    """One row per phase, with its share of the time, and the sum.

    Seconds are summed over steps, which run side by side: they are more than a run's duration.
    """
    by_phase: dict[tuple[str, str], list[StepRecord]] = {}
    for record in records:
        by_phase.setdefault((record.kind, record.stage), []).append(record)
    rows = [
        _cost(phase, by_phase[key], gpu_hour_price)
        for phase, key in PHASES.items()
        if key in by_phase
    ]
    if not rows:
        return []
    everything = [record for group in by_phase.values() for record in group]
    total = _cost("All steps", everything, gpu_hour_price)
    seconds = total["seconds"] or 1.0
    return [{**row, "share": row["seconds"] / seconds} for row in [*rows, total]]


def _cost(
    phase: str, records: Sequence[StepRecord], gpu_hour_price: float | None
) -> dict[str, Any]:
    hours = sum(record.gpu_hours for record in records)
    return {
        "phase": phase,
        "steps": len(records),
        "seconds": sum(record.seconds for record in records),
        "gpu_hours": hours,
        "tokens": sum(record.tokens for record in records),
        "updates": sum(record.updates for record in records),
        "price": None if gpu_hour_price is None else hours * gpu_hour_price,
    }


def duration(seconds: float) -> str:
    """A duration in the largest fitting units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:,.0f} h {seconds % 3600 // 60:.0f} min"
