"""The report of a run in its store, and its copy in a local folder.

`status.json` is deleted before anything of a report changes, and written after its last file: a run
without one has no report, whatever an earlier attempt left under `report/`.
"""

import shutil
from pathlib import Path
from typing import Any

from xstilts.errors import PlanError
from xstilts.new_files import replaced_folder
from xstilts.runs import report_reuse
from xstilts.store.store import Store

#: A file that every report has. A folder with it is a report's.
PAGE = "report.html"


def has_report(store: Store, run: str) -> bool:
    """Whether the last attempt of a run has finished its report."""
    return store.size(f"runs/{run}/status.json") is not None


def summary_of(store: Store, run: str) -> dict[str, Any] | None:
    """The summary of a run's report; None if the run has no report."""
    if not has_report(store, run):
        return None
    summary: dict[str, Any] | None = store.get_json(f"runs/{run}/report/summary.json")
    return summary


def delete(store: Store, folder: str) -> None:
    """Deletes a report and the record of what it was made from.

    folder: of the run, `runs/<run>`.
    """
    store.delete(f"{folder}/status.json")
    report_reuse.forget(store, folder)
    store.delete_all(store.list(f"{folder}/report/"))


def fetch(store: Store, run: str, local: Path) -> bool:
    """Downloads a run's report to a folder, in place of the report there. False, and the folder
    stays as it is, if the run has no report. PlanError as of `refuse_foreign`.
    """
    refuse_foreign(local)
    if not has_report(store, run):
        return False
    with replaced_folder(local) as folder:
        store.get_folder(f"runs/{run}/report/", folder)
    return True


def delete_local(local: Path) -> None:
    """Deletes the report in a folder; any other folder stays."""
    if (local / PAGE).is_file():
        shutil.rmtree(local)


def refuse_foreign(local: Path) -> None:
    """Raises PlanError if a folder is not one for a report: a file, or a folder of other files,
    which would be deleted.
    """
    if local.exists() and not local.is_dir():
        raise PlanError(f"{local} is a file; name another --out")
    if local.is_dir() and any(local.iterdir()) and not (local / PAGE).is_file():
        raise PlanError(
            f"{local} has files but no {PAGE}, so it is not the report of a run, and would be "
            "replaced by one; move it or name another --out"
        )
