"""`xstilts lock`: the images and digests in images/images.lock."""

from typing import Annotated

import typer

from pipelines.commands.app import Command, examples, new_app
from xstilts.errors import PlanError

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts lock",
        "xstilts lock base --resolve",
        "xstilts lock --registry ghcr.io/me/xstilts --tag 1.0 --resolve",
    ),
)
def lock(
    image: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE", help="Images to show or update.", show_default="all, `base` included"
        ),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(
            metavar="R", help="Registry of the project's images: R/plan-python and so on."
        ),
    ] = None,
    tag: Annotated[str | None, typer.Option(metavar="T", help="Tag of these images.")] = None,
    resolve: Annotated[
        bool,
        typer.Option("--resolve", help="Ask the registries for the digests and write the lock."),
    ] = False,
) -> int:
    """Show the images and digests in images/images.lock, or update them with --resolve.

    Prints name, reference and digest of every image, `-` for an unknown digest.
    """
    from components import images
    from pipelines import image_lock

    entries = image_lock.renamed(images.lock(), registry, tag)
    names = image or list(entries)
    if unknown := [name for name in names if name not in entries]:
        raise PlanError(f"unknown image {', '.join(unknown)}; images.lock has {', '.join(entries)}")
    selected = {name: entries[name] for name in names}
    if resolve:
        selected = image_lock.resolved(selected)
        image_lock.write({**entries, **selected})
    for line in image_lock.lines(selected):
        print(line, flush=True)
    return 0
