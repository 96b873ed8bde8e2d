"""Corrections for many tests, and which tests belong together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

#: The confirmatory tests: the plan's named contrasts on their primary evaluations. Holm (1979):
#: family-wise error.
PRIMARY = "primary"
#: Every arm against `none` on every evaluation. Benjamini and Hochberg (1995), as in the other two:
#: false discovery rate.
HEAT_MAP = "heat map"
#: A contrast's difference between two backbones.
INTERACTION = "interaction"
#: All other rows: single languages, other metrics, other estimands.
EXPLORATORY = "exploratory"
FAMILIES = (PRIMARY, HEAT_MAP, INTERACTION, EXPLORATORY)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p values."""
    order = np.argsort(values)
    adjusted, running = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, values[index] * (len(values) - rank)))
        adjusted[index] = running
    return adjusted


def adjusted(table: pd.DataFrame) -> pd.DataFrame:
    """The table with p_adjusted: Holm in the family PRIMARY, Benjamini-Hochberg within each
    other one. Columns: p, family.
    """
    table = table.assign(p_adjusted=np.nan)
    for family in FAMILIES:
        rows = (table["family"] == family) & table["p"].notna()
        if rows.any():
            values = table.loc[rows, "p"].astype(float)
            new = (
                holm(values.tolist())
                if family == PRIMARY
                else stats.false_discovery_control(values.to_numpy())
            )
            table.loc[rows, "p_adjusted"] = new
    return table.astype({"p": "Float64", "p_adjusted": "Float64"})


def family_of(
    row: Mapping[str, Any], contrast: Mapping[str, Any], headline: str | None, official: str
) -> str:
    """row: of the table of effects. contrast: the plan's, expanded. official: the evaluation's
    first metric. A contrast's primary evaluations are those that it names, else the pooled one;
    their estimand is the mean over non-English languages.
    """
    from xstilts.analysis.estimands import AVERAGE, NON_ENGLISH, POOLED

    named = not contrast["implicit"] or contrast["name"] == headline
    primary = contrast.get("primary") or [POOLED]
    first = row["metric"] == official or row["evaluation"] == POOLED
    if named and first and row["language"] == NON_ENGLISH and row["evaluation"] in primary:
        return PRIMARY
    if (
        first
        and row["reference"] == "none"
        and row["language"] == AVERAGE
        and row["evaluation"] != POOLED
    ):
        return HEAT_MAP
    return EXPLORATORY
