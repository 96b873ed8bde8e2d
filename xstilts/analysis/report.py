"""Writes a run's report: tables as Parquet, a summary as JSON and Markdown, and a self-contained
HTML page.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xstilts.analysis.effects import effects_table
from xstilts.analysis.inputs import Cell, ReportInput, Scored
from xstilts.analysis.page.render import write_files
from xstilts.analysis.page.seed_effects import SeedEffects
from xstilts.analysis.page.view import report_charts
from xstilts.analysis.paper_tables import write_tables
from xstilts.analysis.report_markdown import markdown
from xstilts.analysis.report_page import page
from xstilts.analysis.scores import results_table
from xstilts.analysis.summary import summarize
from xstilts.step import canonical_json

#: The most predictions that are copied to a report. Those of larger runs stay in the store, where
#: cells.parquet names their steps.
COMBINED = 5_000_000

_CELL = (
    ("backbone", pa.string()),
    ("arm", pa.string()),
    ("seed_intermediate", pa.int64()),
    ("seed_target", pa.int64()),
)
_TEXTS = ("id", "cluster", "prediction", "gold")
#: Columns of cells.parquet.
CELLS = pa.schema(
    [*_CELL, ("evaluation", pa.string()), ("step", pa.string()), ("rows", pa.int64())]
)
#: Columns of predictions/EVALUATION.parquet; `row` and `asked` only where they exist.
PREDICTIONS = (*((name, pa.string()) for name in _TEXTS), *_CELL, ("language", pa.string()))


def write_report(folder: Path, report: ReportInput) -> dict[str, Any]:
    """Writes results.parquet, effects.parquet, intermediates.parquet (if the plan scores them),
    cells.parquet, predictions/ (up to COMBINED rows), summary.json, report.md, report.html,
    figures/ and tables/. Returns the summary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results, effects = results_table(report), effects_table(report)
    results.to_parquet(folder / "results.parquet", index=False)
    effects.to_parquet(folder / "effects.parquet", index=False)
    if report.intermediates:
        pd.DataFrame(report.intermediates).to_parquet(folder / "intermediates.parquet", index=False)
    _write_cells(folder / "cells.parquet", report)
    combined = sum(len(scored.ids) for cell in report.cells for scored in cell.scored.values())
    if combined <= COMBINED:
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


def _write_cells(path: Path, report: ReportInput) -> None:
    """The score step of each cell and evaluation: where its predictions are in the store."""
    rows = [
        {
            "backbone": cell.backbone,
            "arm": cell.arm,
            "seed_intermediate": cell.seed_intermediate,
            "seed_target": cell.seed_target,
            "evaluation": evaluation,
            "step": step,
            "rows": sum(
                len(scored.ids) for (name, _), scored in cell.scored.items() if name == evaluation
            ),
        }
        for cell in report.cells
        for evaluation, step in cell.steps.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=CELLS), path)


def _write_predictions(folder: Path, report: ReportInput) -> None:
    """One file per evaluation, written one language of a cell at a time."""
    folder.mkdir(exist_ok=True)
    for evaluation in report.metrics:
        parts = [
            (cell, language, scored)
            for cell in report.cells
            for (name, language), scored in cell.scored.items()
            if name == evaluation
        ]
        schema = _schema(scored for _, _, scored in parts)
        if parts:
            with pq.ParquetWriter(folder / f"{evaluation}.parquet", schema) as writer:
                for part in parts:
                    writer.write_table(_predictions(*part, schema))


def _schema(every: Iterable[Scored]) -> pa.Schema:
    scored = list(every)
    rows = [("row", pa.int64())] if any(each.rows for each in scored) else []
    asked = [("asked", pa.string())] if any(each.asked for each in scored) else []
    return pa.schema([*rows, *PREDICTIONS, *asked])


def _predictions(cell: Cell, language: str, scored: Scored, schema: pa.Schema) -> pa.Table:
    count = len(scored.ids)
    columns: dict[str, Sequence[Any]] = {
        "row": scored.rows or [None] * count,
        "id": scored.ids,
        "cluster": scored.clusters,
        "prediction": [canonical_json(prediction) for prediction in scored.predictions],
        "gold": [canonical_json(gold) for gold in scored.golds],
        "backbone": [cell.backbone] * count,
        "arm": [cell.arm] * count,
        "seed_intermediate": [cell.seed_intermediate] * count,
        "seed_target": [cell.seed_target] * count,
        "language": [language] * count,
        "asked": scored.asked or [None] * count,
    }
    arrays = [pa.array(list(columns[field.name]), field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)
