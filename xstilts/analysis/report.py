"""Writes a run's report: tables as Parquet, a summary as JSON and Markdown, and a self-contained
HTML page.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from xstilts.analysis.effects import effects_table
from xstilts.analysis.inputs import ReportInput
from xstilts.analysis.page.render import write_files
from xstilts.analysis.page.seed_effects import SeedEffects
from xstilts.analysis.page.view import report_charts
from xstilts.analysis.paper_tables import write_tables
from xstilts.analysis.report_markdown import markdown
from xstilts.analysis.report_page import page
from xstilts.analysis.scores import results_table
from xstilts.analysis.summary import summarize
from xstilts.step import canonical_json


def write_report(folder: Path, report: ReportInput) -> dict[str, Any]:
    """Writes results.parquet, effects.parquet, intermediates.parquet (if the plan scores them),
    predictions/, summary.json, report.md, report.html, figures/ and tables/. Returns the summary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results, effects = results_table(report), effects_table(report)
    results.to_parquet(folder / "results.parquet", index=False)
    effects.to_parquet(folder / "effects.parquet", index=False)
    if report.intermediates:
        pd.DataFrame(report.intermediates).to_parquet(folder / "intermediates.parquet", index=False)
    _write_predictions(folder / "predictions", report)
    summary = summarize(report, results, effects)
    (folder / "summary.json").write_text(
        json.dumps(summary, indent=2, ensure_ascii=False, default=_plain)
    )
    (folder / "report.md").write_text(markdown(summary))
    charts = list(
        report_charts(
            report,
            effects,
            SeedEffects(report, results),
            summary["headline"],
            summary["confidence"],
        )
    )
    for name, _, chart in charts:
        write_files(chart, folder / "figures", name)
    write_tables(folder / "tables", report, results, effects, summary)
    (folder / "report.html").write_text(page(report, results, effects, summary, charts))
    return summary


def _plain(value: Any) -> Any:
    return None if value is pd.NA else value.item() if hasattr(value, "item") else str(value)


def _write_predictions(folder: Path, report: ReportInput) -> None:
    folder.mkdir(exist_ok=True)
    frames: dict[str, list[pd.DataFrame]] = {}
    for cell in report.cells:
        for (evaluation, language), scored in cell.scored.items():
            frame = pd.DataFrame(
                {
                    **({"row": scored.rows} if scored.rows else {}),
                    "id": scored.ids,
                    "cluster": scored.clusters,
                    "prediction": [canonical_json(prediction) for prediction in scored.predictions],
                    "gold": [canonical_json(gold) for gold in scored.golds],
                }
            )
            head = {
                "backbone": cell.backbone,
                "arm": cell.arm,
                "seed_intermediate": cell.seed_intermediate,
                "seed_target": cell.seed_target,
                "language": language,
            }
            frames.setdefault(evaluation, []).append(
                frame.assign(**head, **({"asked": scored.asked} if scored.asked else {}))
            )
    seeds = ["seed_intermediate", "seed_target"]
    for evaluation, parts in frames.items():
        table = pd.concat(parts, ignore_index=True)
        table[seeds] = table[seeds].astype("Int64")
        table.to_parquet(folder / f"{evaluation}.parquet", index=False)
