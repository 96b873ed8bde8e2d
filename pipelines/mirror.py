"""`xstilts mirror pull` and `verify`: what they print and how they end."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xstilts.errors import PlanError


def _say(text: str) -> None:
    print(text, file=sys.__stdout__, flush=True)


def pull(given: argparse.Namespace) -> int:
    """Copies what a plan needs, lists what came and its licences. Exit codes as everywhere; the
    same command goes on.
    """
    from xstilts.environment import numeric_environment
    from xstilts.mirror.licences import licence_rows
    from xstilts.mirror.pull import pull as pull_
    from xstilts.mirror.target import open_target
    from xstilts.plan.expand import expand
    from xstilts.plan.load import load_plan
    from xstilts.sources.mirrors import open_mirror

    if not given.plan:
        raise PlanError("mirror pull copies what a plan needs: name it with --plan")
    if not Path(given.plan).is_file():
        raise PlanError(f"{given.plan}: no such plan file")
    origin, target = open_mirror(given.origin), open_target(given.dir)
    if origin.address == target.address:
        raise PlanError(f"--from {given.origin}: that is the target itself")
    expansion = expand(load_plan(Path(given.plan)), origin, numeric_environment())
    pulled = pull_(expansion, origin, target, _now_and_then(_say))
    rows = licence_rows(pulled.records)
    target.put_json(
        "licences.json",
        licence_rows(r for f in target.recorded_folders() if (r := target.record(f))),
    )
    _show(rows)
    for reason in pulled.left_out:
        _say(f"left out  {reason}")
    for missing in expansion.skipped_languages:
        _say(
            f"not at {origin.address}  {missing['evaluation']} {missing['language']}: {missing['reason']}"
        )
    _say(
        f"{target.address}: {pulled.fetched} files fetched ({pulled.bytes / 1e6:.1f} MB), {pulled.kept} kept"
    )
    return 0


def verify(given: argparse.Namespace) -> int:
    """Holds every recorded file of a mirror against its SHA-256; exit code 3 when one is missing
    or spoilt.
    """
    from xstilts.mirror.target import open_target
    from xstilts.mirror.verify import remove_corrupt
    from xstilts.mirror.verify import verify as verify_

    if not given.dir.startswith("s3://") and not Path(given.dir).is_dir():
        raise PlanError(f"{given.dir}: no such folder")
    target = open_target(given.dir)
    count, problems = verify_(target)
    for problem in problems:
        _say(str(problem))
    _say(f"{target.address}: {count} files, {len(problems)} problems")
    if problems and given.forget:
        remove_corrupt(target, problems)
        _say("forgotten: the next pull fetches them")
    return 3 if problems else 0


def _now_and_then(say: Callable[[str], None]) -> Callable[[str], None]:
    """At most a line a second, the first always."""
    last = [0.0]

    def told(text: str) -> None:
        if time.monotonic() - last[0] >= 1.0:
            last[0] = time.monotonic()
            say(text)

    return told


def _show(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("set", "commit", "files", "MB", "licence", "heed")
    for row in rows:
        commits = ", ".join(one[:12] for one in row["revisions"]) or "none"
        table.add_row(
            row["set"],
            commits,
            str(row["files"]),
            f"{row['bytes'] / 1e6:.1f}",
            row["licence"]
            or (f"{row['registry']} (not on its card)" if row["registry"] else "not stated"),
            row["heed"],
        )
    Console().print(table)
