"""Values that a shell completes: names of plans, tasks, runs and mirrors. Where none begins like
the word, shells complete the names of files. All are read from files of this machine, since a
shell waits for them.
"""

import re
from pathlib import Path

import typer

#: The date and process at the end of a local run's name; the rest is the plan's.
_DATED = re.compile(r"-\d{8}-\d{6}-\d+$")


def plan_names(incomplete: str) -> list[str]:
    shipped = (Path(__file__).parents[1] / "plans").glob("*.yaml")
    return sorted(file.stem for file in shipped if file.stem.startswith(incomplete))


def task_names(incomplete: str) -> list[str]:
    from xstilts.tasks.registry import TASKS

    return [name for name in TASKS if name.startswith(incomplete)]


def run_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Local runs in --home, and their plans. Those of a cluster are not asked for."""
    if ctx.params.get("store"):
        return []
    folder = Path(ctx.params.get("home") or ".xstilts") / "store" / "xstilts" / "store" / "runs"
    runs = [file.parent.name for file in folder.glob("*/run.json")]
    names = {*runs, *(_DATED.sub("", run) for run in runs)}
    return sorted(name for name in names if name.startswith(incomplete))


def mirror_names(incomplete: str) -> list[str]:
    return [name for name in ("hub", "miniature") if name.startswith(incomplete)]
