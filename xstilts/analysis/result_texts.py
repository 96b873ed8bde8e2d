"""Texts of single results, for tables and terminals. Imports no pandas, so that a terminal shows a
report quickly.
"""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from xstilts.plan.seed_layout import WITHOUT_SEED


def clear(p_adjusted: Any, alpha: float) -> bool:
    """Whether an effect differs from zero after correction. False if nothing was tested."""
    return bool(_is_number(p_adjusted) and p_adjusted <= alpha)


def p_text(p: Any) -> str:
    """A p-value for a table: three digits, `< 0.001` below, empty if nothing was tested."""
    if not _is_number(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def points(value: Any) -> str:
    """A number of points with its sign; empty if there is none."""
    return "" if not _is_number(value) else f"{value:+.1f}".replace("-", "−")


def conditional_on_seed(row: Mapping[str, Any]) -> bool:
    """Whether another seed may give another effect, and only one was run."""
    return bool(row["n_seeds"] == 1 and WITHOUT_SEED not in row["ci_method"])


def _is_number(p: Any) -> bool:
    """False for None, NaN and pandas' NA."""
    return isinstance(p, Real) and not math.isnan(p)


def control_text(control: Mapping[str, Any]) -> str:
    """One control in a line, its verdict last."""
    name = f"{control['kind']} control"
    task = f"{control['arm']} on {control['evaluation']}"
    if control["effect"] is None:
        return f"{name}: {task}: {control['verdict']}"
    interval = f"{points(control.get('ci_low'))} … {points(control.get('ci_high'))}"
    return f"{name}, {control.get('backbone')}: {task} {interval}: {control['verdict']}"
