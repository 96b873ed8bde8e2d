"""Quantities of Kubernetes (`500m`, `2Gi`, `1e3`) as numbers."""

import re

_FACTORS = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([numkKMGTPE]?i?)")


def number(quantity: object) -> float:
    """The value of a quantity; bytes for memory. Raises ValueError for anything else."""
    match = _QUANTITY.fullmatch(str(quantity))
    if match is None or match[2] not in _FACTORS:
        raise ValueError(f"{quantity!r} is not a quantity of Kubernetes, such as 500m or 2Gi")
    return float(match[1]) * _FACTORS[match[2]]


def shown(resource: str, value: float) -> str:
    """A value for people: memory and storage in Gi."""
    if "memory" in resource or "storage" in resource:
        return f"{value / 2**30:.4g}Gi"
    return f"{value:.6g}"
