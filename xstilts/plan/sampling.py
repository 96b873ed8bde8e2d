"""How often each task of a mixture is drawn, for training and for the estimate of costs."""

from collections.abc import Mapping, Sequence
from typing import Any


def sampling_weights(
    sizes: Sequence[float],
    sampling: str,
    weights: Sequence[float] | None = None,
    temperature: float = 1.0,
    cap: int = 0,
) -> list[float]:
    """Probability of each task in a mixture; they sum to one.

    Args:
        sizes: Rows of each task.
        sampling: `uniform`; `proportional` to rows; `temperature`: rows, capped if cap is set, to
            the power 1/temperature; `probabilities`: the weights.
        weights: Weights of `probabilities`.
        temperature: Temperature of `temperature`.
        cap: Most rows of a task that count under `temperature`; 0: all.
    """
    if sampling == "uniform":
        raw = [1.0] * len(sizes)
    elif sampling == "proportional":
        raw = [float(n) for n in sizes]
    elif sampling == "temperature":
        raw = [float(min(n, cap) if cap else n) ** (1.0 / temperature) for n in sizes]
    elif sampling == "probabilities" and weights is not None:
        raw = list(weights)
    else:
        raise ValueError(
            f"unknown sampling {sampling!r}; "
            "allowed: uniform, proportional, temperature, probabilities"
        )
    total = sum(raw)
    return [value / total for value in raw]


def weights_in(spec: Mapping[str, Any], sizes: Sequence[float]) -> list[float]:
    """Probability of each task of a finetune step. spec: the step's. sizes: rows of each task."""
    sampling = spec.get("sampling") or {}
    if isinstance(sampling, str):  # specs of the first version
        sampling = {"kind": sampling}
    return sampling_weights(
        sizes,
        sampling.get("kind") or "proportional",
        [task.get("weight", 1.0) for task in spec["tasks"]],
        float(sampling.get("temperature") or 1.0),
        int(sampling.get("cap") or 0),
    )
