"""Errors with a message for users: what is wrong, where, and what to do. Each has an exit code.

Also the wording that messages share.
"""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_CREDENTIALS = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@'\"]+@", re.IGNORECASE)


class XstiltsError(Exception):
    """Base class of all errors for users; `exit_code` is what the command line returns."""

    exit_code = 1


class PlanError(XstiltsError):
    """The plan or the command line is invalid (exit code 2)."""

    exit_code = 2


class DataError(XstiltsError):
    """The data is unusable: a split is missing, a file is corrupt, too many rows are bad (exit
    code 2).
    """

    exit_code = 2


class StoreError(XstiltsError):
    """The object store is unreachable, full, rejects the credentials, or returned corrupt data
    (exit code 3). temporary: the same request may succeed later.
    """

    exit_code = 3

    def __init__(self, message: str, temporary: bool = False) -> None:
        super().__init__(message)
        self.temporary = temporary


class CorruptError(StoreError):
    """An object of the store has other content than it must have."""


class InfrastructureError(XstiltsError):
    """Ray, the embedded server or a runner failed to start or was lost (exit code 3)."""

    exit_code = 3


class Interrupted(XstiltsError):
    """The user interrupted a command whose work continues elsewhere (exit code 130)."""

    exit_code = 130


class RunFailed(XstiltsError):
    """A run ended with an exit code other than 0, which `exit_code` holds."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def in_a_line(error: str) -> str:
    """A recorded error in one line: its first line and, if there are more, the last one, which
    usually has the cause.
    """
    lines = [line.strip() for line in error.splitlines() if line.strip()] or [error]
    return lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"


def printable(text: str) -> str:
    """Text for a terminal or a log: characters that control a terminal are shown as escapes, and
    user names and passwords in URLs as `***`.
    """
    shown = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    return without_credentials(shown)


def without_credentials(text: str) -> str:
    """Text whose URLs have `***` in place of a user name and password."""
    return _CREDENTIALS.sub(r"\1***@", text)


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number of things for a message, for example `1 cell` or `1,200 entries`."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
