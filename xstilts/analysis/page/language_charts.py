"""Vega-Lite specifications of effects by language."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from xstilts.analysis.page.charts import (
    CONFIG,
    SIGNED,
    Rows,
    Spec,
    bounds,
    domain_of,
    zero_line,
)
from xstilts.analysis.page.palette import INK, SERIES, SOFT

#: The fewest languages of a panel of points.
FEWEST = 4


def languages(rows: Rows, order: Sequence[Mapping[str, Any]], group: str) -> Spec:
    """Effects by language: a panel per evaluation, a color per backbone.

    Args:
        rows: backbone, evaluation, language, effect, ci_low, ci_high.
        order: code, name and `group` of each language, in order.
        group: the key of `order` that the left column shows.
    """
    evaluations = list(dict.fromkeys(row["evaluation"] for row in rows))
    backbones = list(dict.fromkeys(row["backbone"] for row in rows))
    codes = [entry["code"] for entry in order]
    step = {"step": max(15, 5 * len(backbones) + 3), "for": "position"}
    names = {entry["code"]: entry["name"] for entry in order}
    axis = {"title": None, "labelExpr": f"({_object(names)})[datum.value] || datum.value"}
    y: Spec = {"field": "language", "type": "ordinal", "scale": {"domain": codes}}
    color = _color("backbone", backbones)
    shown, previous = [], None
    for entry in order:
        shown.append(
            {"language": entry["code"], "text": "" if entry[group] == previous else entry[group]}
        )
        previous = entry[group]
    columns: list[Spec] = [
        {
            "data": {"values": shown},
            "width": 92,
            "height": step,
            "mark": {"type": "text", "align": "left", "color": SOFT, "fontSize": 11},
            "encoding": {"x": {"value": 0}, "y": {**y, "axis": None}, "text": {"field": "text"}},
        }
    ]
    width = max(92, min(240, 760 // len(evaluations)))
    for place, evaluation in enumerate(evaluations):
        part = [row for row in rows if row["evaluation"] == evaluation]
        x = {
            "type": "quantitative",
            "scale": {"domain": domain_of(bounds(part)), "nice": False},
            "axis": {"title": None, "labelExpr": SIGNED, "tickCount": 3},
        }
        here: Spec = {**y, "axis": axis if place == 0 else {"labels": False, "title": None}}
        offset = {"yOffset": {"field": "backbone", "type": "nominal", "sort": backbones}}
        tooltip = [
            {"field": "backbone"},
            {"field": "language"},
            {"field": "effect", "format": "+.2f"},
            {"field": "ci_low", "format": "+.2f", "title": "from"},
            {"field": "ci_high", "format": "+.2f", "title": "to"},
        ]
        columns.append(
            {
                "title": {"text": evaluation, "offset": 8, "limit": width},
                "width": width,
                "height": step,
                "transform": [{"filter": {"field": "evaluation", "equal": evaluation}}],
                "layer": [
                    zero_line("x"),
                    {
                        "mark": {"type": "rule", "strokeWidth": 1.2, "opacity": 0.6},
                        "encoding": {
                            "x": {"field": "ci_low", **x},
                            "x2": {"field": "ci_high"},
                            "y": here,
                            **offset,
                            "color": color,
                            "tooltip": tooltip,
                        },
                    },
                    {
                        "mark": {"type": "point", "filled": True, "size": 22, "opacity": 1},
                        "encoding": {
                            "x": {"field": "effect", **x},
                            "y": here,
                            **offset,
                            "color": color,
                            "tooltip": tooltip,
                        },
                    },
                ],
            }
        )
    return {
        "config": CONFIG,
        "data": {"values": list(rows)},
        "hconcat": columns,
        "resolve": {"legend": {"color": "shared"}},
    }


def covariates(rows: Rows) -> Spec:
    """A language's mean effect against its data in CC-100, the tokenizer's cost, and its script;
    one line of panels per backbone.

    rows: backbone, language, effect; cc100 (GiB, null if unseen), tokens (per example, relative to
    English; null if unknown), script.
    """
    backbones = list(dict.fromkeys(row["backbone"] for row in rows))
    domain = domain_of([row["effect"] for row in rows])
    scripts = sorted({row["script"] for row in rows})
    y = {
        "field": "effect",
        "type": "quantitative",
        "scale": {"domain": domain, "nice": False},
        "axis": {"title": "effect, points", "labelExpr": SIGNED, "tickCount": 5},
    }
    lines = []
    for place, backbone in enumerate(backbones):
        color = SERIES[place % len(SERIES)]
        part = [row for row in rows if row["backbone"] == backbone]
        seen = [row for row in part if row["cc100"] is not None]
        priced = [row for row in part if row["tokens"] is not None]
        panels = []
        if len(seen) >= FEWEST:
            x = {
                "field": "cc100",
                "type": "quantitative",
                "scale": {"type": "log", "domain": [0.1, 500]},
                "axis": {
                    "title": "GiB in CC-100 (log)",
                    "values": [0.1, 1, 10, 100],
                    "format": "~g",
                },
            }
            panels.append(_labels(seen, x, y, color))
        if len({row["tokens"] for row in priced}) >= FEWEST:
            x = {
                "field": "tokens",
                "type": "quantitative",
                "scale": {"zero": False, "padding": 14},
                "axis": {"title": "tokens per example, relative to English", "tickCount": 4},
            }
            panels.append(_labels(priced, x, y, color))
        x = {
            "field": "script",
            "type": "nominal",
            "scale": {"domain": scripts},
            "axis": {"title": "script", "labelAngle": -40, "grid": False},
        }
        panels.append(_labels(part, x, y, color, width=max(110, 26 * len(scripts))))
        lines.append({"title": {"text": backbone, "color": color}, "hconcat": panels})
    return {"config": CONFIG, "vconcat": lines, "spacing": 22}


def _labels(rows: Rows, x: Spec, y: Spec, color: str, width: int = 230) -> Spec:
    """Points named by their language's code."""
    tooltip = [{"field": name} for name in ("language", "script", "cc100")] + [
        {"field": "tokens", "format": ".2f"},
        {"field": "effect", "format": "+.2f"},
    ]
    position: Spec = {"x": x, "y": y, "tooltip": tooltip}
    return {
        "data": {"values": list(rows)},
        "width": width,
        "height": 190,
        "layer": [
            zero_line("y"),
            {
                "mark": {
                    "type": "point",
                    "filled": True,
                    "size": 22,
                    "color": color,
                    "opacity": 0.8,
                },
                "encoding": position,
            },
            {
                "mark": {
                    "type": "text",
                    "dx": 5,
                    "dy": -5,
                    "align": "left",
                    "fontSize": 9.5,
                    "color": INK,
                },
                "encoding": {**position, "text": {"field": "language"}},
            },
        ],
    }


def _color(field: str, names: Sequence[str]) -> Spec:
    colors = [SERIES[place % len(SERIES)] for place in range(len(names))]
    scale = {"domain": list(names), "range": colors}
    return {"field": field, "type": "nominal", "scale": scale, "legend": {"title": None}}


def _object(names: Mapping[str, str]) -> str:
    """A Vega expression of a map."""
    return json.dumps(dict(names))
