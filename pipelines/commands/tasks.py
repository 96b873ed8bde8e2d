"""`xstilts tasks` and `tasks probe`: the tasks that plans can name, and their sources."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.commands import completion, options
from pipelines.commands.app import Command, Debug, Quiet, Verbose, examples, new_app
from pipelines.console import cell, say
from xstilts.errors import counted

app = new_app()

#: Exit codes of `tasks probe`.
MISSING, CHANGED = 3, 5


@app.callback(
    invoke_without_command=True,
    epilog=examples("xstilts tasks", "xstilts tasks --json", "xstilts tasks probe --mirror DIR"),
)
def tasks(
    ctx: typer.Context,
    files: options.TaskFiles = None,
    as_json: options.Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> int:
    """List the tasks that plans can name: intermediate tasks, targets and evaluations.

    `tasks probe` checks that their sources can be read.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    from xstilts.tasks.private import read_task_files, with_private
    from xstilts.tasks.registry import as_json as rows_of_tasks

    rows = rows_of_tasks(with_private(read_task_files(files or [])))
    if as_json:
        say(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        _print_tables(rows)
    return 0


def _print_tables(rows: Sequence[dict[str, Any]]) -> None:
    """One table for each role, narrow enough for 80 columns; --json and docs/tasks.md have the
    other fields.
    """
    from xstilts.terminal_tables import console, table

    for role in dict.fromkeys(row["role"] for row in rows):
        trained = role != "evaluation"
        columns = ("image", "objective") if trained else ()
        shown = table(("task", "format", *columns, "languages", "metric"), title=role)
        for row in (row for row in rows if row["role"] == role):
            languages, metrics = row["languages"], row["metrics"]
            image = "yes" if row["modality"] == "image" else ""
            values = (
                row["name"],
                row["format"],
                *((image, ", ".join(row["objectives"])) if trained else ()),
                len(languages) if len(languages) > 1 else languages[0],
                metrics[0] if metrics else "",
            )
            shown.add_row(*map(cell, values))
        console().print(shown)
        say("")


class LockCommand(Command):
    """`--lock` without a file name means the default lock file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--lock" in args:
            after = args.index("--lock") + 1
            if after == len(args) or args[after].startswith("-"):
                args = [*args[:after], str(_default_lock()), *args[after:]]
        return super().parse_args(ctx, args)


def _default_lock() -> Path:
    from xstilts.mirror.probe import LOCK

    return LOCK


@app.command(
    cls=LockCommand,
    epilog=examples(
        "xstilts tasks probe",
        "xstilts tasks probe --mirror s3://bucket/mirror --task xnli --rows 100",
        "xstilts tasks probe --lock",
        note="Exit code 3 if a source is missing, 5 if one has changed.",
    ),
)
def probe(
    mirror: Annotated[
        str, typer.Option(metavar="MIRROR", help="hub, a folder or s3://bucket/prefix.")
    ] = "hub",
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Check this task only; repeat for several.",
            autocompletion=completion.task_names,
            show_default="all tasks",
        ),
    ] = None,
    rows: Annotated[int, options.number("Rows to read of each source.")] = 20,
    lock: Annotated[
        Path | None,
        typer.Option(
            metavar="[FILE]",
            help="Record the result in hub.lock, or in FILE.",
        ),
    ] = None,
    files: options.TaskFiles = None,
    as_json: options.Json = False,
) -> int:
    """Check that the sources of all tasks can be read and have not changed since hub.lock."""
    from xstilts.mirror.probe import probe as probe_sources
    from xstilts.mirror.probe import write_lock
    from xstilts.tasks.private import read_task_files, with_private

    results = probe_sources(
        mirror,
        lock or _default_lock(),
        task or [],
        rows,
        with_private(read_task_files(files or [])),
    )
    by_status = {
        status: [row for row in results if row["status"] == status]
        for status in ("missing", "changed", "licensed", "ok")
    }
    if as_json:
        say(json.dumps(results, indent=2, ensure_ascii=False))
    else:
        for status in ("missing", "changed", "licensed"):
            for row in by_status[status]:
                where = f" {row['path']} ({row['part']}):" if status == "changed" else ""
                source = f"{row['task']} {row['split']} {row['language']}"
                say(f"{status:8} {source}:{where} {row['reason']}")
        counts = ", ".join(f"{len(rows)} {status}" for status, rows in by_status.items() if rows)
        unverified = sum(not row["verified"] for row in by_status["ok"])
        say(
            f"{counted(len(results), 'source')}: {counts}; {unverified} of the readable ones are "
            "not verified in hub.lock"
        )
    if lock is not None:
        say(f"{lock}: wrote {counted(write_lock(results, lock), 'data set')}")
        return MISSING if by_status["missing"] else 0
    return MISSING if by_status["missing"] else CHANGED if by_status["changed"] else 0
