"""What finished steps recorded: their cost, and the curves of training steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: The most points of a stored curve.
CURVE_POINTS = 60


@dataclass(frozen=True)
class StepRecord:
    """A finished step.

    kind: `records`, `encode`, `finetune` or `score`. stage: `intermediate` or `target` of finetune
    steps, else empty. name: the task or evaluation. arm: of intermediate steps and what follows
    them; empty where several arms share the step. devices: GPUs that it held. curve: (update, mean
    training loss since the point before). dev: (update, score on English dev).
    """

    kind: str
    fingerprint: str
    label: str
    stage: str = ""
    backbone: str = ""
    name: str = ""
    language: str = ""
    split: str = ""
    arm: str = ""
    seed: int | None = None
    seconds: float = 0.0
    devices: float = 0.0
    tokens: int = 0
    rows: int = 0
    updates: int = 0
    curve: Sequence[tuple[int, float]] = ()
    dev: Sequence[tuple[int, float]] = ()

    @property
    def gpu_hours(self) -> float:
        return self.seconds * self.devices / 3600

    @property
    def path(self) -> str:
        """The key of its manifest in the store."""
        return f"steps/{self.kind}/{self.fingerprint}/manifest.json"


def thinned(
    updates: Sequence[int], losses: Sequence[float], points: int = CURVE_POINTS
) -> list[tuple[int, float]]:
    """A curve of at most `points` points: the mean loss of equal parts, each at its last update."""
    parts = np.array_split(np.arange(len(updates)), min(points, len(updates)))
    values = np.asarray(losses, dtype=float)
    return [(int(updates[part[-1]]), float(values[part].mean())) for part in parts if len(part)]
