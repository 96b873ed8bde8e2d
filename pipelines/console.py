"""What commands print: results and progress on stdout, warnings and errors on stderr. With
`--quiet` no progress; with `--verbose` also log lines, on stderr.
"""

import contextlib
import enum
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from xstilts.errors import printable

if TYPE_CHECKING:
    import logging

    from rich.text import Text


class Level(enum.Enum):
    """How much a command prints."""

    QUIET = "--quiet"
    NORMAL = ""
    VERBOSE = "--verbose"


#: The packages whose log lines --verbose shows.
LOGGED = ("xstilts", "pipelines", "components")

_level = Level.NORMAL
_handler: "logging.Handler | None" = None
_warnings: TextIO | None = None


def level() -> Level:
    """What the running command prints."""
    return _level


def set_level(chosen: Level) -> None:
    """Sets what this process prints from now on, and with VERBOSE shows the log lines of LOGGED."""
    global _level, _handler
    _level = chosen
    if chosen is Level.VERBOSE and _handler is None:
        _handler = _log_handler()
        _use(_handler)
    elif chosen is not Level.VERBOSE and _handler is not None:
        _remove(_handler)
        _handler = None


def _log_handler() -> "logging.Handler":
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log_line(self.format(record))

    handler = Handler(logging.INFO)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    return handler


def _use(handler: "logging.Handler") -> None:
    import logging

    for name in LOGGED:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # not a second time by handlers of the root logger


def _remove(handler: "logging.Handler") -> None:
    import logging

    for name in LOGGED:
        logger = logging.getLogger(name)
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


def say(text: str) -> None:
    """Prints to the real stdout: KFP's local runner redirects sys.stdout while it works. Characters
    that control a terminal and credentials in URLs are not printed.
    """
    _print_line(printable(text), sys.__stdout__)


def note(text: str) -> None:
    """Prints progress, unless the command is quiet."""
    if _level is not Level.QUIET:
        say(text)


def note_aside(text: str) -> None:
    """Prints progress of a command whose stdout is its result, such as JSON, on stderr."""
    if _level is not Level.QUIET:
        warn(text)


def log_line(text: str) -> None:
    """Prints a log line of --verbose to the real stderr."""
    _print_line(printable(text), sys.__stderr__)


def warn(text: str) -> None:
    """Prints a warning or an error on stderr, also where the body of `visible_warnings` redirects
    it.
    """
    _print_line(f"xstilts: {printable(text)}", _warnings or sys.stderr)


def _print_line(text: str, stream: TextIO | None) -> None:
    """As print, which KFP's local runner replaces by one that indents, sometimes for good."""
    stream = stream or sys.stdout
    stream.write(f"{text}\n")
    stream.flush()


@contextlib.contextmanager
def visible_warnings() -> Iterator[None]:
    """Warnings of the body stay on the present stderr, whatever it redirects sys.stderr to."""
    global _warnings
    before, _warnings = _warnings, sys.stderr
    try:
        yield
    finally:
        _warnings = before


def cell(value: object) -> "Text":
    """A value for a table of rich, in which it is not markup."""
    from rich.text import Text

    return Text(printable(str(value)))
