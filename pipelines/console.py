"""What commands print: results and progress on stdout, warnings and errors on stderr."""

import sys


def say(text: str) -> None:
    """Prints to the real stdout: KFP's local runner redirects sys.stdout while it works."""
    print(text, file=sys.__stdout__, flush=True)


def warn(text: str) -> None:
    print(f"xstilts: {text}", file=sys.stderr, flush=True)
