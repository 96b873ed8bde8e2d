"""Corrections for multiple testing, and which tests are corrected together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from xstilts.analysis.estimands import AVERAGE, NON_ENGLISH, POOLED

#: The confirmatory tests: the plan's named contrasts on their primary evaluations. Corrected by
#: Holm (1979): family-wise error rate.
PRIMARY = "primary"
#: Every arm against `none` on every evaluation. This family and the next two are corrected by
#: Benjamini and Hochberg (1995): false discovery rate.
HEAT_MAP = "heat map"
#: Differences between two backbones: of a contrast's effects, or of the arms of a contrast that
#: names two backbones.
INTERACTION = "interaction"
#: All other rows: single languages, other metrics, other estimands.
EXPLORATORY = "exploratory"
FAMILIES = (PRIMARY, HEAT_MAP, INTERACTION, EXPLORATORY)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p-values."""
    order = np.argsort(values)
    adjusted, running = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, values[index] * (len(values) - rank)))
        adjusted[index] = running
    return adjusted


def adjusted(table: pd.DataFrame) -> pd.DataFrame:
    """Adds the column `p_adjusted` to a table with `p` and `family`: Holm in the family PRIMARY,
    Benjamini-Hochberg in each of the others.
    """
    table = table.assign(p_adjusted=np.nan)
    for family in FAMILIES:
        rows = (table["family"] == family) & table["p"].notna()
        if rows.any():
            values = table.loc[rows, "p"].astype(float)
            table.loc[rows, "p_adjusted"] = (
                holm(values.tolist())
                if family == PRIMARY
                else stats.false_discovery_control(values.to_numpy())
            )
    return table.astype({"p": "Float64", "p_adjusted": "Float64"})


def family_of(
    row: Mapping[str, Any], contrast: Mapping[str, Any], headline: str | None, official: str
) -> str:
    """The family of one row of the table of effects.

    A contrast's primary evaluations are those that the plan names, else the pooled one; their
    estimand is the mean over non-English languages. `contrast` is the expanded one, `official` the
    evaluation's official metric.
    """
    named = not contrast["implicit"] or contrast["name"] == headline
    primary = contrast.get("primary") or [POOLED]
    is_pooled = row["evaluation"] == POOLED
    is_official = row["metric"] == official or is_pooled
    between = "backbone" in contrast
    if named and is_official and row["language"] == NON_ENGLISH and row["evaluation"] in primary:
        return INTERACTION if between else PRIMARY
    if between:
        return EXPLORATORY
    against_none = row["reference"] == "none" and row["language"] == AVERAGE
    if is_official and against_none and not is_pooled:
        return HEAT_MAP
    return EXPLORATORY
