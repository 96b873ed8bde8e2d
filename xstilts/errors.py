"""The errors a user can meet. Each says what is wrong, where, and what to do, and carries the
exit code.
"""


class XstiltsError(Exception):
    """Base of every error that xstilts raises on purpose; `exit_code` is what the command line
    returns.
    """

    exit_code = 1


class PlanError(XstiltsError):
    """The plan, or the command line, asks for something that cannot be done (exit code 2)."""

    exit_code = 2


class DataError(XstiltsError):
    """A source lacks a split, a file is corrupt, or too many rows are bad (exit code 2: the
    input must change).
    """

    exit_code = 2


class StoreError(XstiltsError):
    """The object store cannot be reached, refuses the credentials, is full, or returned other
    bytes (exit code 3).
    """

    exit_code = 3


class InfrastructureError(XstiltsError):
    """Ray, the embedded server or a runner could not be started or was lost (exit code 3)."""

    exit_code = 3


class RunFailed(XstiltsError):
    """A run ended with an exit code other than 0, which `exit_code` holds."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def in_a_line(error: str) -> str:
    """A recorded error in one line: its first, and of several the last as well, which says what
    broke.
    """
    lines = [line.strip() for line in error.splitlines() if line.strip()] or [error]
    return lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"
