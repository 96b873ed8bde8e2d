"""The heat map: the effect of every arm on every evaluation, against `none`."""

from typing import Any

import pandas as pd

from xstilts.analysis.effects import confidence
from xstilts.analysis.inputs import ReportInput
from xstilts.analysis.result_texts import clear


def heat_map(report: ReportInput, effects: pd.DataFrame) -> list[dict[str, Any]]:
    """One table per backbone, one line per arm, one entry per evaluation.

    `effects` has the official metrics, averaged over languages. An entry is an effect with its
    `strength`, -100 to 100: its share of the evaluation's largest effect over all backbones. Or it
    is `without`, the reason why there is none.
    """
    against_none = effects[
        (effects["reference"] == "none")
        & effects["backbone"].isin(report.expanded["order"]["backbones"])
    ]
    largest = against_none["effect"].abs().groupby(against_none["evaluation"]).max().to_dict()
    alpha = 1 - confidence(report)
    # Of two contrasts of one arm with `none`, only the first is corrected in the heat map's family.
    rows = {
        (row["backbone"], row["arm"], row["evaluation"]): row
        for row in reversed(against_none.to_dict("records"))
    }
    order = report.expanded["order"]
    return [
        {
            "backbone": backbone,
            "evaluations": list(report.metrics),
            "lines": [
                {
                    "arm": arm,
                    "entries": [
                        _entry(rows[key], largest[evaluation], alpha)
                        if (key := (backbone, arm, evaluation)) in rows
                        else {"without": _reason(report, backbone, arm, evaluation)}
                        for evaluation in report.metrics
                    ],
                }
                for arm in order["arms"]
                if arm != "none"
            ],
        }
        for backbone in order["backbones"]
    ]


def _reason(report: ReportInput, backbone: str, arm: str, evaluation: str) -> str:
    expanded = report.expanded
    if any(
        (entry["backbone"], entry["arm"]) == (backbone, arm) and not entry.get("partly")
        for entry in expanded["not_applicable"]
    ):
        return "not applicable"
    if any(cell["arm"] == arm and evaluation in cell["scores"] for cell in expanded["cells"]):
        return "missing"
    return "not in the plan"


def _entry(row: dict[str, Any], largest: float, alpha: float) -> dict[str, Any]:
    return {
        "effect": row["effect"],
        "low": row["ci_low"],
        "high": row["ci_high"],
        "same_data": bool(row["same_data"]),
        "strength": round(100 * row["effect"] / largest) if largest else 0,
        "clear": clear(row["p_adjusted"], alpha),
    }
