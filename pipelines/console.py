"""What commands print: results and progress on stdout, warnings and errors on stderr."""

import sys
from typing import TYPE_CHECKING

from xstilts.errors import printable

if TYPE_CHECKING:
    from rich.text import Text


def say(text: str) -> None:
    """Prints to the real stdout: KFP's local runner redirects sys.stdout while it works. Characters
    that control a terminal and credentials in URLs are not printed.
    """
    print(printable(text), file=sys.__stdout__, flush=True)


def warn(text: str) -> None:
    print(f"xstilts: {printable(text)}", file=sys.stderr, flush=True)


def cell(value: object) -> "Text":
    """A value for a table of rich, in which it is not markup."""
    from rich.text import Text

    return Text(printable(str(value)))
