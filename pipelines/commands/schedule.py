"""`xstilts schedule`: recurring benchmarks from files (docs/schedules.md)."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import note, say

app = new_app("Manage recurring benchmarks from files (docs/schedules.md).")

SERVER = "--host http://localhost:8888 --store s3://bucket/prefix"

Files = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="YAML file of one or more schedules, or a folder of them."),
]
MirrorOverride = Annotated[
    str | None,
    typer.Option(
        metavar="MIRROR",
        help="Mirror of all schedules.",
        show_default="that of each schedule or plan",
    ),
]
Prune = Annotated[
    bool,
    typer.Option(
        "--prune", help="Delete recurring runs of this store that are in none of the files."
    ),
]
#: `list` and `delete` accept the options of `apply`, so that one set of options fits all four.
UnusedText = Annotated[str | None, typer.Option(hidden=True)]
UnusedFlag = Annotated[bool, typer.Option(hidden=True)]


@app.command(
    cls=Command,
    epilog=examples(
        f"xstilts schedule apply pipelines/plans/schedules {SERVER}", note=options.CREDENTIALS
    ),
)
def apply(
    file: Files,
    host: options.Host,
    store: options.ClusterStore,
    mirror: MirrorOverride = None,
    namespace: options.Namespace = None,
    ca_cert: options.CaCertificate = None,
    settings: options.SettingsFile = None,
    allow_unlocked: options.AllowUnlocked = False,
    prune: Prune = False,
) -> int:
    """Make the server's recurring runs match the files. A second time it changes nothing."""
    from pipelines import schedules
    from pipelines.kfp.kfp_client import Kfp

    return schedules.apply(
        file, store, Kfp(host, namespace, ca_cert),
        mirror=mirror, settings_file=settings, allow_unlocked=allow_unlocked, prune=prune,
    )  # fmt: skip


@app.command(
    cls=Command,
    epilog=examples(
        f"xstilts schedule diff pipelines/plans/schedules {SERVER}", note=options.CREDENTIALS
    ),
)
def diff(
    file: Files,
    host: options.Host,
    store: options.ClusterStore,
    mirror: MirrorOverride = None,
    namespace: options.Namespace = None,
    ca_cert: options.CaCertificate = None,
    settings: options.SettingsFile = None,
    allow_unlocked: options.AllowUnlocked = False,
    prune: Prune = False,
) -> int:
    """Show what `apply` would change, and change nothing."""
    from pipelines import schedules
    from pipelines.kfp.kfp_client import Kfp

    return schedules.diff(
        file, store, Kfp(host, namespace, ca_cert),
        mirror=mirror, settings_file=settings, allow_unlocked=allow_unlocked, prune=prune,
    )  # fmt: skip


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts schedule check pipelines/plans/schedules",
        note="Exit code 2 if a schedule or its plan has mistakes; all of them are listed.",
    ),
)
def check(file: Files, settings: options.SettingsFile = None) -> int:
    """Check schedules and their plans for mistakes. Reads no data, no server and no network."""
    from pipelines import schedules

    return schedules.check(file, settings)


@app.command(
    "list",
    cls=Command,
    epilog=examples(f"xstilts schedule list {SERVER}", note=options.CREDENTIALS),
)
def list_runs(
    host: options.Host,
    store: options.ClusterStore,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="Not used: all schedules of the store are listed. Accepted as by `apply`.",
        ),
    ] = None,
    namespace: options.Namespace = None,
    ca_cert: options.CaCertificate = None,
    mirror: UnusedText = None,
    settings: UnusedText = None,
    allow_unlocked: UnusedFlag = False,
    prune: UnusedFlag = False,
) -> int:
    """List the recurring runs of a store, with the number of firings and the last run."""
    from pipelines import schedules
    from pipelines.kfp.kfp_client import Kfp

    return schedules.list_runs(store, Kfp(host, namespace, ca_cert))


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts schedule history weekly --store s3://bucket/prefix --out history",
        note=options.CREDENTIALS,
    ),
)
def history(
    schedule: Annotated[str, typer.Argument(metavar="NAME", help="Name of the schedule.")],
    store: options.ClusterStore,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the page and the reports.")
    ] = Path("history"),
) -> int:
    """Write a page with the report of every firing and what changed between them."""
    from pipelines.opened_store import opened_store
    from xstilts.runs.firing_history import write_history

    with opened_store(store, Path(".xstilts")) as opened:
        page = write_history(
            opened, schedule, out, lambda firing: note(f"firing {firing.number}: {firing.run}")
        )
    say(f"history: {page}")
    return 0


@app.command(
    cls=Command,
    epilog=examples(
        f"xstilts schedule delete weekly {SERVER}",
        f"xstilts schedule delete pipelines/plans/schedules {SERVER}",
        note=options.CREDENTIALS,
    ),
)
def delete(
    schedule: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="Name of a schedule, or YAML file of one or more schedules, or a folder of them.",
        ),
    ],
    host: options.Host,
    store: options.ClusterStore,
    namespace: options.Namespace = None,
    ca_cert: options.CaCertificate = None,
    settings: options.SettingsFile = None,
    mirror: UnusedText = None,
    allow_unlocked: UnusedFlag = False,
    prune: UnusedFlag = False,
) -> int:
    """Delete the recurring run of a schedule, or of all schedules in files. Their finished runs are
    kept.
    """
    from pipelines import schedules
    from pipelines.kfp.kfp_client import Kfp

    kfp = Kfp(host, namespace, ca_cert)
    return schedules.delete(schedule, store, kfp, settings_file=settings)
