"""Vega-Lite specifications of the report's charts.

All functions are pure: rows in, a JSON-like specification out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xstilts.analysis.page.palette import INK, LINE, PAPER, SERIES, SOFT
from xstilts.analysis.result_texts import points

Spec = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

FONT = "Arial, Liberation Sans, Helvetica, sans-serif"
CONFIG: Spec = {
    "aria": False,
    "background": None,
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": SOFT,
        "titleFontWeight": "normal",
        "titleFontSize": 11,
        "titlePadding": 10,  # browsers without Arial have wider labels
        "labelFontSize": 12,
        "domain": False,
        "ticks": False,
        "gridColor": LINE,
        "labelLimit": 260,
    },
    "title": {"color": INK, "fontSize": 13, "fontWeight": 600, "anchor": "start"},
    "header": {
        "labelAnchor": "start",
        "labelColor": INK,
        "titleColor": SOFT,
        "labelFontSize": 11,
        "labelFontWeight": 600,
    },
    "legend": {
        "labelColor": INK,
        "titleColor": SOFT,
        "labelFontSize": 11,
        "titleFontWeight": "normal",
        "orient": "top",
        "symbolOpacity": 1,
    },
    "concat": {"spacing": 10},
}
#: Labels of an axis of effects.
SIGNED = "datum.value === 0 ? '0' : format(datum.value, '+.2~f')"
#: Estimand in the tables → heading of its panel.
PANELS = {"non_en": "Non-English", "en": "English", "gap": "Gap (English − non-English)"}


def forest(rows: Rows, seeds: Rows, level: float, panels: Mapping[str, str] = PANELS) -> Spec:
    """Effects with intervals and the effect of each seed, a panel per estimand.

    Args:
        rows: label, language (a key of `panels`), effect, ci_low, ci_high, clear (significant
            after correction).
        seeds: label, language, effect, seed.
        level: confidence level of the intervals.
        panels: estimand → heading.
    """
    labels = list(dict.fromkeys(row["label"] for row in rows))
    present = [name for name in panels if any(row["language"] == name for row in rows)]
    domain = domain_of([*bounds(rows), *(dot["effect"] for dot in seeds)])
    data = [{**row, "kind": "effect", "text": effect_text(row)} for row in rows] + [
        {**dot, "kind": "seed"} for dot in seeds
    ]
    columns: list[Spec] = []
    for place, name in enumerate(present):
        axis = {"title": None, "labelPadding": 10, "labelOffset": -4} if place == 0 else None
        y = {"field": "label", "type": "ordinal", "scale": {"domain": labels}, "axis": axis}
        columns += [
            _forest_panel(name, panels[name], y, domain),
            _text_column(name, {**y, "axis": None}),
        ]
    return {
        "config": CONFIG,
        "data": {"values": data},
        "hconcat": columns,
        "title": _footnote(
            f"Points. Lines: {100 * level:g}% intervals. Filled: significant after "
            "correction. Small dots: seeds."
        ),
    }


def _forest_panel(name: str, heading: str, y: Spec, domain: Sequence[float]) -> Spec:
    x = {
        "type": "quantitative",
        "scale": {"domain": domain, "nice": False, "zero": False},
        "axis": {"title": None, "labelExpr": SIGNED, "tickCount": 4},
    }
    of_effects = [{"filter": "datum.kind === 'effect'"}]
    tooltip = [
        {"field": "label", "title": " "},
        {"field": "text", "title": "effect"},
        {"field": "p", "title": "adjusted p"},
        {"field": "mde", "title": "minimum detectable effect"},
    ]
    return {
        "title": {"text": heading, "offset": 8},
        "width": 180,
        "height": {"step": 34},
        "transform": [{"filter": {"field": "language", "equal": name}}],
        "layer": [
            zero_line("x"),
            {
                "transform": of_effects,
                "mark": {"type": "rule", "strokeWidth": 2.5, "color": SERIES[0], "yOffset": -4},
                "encoding": {
                    "x": {"field": "ci_low", **x},
                    "x2": {"field": "ci_high"},
                    "y": y,
                    "tooltip": tooltip,
                },
            },
            {
                "transform": of_effects,
                "mark": {
                    "type": "point",
                    "size": 85,
                    "filled": True,
                    "opacity": 1,
                    "stroke": SERIES[0],
                    "strokeWidth": 2.2,
                    "yOffset": -4,
                },
                "encoding": {
                    "x": {"field": "effect", **x},
                    "y": y,
                    "tooltip": tooltip,
                    "fill": {
                        "condition": {"test": "datum.clear", "value": SERIES[0]},
                        "value": PAPER,
                    },
                },
            },
            {
                "transform": [{"filter": "datum.kind === 'seed'"}],
                "mark": {
                    "type": "point",
                    "size": 16,
                    "filled": True,
                    "color": SOFT,
                    "opacity": 0.75,
                    "yOffset": 9,
                },
                "encoding": {
                    "x": {"field": "effect", **x},
                    "y": y,
                    "tooltip": [{"field": "seed"}, {"field": "effect", "format": "+.2f"}],
                },
            },
        ],
    }


def _text_column(name: str, y: Spec) -> Spec:
    return {
        "width": 116,
        "height": {"step": 34},
        "transform": [
            {"filter": {"field": "language", "equal": name}},
            {"filter": "datum.kind === 'effect'"},
        ],
        "mark": {"type": "text", "align": "left", "fontSize": 12, "color": INK, "yOffset": -4},
        "encoding": {
            "x": {"value": 0},
            "y": y,
            "text": {"field": "text"},
            "opacity": {"condition": {"test": "datum.clear", "value": 1}, "value": 0.85},
        },
    }


def curves(rows: Rows, value: str, title: str, columns: int = 4) -> Spec:
    """Curves of training steps, a panel per `panel`, a line per `step`.

    rows: panel, step, update, and the value's key.
    """
    panels = list(dict.fromkeys(row["panel"] for row in rows))
    few = len(rows) < min(600, 12 * len({row["step"] for row in rows}))
    tooltip = [{"field": "step"}, {"field": "update"}, {"field": value, "format": ".3f"}]
    return {
        "config": CONFIG,
        "data": {"values": list(rows)},
        "facet": {"field": "panel", "type": "nominal", "sort": panels, "title": None},
        "columns": columns,
        "spacing": 18,
        "spec": {
            "width": 180,
            "height": 96,
            "mark": {
                "type": "line",
                "strokeWidth": 1.2,
                "opacity": 0.6,
                "color": SERIES[0],
                "point": {"size": 8} if few else False,
            },
            "encoding": {
                "x": {
                    "field": "update",
                    "type": "quantitative",
                    "axis": {"title": "update", "tickCount": 3, "grid": False},
                },
                "y": {
                    "field": value,
                    "type": "quantitative",
                    "scale": {"zero": False},
                    "axis": {"title": title, "tickCount": 3},
                },
                "detail": {"field": "step"},
                "tooltip": tooltip,
            },
        },
        "resolve": {"scale": {"x": "independent", "y": "independent"}},
    }


def effect_text(row: Mapping[str, Any]) -> str:
    """An effect with its interval, in points."""
    numbers = (row["effect"], row["ci_low"], row["ci_high"])
    effect, low, high = (points(number) for number in numbers)
    return f"{effect} [{low}, {high}]"


def bounds(rows: Rows) -> Iterable[float]:
    return (row[key] for row in rows for key in ("ci_low", "ci_high"))


def domain_of(values: Iterable[float]) -> list[float]:
    """A scale's domain around the values and zero."""
    numbers = [0.0, *values]
    low, high = min(numbers), max(numbers)
    margin = 0.06 * ((high - low) or 1.0)
    return [round(low - margin, 3), round(high + margin, 3)]


def zero_line(axis: str) -> Spec:
    return {
        "data": {"values": [{}]},
        "mark": {"type": "rule", "color": SOFT, "strokeWidth": 1, "strokeDash": [3, 3]},
        "encoding": {axis: {"datum": 0, "type": "quantitative"}},
    }


def _footnote(text: str) -> Spec:
    return {
        "text": text,
        "color": SOFT,
        "fontSize": 11,
        "fontWeight": "normal",
        "orient": "bottom",
        "offset": 8,
    }
