"""How a command is built on Typer: plain help that starts fast,
`--quiet`, `--verbose` and `--debug` everywhere, options in any order.
"""

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from pipelines.console import Level, level, set_level

#: `pipelines.cli.main` looks for it on the command line: it matters when parsing fails as well.
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", expose_value=False)
]


def _set_level(chosen: Level, given: bool) -> None:
    if not given:
        return
    if level() not in (Level.NORMAL, chosen):
        raise typer.BadParameter(f"{chosen.value} and {level().value} exclude each other")
    set_level(chosen)


Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="No progress: only results, warnings and errors.",
        callback=lambda given: _set_level(Level.QUIET, given),
        expose_value=False,
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Also log lines, on stderr: files read, requests sent, and the logs of the steps of "
        "`run`.",
        callback=lambda given: _set_level(Level.VERBOSE, given),
        expose_value=False,
    ),
]


def _common(quiet: Quiet = False, verbose: Verbose = False, debug: Debug = False) -> None:
    """A command with the options that every command takes."""


class Command(TyperCommand):
    """A command that also takes `--quiet`, `--verbose` and `--debug`."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        super().__init__(name, **settings)
        if self.callback is not None and self.callback.__name__ != "_common":
            self.params.extend(typer.main.get_command(_only_common).params)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _refuse_empty(self.params, args)
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """A command with subcommands. Options may come before the subcommand; without arguments it
    prints its help, unless it does something of its own.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _refuse_empty(self.params, args)
        if not args and not self.invoke_without_command:
            args = ["--help"]
        position = next((i for i, text in enumerate(args) if text in self.commands), None)
        if position is not None and ctx.parent is not None:
            args = [args[position], *args[:position], *args[position + 1 :]]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Lists the subcommands with the first sentence of their help, whole."""
        rows = [(name, _summary(command.help or "")) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _refuse_empty(params: Sequence[Any], args: Sequence[str]) -> None:
    """Refuses options with an empty value, such as that of an unset shell variable: as a path it
    would be the current folder, and elsewhere mean the default.
    """
    options = [param for param in params if param.param_type_name == "option" and not param.is_flag]
    names = {name for param in options for name in param.opts}
    for option, value in zip_longest(args, args[1:]):
        if option == "--":
            break
        name, equals, attached = option.partition("=")
        if name in names and (attached if equals else value) == "":
            raise typer.BadParameter(f"{name}: the value is empty; set one, or omit {name}")


def _summary(text: str) -> str:
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph)[0]


def new_app(
    help: str | None = None, cls: type[TyperGroup] = Group, completion: bool = False
) -> typer.Typer:
    """A Typer app for one command.

    Args:
        help: for a command with subcommands.
        cls: of a command with subcommands.
        completion: whether it has the options that install the completion of a shell.
    """
    app = typer.Typer(
        cls=cls,
        rich_markup_mode=None,
        add_completion=completion,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    if help is not None:
        app.info.help = help
    return app


def examples(*lines: str, note: str = "") -> str:
    """The end of a command's help: example command lines, kept as they are, and a note."""
    title = "Examples:" if len(lines) > 1 else "Example:"
    block = "\n".join(["\b", title, *(f"  {line}" for line in lines)])
    return f"{block}\n\n{note}" if note else block


_only_common = typer.Typer(add_completion=False)
_only_common.command()(_common)
