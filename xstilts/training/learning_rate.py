"""Learning-rate schedules as factors of the peak rate."""

import math


def factor(update: int, updates: int, warmup: float, schedule: str) -> float:
    """The factor at a 0-based update. warmup: share of all updates (< 1) or a number of updates (>=
    1).

    `linear` decays to zero after the warm-up, as transformers.get_linear_schedule_with_warmup;
    `cosine` decays to zero along half a wave, as get_cosine_schedule_with_warmup; `constant` does
    not decay.
    """
    rise = int(warmup * updates) if warmup < 1 else int(warmup)
    if update < rise:
        return (update + 1) / rise
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return max(0.0, (updates - update) / max(1, updates - rise))
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * (update - rise) / max(1, updates - rise)))
    raise ValueError(f"unknown schedule {schedule!r}; allowed: linear, cosine, constant")
