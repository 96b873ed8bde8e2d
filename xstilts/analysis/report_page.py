"""The report as a self-contained HTML page, `report.html`.

The page is complete without JavaScript: charts are static SVG, and what is behind a number is in
<details>. The script, whose hash is in the page's content security policy, adds filters, sorting,
dialogs and tooltips. The policy forbids every request.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from xstilts.analysis.heat_map import heat_map
from xstilts.analysis.inputs import ReportInput
from xstilts.analysis.page import palette, render, templates
from xstilts.analysis.page.cells import Key, cell_details
from xstilts.analysis.page.charts import Spec
from xstilts.analysis.page.explorer import explorer_data, script_json
from xstilts.analysis.page.language_facts import SOURCES
from xstilts.analysis.page.seed_effects import SeedEffects
from xstilts.analysis.page.training import costs, duration
from xstilts.analysis.page.view import (
    COLUMNS,
    NAMES,
    cards,
    contrast_tables,
    named_contrasts,
    report_charts,
    score_tables,
    wide_style,
)
from xstilts.analysis.report_markdown import hub_form_note
from xstilts.analysis.summary import official_rows
from xstilts.official.forms import HUB_FORM

#: The largest specification that is embedded for tooltips, in characters. Larger charts are
#: static only.
LARGEST_SPEC = 150_000

#: A forest plot of single evaluations with more data than this, in rows, is only a file.
LARGEST_FOREST = 300
HEADLINE_FIGURES = ("contrast-1-pooled", "contrast-1-by-evaluation")


def page(
    report: ReportInput,
    results: pd.DataFrame,
    effects: pd.DataFrame,
    summary: Mapping[str, Any],
    charts: Sequence[tuple[str, str, Spec]] | None = None,
) -> str:
    """The page with inline styles, charts and script.

    Args:
        report: the report's input.
        results: the table of scores.
        effects: the table of effects.
        summary: the report's content as JSON.
        charts: of `report_charts`; drawn here if None.
    """
    level, headline = summary["confidence"], summary["headline"]
    seeds = SeedEffects(report, results)
    if charts is None:
        charts = list(report_charts(report, effects, seeds, headline, level))
    heat, shown = _numbered(heat_map(report, official_rows(report, effects)))
    scores = score_tables(report, results)
    hub_languages = [row["language"] for row in summary["forms"] if row["form"] == HUB_FORM]
    script = f"{render.library()}\n{templates.text('page.js')}"
    price = (report.expanded.get("plan", {}).get("report") or {}).get("gpu_hour_price")
    return templates.template("report.html.j2", duration=duration).render(
        summary=summary,
        run=report.run,
        style=f"{palette.style()}{templates.text('page.css')}{wide_style(scores)}",
        script=script,
        policy=_policy(script),
        cards=cards(summary),
        contrasts=named_contrasts(report, headline),
        tables=contrast_tables(summary),
        names=NAMES,
        figures={
            name: _figure(name, text, spec)
            for name, text, spec in charts
            if name in HEADLINE_FIGURES or not _is_large(name, spec)
        },
        files_only=[name for name, _, spec in charts if _is_large(name, spec)],
        heat=heat,
        details=cell_details(report, effects, seeds, shown),
        explorer=script_json(explorer_data(report, effects, shown, 1 - level)),
        scores=scores,
        columns=COLUMNS,
        one_seed=_one_seed(results),
        costs=costs(report.steps.values(), price),
        price=price,
        curves=[name for name, _, _ in charts if name.startswith("curves-")],
        sources=SOURCES,
        level=f"{100 * level:g}%",
        alpha=f"{1 - level:.3g}",
        hub_form=hub_form_note(hub_languages) if hub_languages else "",
    )


def _policy(script: str) -> str:
    """A content security policy that allows this script and no request."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _figure(name: str, text: str, spec: Spec) -> dict[str, Any]:
    """A chart for the template: its SVG, its width in pixels, and its specification for tooltips,
    empty if that is too large.
    """
    svg = render.inline_svg(spec, name)
    source = script_json(spec)
    return {
        "name": name,
        "text": text,
        "svg": svg,
        "width": render.svg_width(svg),
        "spec": source if len(source) <= LARGEST_SPEC else "",
    }


def _is_large(name: str, spec: Spec) -> bool:
    return name.endswith("-by-evaluation") and len(spec["data"]["values"]) > LARGEST_FOREST


def _numbered(heat: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Key]]:
    """The heat map with an `index` in each entry that has an effect, and the keys in this order."""
    shown: list[Key] = []
    for table in heat:
        for line in table["lines"]:
            for evaluation, entry in zip(table["evaluations"], line["entries"], strict=True):
                if "without" not in entry:
                    entry["index"] = len(shown)
                    shown.append((table["backbone"], line["arm"], evaluation))
    return heat, shown


def _one_seed(results: pd.DataFrame) -> bool:
    """Whether no score was replicated."""
    seeds = results.groupby(["backbone", "arm", "evaluation"])["seed"].nunique(dropna=False)
    return bool(len(seeds)) and bool((seeds <= 1).all())
