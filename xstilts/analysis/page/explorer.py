"""The data behind the filters of the heat map, as compact JSON for the page's script."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from xstilts.analysis.estimands import AVERAGE, GAP, NON_ENGLISH
from xstilts.analysis.inputs import ReportInput
from xstilts.analysis.page.cells import Key
from xstilts.analysis.page.language_facts import fact
from xstilts.analysis.result_texts import clear


def explorer_data(
    report: ReportInput, effects: pd.DataFrame, shown: Sequence[Key], alpha: float
) -> dict[str, Any]:
    """What the filters need.

    `cells`: index of a cell → metric → [effect, low, high, whether significant, effects by
    language]; the languages of an evaluation are in `languages`, in this order. `facts`: language →
    [name, family, script, whether XLM-R saw it].
    """
    rows = effects[effects["reference"] == "none"]
    by_cell: dict[Key, dict[str, dict[str, tuple[Any, ...]]]] = {}
    keys = (
        "backbone",
        "arm",
        "evaluation",
        "metric",
        "language",
        "effect",
        "ci_low",
        "ci_high",
        "p_adjusted",
    )
    for backbone, arm, evaluation, metric, language, *values in zip(
        *(rows[key].tolist() for key in keys), strict=True
    ):
        metrics = by_cell.setdefault((backbone, arm, evaluation), {})
        metrics.setdefault(metric, {}).setdefault(language, tuple(values))
    languages = _languages(by_cell)
    codes = dict.fromkeys(code for each in languages.values() for code in each)
    return {
        "evaluations": list(report.metrics),
        "official": report.official_metrics,
        "languages": languages,
        "facts": {code: _short(fact(code)) for code in codes},
        "cells": [
            {
                metric: _metric(values, languages[key[2]], alpha)
                for metric, values in by_cell[key].items()
                if AVERAGE in values
            }
            for key in shown
        ],
    }


def _languages(
    by_cell: Mapping[Key, Mapping[str, Mapping[str, tuple[Any, ...]]]],
) -> dict[str, list[str]]:
    languages: dict[str, dict[str, None]] = {}
    for (_, _, evaluation), metrics in by_cell.items():
        known = languages.setdefault(evaluation, {})
        for values in metrics.values():
            known.update(dict.fromkeys(values))
    aggregates = (AVERAGE, NON_ENGLISH, GAP)
    return {
        name: [code for code in codes if code not in aggregates]
        for name, codes in languages.items()
    }


def _short(facts: Mapping[str, Any]) -> list[Any]:
    return [facts["name"], facts["family"], facts["script"], int(facts["cc100"] is not None)]


def _metric(
    values: Mapping[str, tuple[Any, ...]], languages: Sequence[str], alpha: float
) -> list[Any]:
    effect, low, high, p = values[AVERAGE]
    by_language = [round(values[code][0], 2) if code in values else None for code in languages]
    return [round(effect, 2), round(low, 2), round(high, 2), int(clear(p, alpha)), by_language]


def script_json(value: Any) -> str:
    """JSON for the inside of a <script> element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
