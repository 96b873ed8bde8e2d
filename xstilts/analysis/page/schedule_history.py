"""The firings of a schedule as a self-contained HTML page, `history.html`, without a script."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from xstilts.analysis.estimands import POOLED
from xstilts.analysis.page import palette, render, templates
from xstilts.analysis.page.charts import CONFIG, Spec
from xstilts.analysis.page.palette import SERIES
from xstilts.analysis.result_texts import clear

MEAN = "mean over evaluations"
#: No script and no request.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Firing:
    """One firing.

    number: from 0. at: seconds since 1970. plan: its plan's text. link: its report, relative to the
    page. summary: summary.json; None without a report, and `reason` says why. against: number of
    the firing that it is compared with; None for the first with a report. changes: the table of
    `xstilts.analysis.changes`. threshold: the plan's, in points.
    """

    number: int
    run: str
    at: float
    plan: str = ""
    link: str = ""
    summary: Mapping[str, Any] | None = None
    reason: str = ""
    against: int | None = None
    changes: pd.DataFrame | None = None
    threshold: float | None = None


def history_page(schedule: str, store: str, firings: Sequence[Firing]) -> str:
    """The page, newest firing first.

    Args:
        schedule: name of the schedule.
        store: URI of the store.
        firings: oldest first.
    """
    chart = averages_chart(firings)
    svg = "" if chart is None else render.inline_svg(chart, "averages")
    return templates.template("page/history.html.j2").render(
        schedule=schedule,
        store=store,
        policy=POLICY,
        style=f"{palette.style()}{templates.text('page.css')}",
        firings=[_shown(firing) for firing in reversed(firings)],
        averages=averages_table(firings),
        chart=svg,
        width=render.svg_width(svg),
    )


def plan_hash(text: str) -> str:
    """The first 12 digits of the SHA-256 of a plan's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _shown(firing: Firing) -> dict[str, Any]:
    """A firing for the template."""
    summary = firing.summary or {}
    rows = [] if firing.changes is None else firing.changes.to_dict("records")
    compared = [row for row in rows if pd.notna(row["change"])]
    alpha = 1 - float(summary.get("confidence", 0.95))
    largest = max(compared, key=lambda row: abs(row["change"]), default=None)
    return {
        "number": firing.number,
        "run": firing.run,
        "date": date_text(firing.at),
        "plan": plan_hash(firing.plan) if firing.plan else "",
        "link": firing.link,
        "answer": summary.get("answer", ""),
        "reason": firing.reason,
        "level": f"{100 * (1 - alpha):g}%",
        "missing": len(summary.get("missing", ())),
        "against": firing.against,
        "threshold": firing.threshold,
        "changes": [
            {
                **row,
                "where": "mean over evaluations"
                if row["evaluation"] == POOLED
                else row["evaluation"],
                "clear": clear(row["p_adjusted"], alpha),
            }
            for row in compared
        ],
        "not_compared": [row for row in rows if pd.isna(row["change"])],
        "regressions": sum(bool(row["regression"]) for row in rows),
        "largest": None if largest is None else largest["change"],
    }


def date_text(at: float) -> str:
    """A time in UTC, to the minute."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def averages_table(firings: Sequence[Firing]) -> dict[str, Any]:
    """Averages over all evaluations: a line per backbone and arm, a column per firing with a
    report. An entry over other evaluations than the newest one of its line is marked.
    """
    reported = [firing for firing in firings if firing.summary is not None]
    by_firing = [
        {(row["backbone"], row["arm"]): row for row in _averages(firing)} for firing in reported
    ]
    lines = []
    for key in dict.fromkeys(key for rows in by_firing for key in rows):
        entries = [rows.get(key) for rows in by_firing]
        newest = next(row for row in reversed(entries) if row is not None)
        lines.append(
            {
                "backbone": key[0],
                "arm": key[1],
                "entries": [
                    None
                    if row is None
                    else {"value": row["all"], "other": set(row["over"]) != set(newest["over"])}
                    for row in entries
                ],
                "over": list(newest["over"]),
            }
        )
    return {
        "firings": [{"number": each.number, "date": date_text(each.at)} for each in reported],
        "lines": lines,
        "marked": any(entry and entry["other"] for line in lines for entry in line["entries"]),
    }


def _averages(firing: Firing) -> Iterator[Mapping[str, Any]]:
    for row in (firing.summary or {}).get("averages", ()):
        if row["all"] is not None:
            yield row


def averages_chart(firings: Sequence[Firing]) -> Spec | None:
    """Averages by time, a panel per backbone, a line per arm; None for fewer than two reports."""
    rows = [
        {
            "backbone": row["backbone"],
            "arm": row["arm"],
            "at": 1000 * firing.at,
            "value": round(row["all"], 3),
        }
        for firing in firings
        for row in _averages(firing)
    ]
    if len({row["at"] for row in rows}) < 2:
        return None
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    by_color = {
        "color": {
            "field": "arm",
            "type": "nominal",
            "scale": {"domain": arms, "range": SERIES},
            "legend": {"title": None, "columns": 3, "labelLimit": 200},
        }
    }
    return {
        "config": CONFIG,
        "data": {"values": rows},
        "facet": {"field": "backbone", "type": "nominal", "title": None},
        "columns": 3,
        "spacing": 24,
        "spec": {
            "width": 260,
            "height": 150,
            "mark": {
                "type": "line",
                "strokeWidth": 1.8,
                "point": {"size": 36},
                **({} if len(arms) <= len(SERIES) else {"color": SERIES[0], "opacity": 0.5}),
            },
            "encoding": {
                "x": {
                    "field": "at",
                    "type": "temporal",
                    "scale": {"type": "utc"},
                    "axis": {"title": None, "tickCount": 3, "grid": False, "format": "%Y-%m-%d"},
                },
                "y": {
                    "field": "value",
                    "type": "quantitative",
                    "scale": {"zero": False},
                    "axis": {"title": "average", "tickCount": 4},
                },
                "detail": {"field": "arm"},
                **(by_color if len(arms) <= len(SERIES) else {}),
            },
        },
        "resolve": {"scale": {"y": "independent"}},
    }
