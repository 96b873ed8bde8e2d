"""Parses command lines of xstilts without running them."""

from collections.abc import Sequence
from typing import Any

import typer

from pipelines.cli import app, usage_message


def problem(arguments: Sequence[str]) -> str | None:
    """The usage error of a command line, or None."""
    command: Any = typer.main.get_command(app)
    context, rest = None, list(arguments)
    try:
        while True:
            context = command.make_context(command.name or "xstilts", rest, parent=context)
            rest = [*context._protected_args, *context.args]
            if not hasattr(command, "commands") or not rest:
                return None
            _, command, rest = command.resolve_command(context, rest)
    except typer.TyperException as error:
        return usage_message(error)
    except typer.Exit:  # --help, --version
        return None
