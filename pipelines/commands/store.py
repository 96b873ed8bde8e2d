"""`xstilts store`: the embedded S3 server, integrity checks and garbage collection."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say, warn
from xstilts.errors import counted

if TYPE_CHECKING:
    from xstilts.store.store import Store

app = new_app("Serve, verify or clean up the store of all outputs.")


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts store serve --port 9000",
        "xstilts runs --store s3://xstilts/store",
        note="The second line is for another terminal, after pasting the exports there.",
    ),
)
def serve(
    home: options.Home = Path(".xstilts"),
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 0,
) -> int:
    """Serve HOME/store over S3 until interrupted, and print what clients need: exports for a shell
    and the store's address.
    """
    from pipelines.local_runner import BUCKET_URI, interruptible
    from xstilts.store.private_files import private_folder
    from xstilts.store.server import serve as serve_folder

    home = home.resolve()
    private_folder(home)
    with (
        interruptible(),
        serve_folder(home / "store", port=port, log=home / "store.log", say=warn) as server,
    ):
        for key, value in server.env().items():
            say(f"export {key}={value}")
        say(f"# then: --store {BUCKET_URI}; Ctrl-C ends the server")
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts store verify",
        "xstilts store verify --repair --store s3://bucket/prefix",
        note="Exit code 3 if problems remain.",
    ),
)
def verify(
    store: options.LocalStore = None,
    home: options.Home = Path(".xstilts"),
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Delete corrupt objects and the records of the steps that need them or missing "
            "ones, so that the next run computes these steps again.",
        ),
    ] = False,
) -> int:
    """Check that every manifest and every file it names is complete and has its SHA-256."""
    from xstilts.store.verify import repair as repair_store
    from xstilts.store.verify import verify as verify_store

    with _opened(store, home) as opened:
        problems = verify_store(opened)
        steps = repair_store(opened, problems) if repair else 0
    for problem in problems:
        say(problem.text)
    say(counted(len(problems), "problem"))
    if repair and problems:
        say(f"{counted(steps, 'step')} removed; run their plans again to compute them")
    remaining = [problem for problem in problems if not (repair and problem.keys)]
    return 3 if remaining else 0


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts store gc --dry-run", "xstilts store gc --days 30 --store s3://bucket/prefix"
    ),
)
def gc(
    store: options.LocalStore = None,
    home: options.Home = Path(".xstilts"),
    days: Annotated[
        float,
        typer.Option(metavar="DAYS", min=0, help="Keep objects younger than this."),
    ] = 7,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be deleted, and delete nothing.")
    ] = False,
) -> int:
    """Delete objects that no run and no finished step references.

    Whatever DAYS is, nothing is deleted while a run may be active (it has not ended, and changed
    within 7 days), and files that no step names yet are kept for 7 days.
    """
    from xstilts.store.garbage import collect, garbage

    with _opened(store, home) as opened:
        unreferenced = garbage(opened, time.time(), days, use_index=dry_run)
        if not dry_run:
            collect(opened, unreferenced)
    verb = "would be deleted" if dry_run else "deleted"
    size, kept = unreferenced.size / 2**20, unreferenced.kept / 2**20
    say(f"{counted(len(unreferenced.keys), 'object')}, {size:.1f} MiB {verb}; {kept:.1f} MiB kept")
    return 0


@contextlib.contextmanager
def _opened(uri: str | None, home: Path) -> "Iterator[Store]":
    """The store at a URI, or the embedded one over HOME/store. PlanError if HOME has no runs."""
    from pipelines.local_runner import store_at
    from pipelines.opened_store import require_runs
    from xstilts.store.private_files import private_folder
    from xstilts.store.store import Store

    home = home.resolve()
    if uri or home.exists():
        private_folder(home)
    if not uri:
        require_runs(home)
    with store_at(uri, home) as address:
        yield Store.open(address, cache=Path(os.environ["XSTILTS_CACHE"]))
