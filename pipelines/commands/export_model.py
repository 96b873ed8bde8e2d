"""`xstilts export-model`: a trained model as a folder for transformers and peft."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say

app = new_app()


@app.command(
    "export-model",
    cls=Command,
    epilog=examples(
        "xstilts export-model demo --list",
        "xstilts export-model demo tiny-llava.captions-lm.squad.i0.t0 model/",
        note=options.CREDENTIALS,
    ),
)
def export_model(
    run: options.RunName,
    cell: Annotated[
        str | None,
        typer.Argument(metavar="CELL", help="Id of the cell; --list shows them."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="New folder for the model.")
    ] = None,
    store: options.RunStore = None,
    home: options.Home = Path(".xstilts"),
    list_cells: Annotated[
        bool, typer.Option("--list", help="List the cells of the run that have a model.")
    ] = False,
) -> int:
    """Write the trained model or adapter of a cell as a folder that transformers and peft load.

    The folder has a model card with base model, data, licenses and scores.
    """
    from pipelines.opened_store import opened_store
    from pipelines.run_list import run_named
    from pipelines.training_log import expansion_of
    from xstilts.errors import PlanError
    from xstilts.runs.export_model import export_model as write

    if not list_cells and (cell is None or folder is None):
        raise PlanError("export-model: name a cell and a folder, or --list the cells")
    with opened_store(store, home) as opened:
        name = run_named(opened, run)
        if list_cells:
            done = opened.done("finetune")
            for trained in expansion_of(opened, name).cells:
                if trained["chain"] and trained["chain"][-1] in done:
                    say(trained["id"])
            return 0
        assert cell is not None
        assert folder is not None
        exported = write(opened, name, cell, folder)
    base = ""
    if exported.kind == "adapter":
        own = exported.base == "base"  # a folder beside the adapter
        base = " and its base model" if own else f" for {exported.base}"
    say(f"wrote the {exported.kind}{base} to {exported.folder}; README.md shows how to load it")
    return 0
