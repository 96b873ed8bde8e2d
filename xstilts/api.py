"""The public Python API; `import xstilts` offers these functions without importing torch or Ray."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xstilts.errors import PlanError, RunFailed
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.schema import Plan

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Expansion", "Plan", "effects", "expand", "load_plan", "results", "run"]


def expand(
    plan: Plan | Path | str, mirror: str | None = None, home: Path | str = ".xstilts"
) -> Expansion:
    """Every step and cell of a plan, as `xstilts plan` shows them. Nothing is run.

    Args:
        plan: a loaded plan, a YAML file, or YAML text.
        mirror: `hub`, `miniature`, a folder or an `s3://` URI. Default: the plan's own.
        home: where `miniature` is written on first use.

    Raises:
        PlanError: the plan is invalid.
        DataError: the mirror lacks data that the plan cannot do without.
    """
    from xstilts.environment import numeric_environment
    from xstilts.plan.expand import expand as expand_plan
    from xstilts.runs.mirror_choice import mirror_for
    from xstilts.sources.mirrors import open_mirror

    loaded = plan if isinstance(plan, Plan) else load_plan(plan)
    folder = Path(home).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return expand_plan(
        loaded, open_mirror(mirror_for(mirror, loaded.mirror, folder)), numeric_environment()
    )


def run(
    plan: Path | str,
    out: Path | str | None = None,
    mirror: str | None = None,
    store: str | None = None,
    home: Path | str = ".xstilts",
    runner: Literal["subprocess", "docker"] = "subprocess",
) -> Path:
    """Runs a plan on this machine, in a process of its own, and returns the report folder.

    A run resumes: steps that the store already has are not computed again. Progress goes to the
    process's standard output and error.

    Args:
        plan: the plan's YAML file.
        out: folder for the report and the logs. Default: `runs/<plan's name>`.
        mirror: as in `expand`.
        store: `s3://bucket/prefix`. Default: an embedded server over `home`.
        home: folder that runs share: store, cache, miniature.
        runner: `docker` runs every component in its own image.

    Raises:
        PlanError: the plan is invalid.
        RunFailed: the run failed, or finished with failed cells (`exit_code` 4, and the report
            exists).
    """
    folder = Path(out) if out is not None else Path("runs") / load_plan(Path(plan)).name
    command = [
        sys.executable,
        "-m",
        "xstilts",
        "run",
        str(plan),
        "--home",
        str(home),
        "--out",
        str(folder),
    ]
    command += ["--runner", runner]
    for option, value in (("--mirror", mirror), ("--store", store)):
        command += [option, value] if value is not None else []
    code = subprocess.run(command, check=False).returncode
    if code:
        raise RunFailed(
            f"{plan}: the run exited with code {code}; see the messages above and {folder}/logs",
            code,
        )
    return folder / "report"


def results(run: Path | str) -> "pd.DataFrame":
    """Scores of a finished run: one row per cell, evaluation, language and metric.

    docs/results.md describes the columns. `run` is what `xstilts.run` returned, the `--out` folder
    of a run, or the URI `s3://bucket/prefix/runs/<run>`.
    """
    return _table(run, "results.parquet")


def effects(run: Path | str) -> "pd.DataFrame":
    """Effects of a finished run: contrasts between arms with intervals and adjusted p-values.

    docs/results.md describes the columns. `run` as in `results`.
    """
    return _table(run, "effects.parquet")


def _table(run: Path | str, name: str) -> "pd.DataFrame":
    from xstilts.analysis.table_file import parse_table, read_table

    if str(run).startswith("s3://"):
        import io

        from xstilts.runs.folder import open_run
        from xstilts.runs.stored_report import has_report

        store, folder = open_run(str(run))
        key = f"{folder}/report/{name}"
        data = store.get_bytes_at(key) if has_report(store, folder.removeprefix("runs/")) else None
        if data is None:
            raise PlanError(f"{run}: no report/{name}; the run has no report yet")
        return parse_table(io.BytesIO(data), name, f"{run}/report/{name}")
    for path in (Path(run) / name, Path(run) / "report" / name):
        if path.is_file():
            return read_table(path)
    raise PlanError(
        f"{run}: no {name} here or in report/; pass the report folder of a finished run"
    )
