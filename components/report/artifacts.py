"""Artifacts on the run's page: the report, its summary and the headline numbers."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from components.orphan import end_with_parent
from components.step_log import kept
from xstilts.errors import DataError, counted
from xstilts.runs.actions import report
from xstilts.runs.folder import open_run


def write(run: str, html: Any, markdown: Any, metrics: Any) -> str:
    """Writes the report and its KFP artifacts over the finished cells; the report names missing
    ones.
    """
    end_with_parent()
    with kept(run, "report"), tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        summary = report(run, Path(scratch))
        shutil.copyfile(Path(scratch) / "report.html", html.path)
        shutil.copyfile(Path(scratch) / "report.md", markdown.path)
    for contrast in summary.get("headline_effects", []):
        if contrast["effect"] is not None:  # KFP's metrics have neither null nor NaN
            metrics.log_metric(
                f"{contrast['backbone']} {contrast['evaluation']}", contrast["effect"]
            )
    metrics.log_metric("missing cells", len(summary["missing"]))
    return run


def verdict(run: str) -> str:
    """Raises DataError if the run's report names missing cells."""
    with kept(run, "verdict"):
        return _verdict(run)


def _verdict(run: str) -> str:
    store, folder = open_run(run)
    status = store.get_json(f"{folder}/status.json")
    if status is None:
        raise DataError(f"{run}: no report; the report step did not finish")
    if status["missing"]:
        names = ", ".join(str(missing["what"]) for missing in status["missing"][:5])
        raise DataError(
            f"missing: {counted(len(status['missing']), 'cell')} ({names}, …); see the report for "
            "reasons"
        )
    return run
