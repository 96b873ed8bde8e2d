"""What a person sees on the run's page: the report, its summary, and the headline numbers."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from components.orphan import end_with_parent
from xstilts.run import report


def write(run: str, html: Any, markdown: Any, metrics: Any) -> str:
    """Makes the report and its KFP artifacts. Raises RuntimeError, after all is written, when cells are missing."""
    end_with_parent()
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        summary = report(run, Path(scratch))
        shutil.copyfile(Path(scratch) / "report.html", html.path)
        shutil.copyfile(Path(scratch) / "report.md", markdown.path)
    for contrast in summary.get("headline_effects", []):
        metrics.log_metric(f"{contrast['backbone']} {contrast['evaluation']}", contrast["effect"])
    metrics.log_metric("missing cells", len(summary["missing"]))
    if summary["missing"]:
        raise RuntimeError(f"{len(summary['missing'])} cells are missing; the report names them")
    return run
