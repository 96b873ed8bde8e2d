"""The command line. A command's module is imported only when the command is used, and heavy
libraries only when a command needs them.
"""

import importlib
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from pipelines import failures
from pipelines.commands.app import Debug, Group, Quiet, Verbose, examples, new_app
from pipelines.console import Level, set_level, warn
from xstilts import __version__
from xstilts.errors import XstiltsError, printable, without_credentials

#: Command → its summary. Each is the `app` of pipelines/commands/<command>.py, `-` as `_`.
COMMANDS: Mapping[str, str] = {
    "run": "Run a plan on this machine.",
    "plans": "List the shipped plans.",
    "init": "Write a commented plan to start from.",
    "check": "Check a plan for mistakes, without data or network.",
    "plan": "Show what a plan would run, what is shared and what is already done.",
    "rates": "Choose learning rates on English dev data of the arm `none`.",
    "compile": "Write the Kubeflow Pipelines package.",
    "submit": "Run a plan on a cluster.",
    "runs": "List local runs and those of a cluster.",
    "status": "Show the state of a run.",
    "wait": "Wait for a run on a cluster and return its exit code.",
    "logs": "Show or follow the logs of a run.",
    "train-log": "Show learning curves, time and GPU-hours of a run.",
    "cancel": "Cancel a run on a cluster; finished steps are kept.",
    "report": "Download the report of a run.",
    "results": "Print scores or effects as CSV, JSON, Markdown or LaTeX.",
    "schedule": "Manage recurring benchmarks from files.",
    "tasks": "List the tasks, or check their sources.",
    "mirror": "Create, fill or verify a mirror of data and models.",
    "store": "Serve, verify or clean up the store.",
    "lock": "Show or update the images and digests in images/images.lock.",
    "doctor": "Check this machine or a cluster for missing requirements.",
    "export": "Write a report's predictions as XTREME-R submissions.",
    "export-model": "Write a trained model for transformers and peft.",
    "validate": "Check a submission for errors.",
    "grade": "Score a submission.",
    "calibrate": "Check the report's intervals on simulated runs.",
}

#: Typer's options that print or install the completion of the shell they are called from.
COMPLETION = frozenset(("--install-completion", "--show-completion"))
UNEXPECTED, USAGE, INTERRUPTED = 1, 2, 130


class LazyGroup(Group):
    """The commands of COMMANDS, each imported when it is used."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": dict.fromkeys(COMMANDS)})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pipelines.commands.{cmd_name.replace('-', '_')}")
        return typer.main.get_command(module.app)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = new_app(cls=LazyGroup, completion=True)


def _print_version(show: bool) -> None:
    if show:
        print(__version__)
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version",
        "-V",
        callback=_print_version,
        is_eager=True,
        expose_value=False,
        help="Show the version and exit.",
    ),
]


@app.callback(
    epilog=examples(
        "xstilts run demo",
        "xstilts init my-plan.yaml",
        "xstilts check my-plan.yaml",
        "xstilts plan my-plan.yaml --mirror hub",
        "xstilts submit PLAN --host http://localhost:8888 --store s3://bucket/prefix",
    )
)
def _root(
    version: Version = False, quiet: Quiet = False, verbose: Verbose = False, debug: Debug = False
) -> None:
    """Measure what multimodal intermediate tasks do to zero-shot cross-lingual transfer.

    `xstilts COMMAND --help` describes a command. Exit codes: 0 done, 1 unexpected error,
    2 invalid usage, plan or data, 3 infrastructure error, 4 finished with failed cells,
    5 change or regression found, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code; errors are one message on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    set_level(Level.NORMAL)
    try:
        command = typer.main.get_command(app)
        code = command.main(arguments, prog_name="xstilts", standalone_mode=False)
    except XstiltsError as error:
        if debug:
            _print_traceback()
        warn(str(error))
        return error.exit_code
    except typer.TyperException as error:
        warn(usage_message(error))
        return USAGE
    except SystemExit as error:  # Typer's answer to a broken pipe
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        failures.silence_output()
        return failures.BROKEN_PIPE
    except Exception as error:  # noqa: BLE001  the command line's last resort: exit code 1
        return _failed(error, debug)
    if code and COMPLETION.intersection(arguments):
        warn("completion: cannot detect the shell; call this from bash, zsh or fish")
        return USAGE
    if code == INTERRUPTED:
        warn("interrupted; run the same command to resume")
    return int(code or 0)


def usage_message(error: Any) -> str:
    """A usage error as a sentence, with the nearest option or command, and where the help is."""
    message = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    if nearest := getattr(error, "possibilities", None):
        message = f"{error.message}. Did you mean {' or '.join(map(repr, nearest))}?"
    message = message.replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "xstilts"
    return f"{message[:1].lower()}{message[1:]}\nTry '{command} --help'."


def _failed(error: Exception, debug: bool) -> int:
    if (known := failures.explained(error)) is None:
        return _unexpected(error, debug)
    if debug:
        _print_traceback()
    message, code = known
    warn(message)
    return code


def _print_traceback() -> None:
    print(printable(traceback.format_exc()), file=sys.stderr)


def _unexpected(error: Exception, debug: bool) -> int:
    where = "see the traceback above"
    if debug:
        _print_traceback()
    else:
        with tempfile.NamedTemporaryFile(
            "w", prefix="xstilts-", suffix=".log", delete=False
        ) as file:
            file.write(without_credentials(traceback.format_exc()))
        where = f"traceback: {file.name}"
    warn(f"unexpected {type(error).__name__}: {error} ({where})")
    return UNEXPECTED


if __name__ == "__main__":
    sys.exit(main())
