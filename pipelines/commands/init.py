"""`xstilts init`: a commented plan to start from."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import completion
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import note, say
from xstilts.errors import PlanError

app = new_app()

TEMPLATE = Path(__file__).parents[1] / "plan_template.yaml"


@app.command(
    cls=Command,
    epilog=examples("xstilts init my-plan.yaml", "xstilts init my-plan.yaml --from demo"),
)
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")] = Path(
        "plan.yaml"
    ),
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PLAN",
            autocompletion=completion.plan_names,
            help="Copy this plan, a file or the name of a shipped plan.",
            show_default="a commented template",
        ),
    ] = None,
) -> int:
    """Write a commented plan, which runs on the generated miniature, to start from."""
    from pipelines.plan_file import plan_file

    if file.exists():
        raise PlanError(f"{file} exists; name a new file")
    text = (TEMPLATE if origin is None else plan_file(origin)).read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)  # the schema's path is relative to the shipped plan
    kept = [line for line in lines if not line.startswith("# yaml-language-server")]
    file.write_text("".join(kept), encoding="utf-8")
    say(f"wrote {file}")
    note("Edit it, then:")
    note(f"  xstilts check {file}    # without data or network")
    note(f"  xstilts run {file} --limit 8    # a smoke run of minutes")
    return 0
