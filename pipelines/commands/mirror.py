"""`xstilts mirror`: generates, fills and verifies mirrors of data and models."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipelines.commands import completion
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import Level, cell, level, note, say
from xstilts.errors import PlanError, counted

app = new_app(
    "Create, fill or verify a mirror: a folder or S3 prefix that is laid out like the Hugging "
    "Face hub."
)

Target = Annotated[
    str, typer.Argument(metavar="DIR", help="Folder or s3://bucket/prefix of the mirror.")
]


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts mirror miniature /tmp/miniature",
        "xstilts mirror miniature /tmp/real-sizes --pictures real",
    ),
)
def miniature(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create.")],
    seed: Annotated[
        int, typer.Option(metavar="N", help="Another seed gives other rows of the same world.")
    ] = 0,
    pictures: Annotated[
        Literal["small", "real"],
        typer.Option(help="real: pictures and texts of real sizes, and few rows."),
    ] = "small",
) -> int:
    """Generate the miniature: a small world of invented languages and drawn images."""
    from xstilts.miniature.write import write_miniature
    from xstilts.new_files import new_folder

    with new_folder(folder) as part:
        write_miniature(part, seed=seed, pictures=pictures)
    say(f"wrote the miniature to {folder}")
    return 0


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts mirror pull s3://bucket/mirror --plan PLAN",
        "xstilts mirror pull DIR --plan PLAN --from s3://bucket/mirror",
    ),
)
def pull(
    target: Target,
    plan: Annotated[
        Path,
        typer.Option(
            metavar="PLAN",
            help="Plan whose data and models are copied.",
            autocompletion=completion.plan_names,
        ),
    ],
    origin: Annotated[
        str,
        typer.Option(
            "--from", metavar="MIRROR", help="Copy from hub, a folder or s3://bucket/prefix."
        ),
    ] = "hub",
) -> int:
    """Copy the data and models that a plan needs, and list them with their licenses.

    Files that are already there and intact are kept: run the same command to resume.
    """
    from pipelines.plan_file import expand_plan, read_plan
    from xstilts.mirror.licences import licence_rows
    from xstilts.mirror.pull import pull as pull_files
    from xstilts.mirror.target import alone, open_target
    from xstilts.sources.mirrors import open_mirror

    checked = read_plan(plan)
    source, destination = open_mirror(origin, "--from"), open_target(target)
    if source.address == destination.address:
        raise PlanError(f"--from {origin}: source and target are the same mirror")
    expansion = expand_plan(checked, origin)
    progress = note if level() is Level.VERBOSE else _once_a_second(note)
    with alone(destination.address):
        pulled = pull_files(expansion, source, destination, progress)
        rows = licence_rows(pulled.records)
        folders = destination.recorded_folders()
        records = [record for folder in folders if (record := destination.record(folder))]
        destination.put_json("licences.json", licence_rows(records))
    _print_licenses(rows)
    for reason in pulled.left_out:
        say(f"left out  {reason}")
    for skipped in expansion.skipped_languages:
        evaluation, language = skipped["evaluation"], skipped["language"]
        say(f"not at {source.address}  {evaluation} {language}: {skipped['reason']}")
    megabytes = f"{pulled.bytes / 1e6:.1f} MB"
    say(f"{destination.address}: {pulled.fetched} files fetched ({megabytes}), {pulled.kept} kept")
    return 0


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts mirror verify DIR",
        "xstilts mirror verify s3://bucket/mirror --forget",
        note="Exit code 3 if a file is missing or corrupt.",
    ),
)
def verify(
    target: Target,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Remove corrupt files from the record, so that the next pull fetches them.",
        ),
    ] = False,
) -> int:
    """Compare every recorded file of a mirror with its SHA-256."""
    from xstilts.mirror.target import open_target
    from xstilts.mirror.verify import remove_corrupt
    from xstilts.mirror.verify import verify as verify_files

    if not target.startswith("s3://") and not Path(target).is_dir():
        raise PlanError(f"{target}: no such folder")
    mirror = open_target(target)
    count, problems = verify_files(mirror)
    for problem in problems:
        say(str(problem))
    say(f"{mirror.address}: {counted(count, 'file')}, {counted(len(problems), 'problem')}")
    if problems and forget:
        remove_corrupt(mirror, problems)
        say("removed from the record: the next pull fetches these files")
    return 3 if problems else 0


def _once_a_second(print_line: Callable[[str], None]) -> Callable[[str], None]:
    """Limits progress to one line a second; the first line is always printed."""
    last = [0.0]

    def limited(text: str) -> None:
        if time.monotonic() - last[0] >= 1.0:
            last[0] = time.monotonic()
            print_line(text)

    return limited


def _print_licenses(rows: Sequence[dict[str, Any]]) -> None:
    from xstilts.terminal_tables import console, table

    columns = ("data set or model", "commit", "files", "MB", "license", "note")
    shown = table(columns, numbers=("files", "MB"))
    for row in rows:
        registry = f"{row['registry']} (not on its card)" if row["registry"] else "not stated"
        values = (
            row["set"],
            ", ".join(revision[:12] for revision in row["revisions"]) or "none",
            row["files"],
            f"{row['bytes'] / 1e6:.1f}",
            row["licence"] or registry,
            row["heed"],
        )
        shown.add_row(*map(cell, values))
    console().print(shown)
