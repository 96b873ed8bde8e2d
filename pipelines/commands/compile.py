"""`xstilts compile`: the KFP package."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say

app = new_app()


@app.command(
    "compile",
    cls=Command,
    epilog=examples("xstilts compile -o pipeline.yaml --settings k8s/kind/settings.yaml"),
)
def compile_package(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="File to write.")
    ] = Path("pipeline.yaml"),
    settings: options.SettingsFile = None,
) -> int:
    """Write the Kubeflow Pipelines package, to upload by hand.

    `submit` and `schedule` compile and upload it themselves.
    """
    from pipelines.cluster_settings import load_settings
    from pipelines.kfp.package import compile_to

    compile_to(output, load_settings(settings))
    say(f"wrote {output}")
    return 0
