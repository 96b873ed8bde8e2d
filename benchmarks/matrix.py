"""GPU-hours of the whole matrix of pipelines/plans/modality.yaml, by the estimate of `xstilts plan
--offline`, against the same cells without sharing and with padding:

python -m benchmarks.matrix

Both sides have the same rows, lengths, shapes and utilization. Nothing runs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import OURS, Record, write
from pipelines.commands.plan import offline_overview

PLAN = Path("pipelines/plans/modality.yaml")
PADDED = "one process per cell and language, rows padded to max_length, nothing shared"
UNSHARED = "one process per cell, without padding, nothing shared"
#: How many times fewer GPU-hours the project wants to need than `PADDED`.
TARGET = 2.5


def record(view: Mapping[str, Any], plan: str) -> Record:
    """The record of a plan's offline overview."""
    steps = {row["kind"]: row for row in view["steps"]}
    return Record(
        case=f"full matrix of {plan}, estimated",
        unit="GPU-hours",
        figures={
            OURS: [view["cost"]["total"]["gpu_hours"]],
            PADDED: [view["gpu_hours_padded"]],
            UNSHARED: [view["gpu_hours_without_sharing"]],
        },
        notes={
            name: f"{steps['finetune'][key]:,} trainings, {steps['score'][key]:,} evaluations"
            for name, key in ((OURS, "steps"), (PADDED, "without_sharing"))
        },
        setting={"cells": view["cells"], "tokens": view["cost"]["total"]["tokens"]},
        target={PADDED: TARGET},
    )


if __name__ == "__main__":
    print(write("matrix", [record(offline_overview(PLAN), PLAN.name)]))
