"""`xstilts plans`: the shipped plans."""

import json

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say
from xstilts.errors import counted

app = new_app()


@app.command(
    cls=Command,
    epilog=examples("xstilts plans", "xstilts run demo", "xstilts plan modality --offline"),
)
def plans(as_json: options.Json = False) -> int:
    """List the shipped plans. Every command that takes a plan accepts their names."""
    from pipelines.plan_file import describe, shipped_plans

    rows = [describe(file) for file in shipped_plans().values()]
    if as_json:
        say(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        sizes = " × ".join(
            counted(row[f"{kind}s"], kind) for kind in ("backbone", "arm", "evaluation")
        )
        say(f"{row['name']:{width}}  {row['title']}")
        say(f"{'':{width}}  {sizes}, data from {row['mirror']}")
    return 0
