"""`xstilts runs`: local runs and those of a cluster."""

import json
from pathlib import Path

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts runs", "xstilts runs --store s3://bucket/prefix", note=options.CREDENTIALS
    ),
)
def runs(
    store: options.RunStore = None,
    home: options.Home = Path(".xstilts"),
    as_json: options.Json = False,
) -> int:
    """List the local runs of HOME, and with --store also those of a cluster."""
    from pipelines.opened_store import opened_store
    from pipelines.run_list import runs as runs_of

    rows = []
    local = (home / "store").is_dir()
    for uri in ([None] if local or store is None else []) + ([store] if store else []):
        with opened_store(uri, home) as opened:
            rows += list(runs_of(opened))
    if as_json:
        say(json.dumps([row.json() for row in rows], indent=2, ensure_ascii=False))
        return 0
    width = max((len(row.run) for row in rows), default=0)
    for row in rows:
        say(row.line(width))
    if not rows:
        say("no runs")
    return 0
