"""Errors of the operating system and the network, as a message and an exit code. The last resort of
the command line: code that knows what it was doing raises an XstiltsError.
"""

import errno
import os
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from xstilts.errors import InfrastructureError, PlanError, in_a_line

#: Exit code of a program that SIGPIPE ends.
BROKEN_PIPE = 141
#: Packages whose exceptions mean that a server could not be reached or did not answer.
NETWORK_PACKAGES = frozenset(
    {
        "httpx",
        "httpx2",
        "httpcore",
        "httpcore2",
        "requests",
        "urllib3",
        "botocore",
        "aiohttp",
        "kfp_server_api",
        "kubernetes",
        "docker",
        "huggingface_hub",
    }
)
#: errno → what to do about it. The exit code is 2 where another path helps, else 3.
ADVICE: Mapping[int, str] = {
    errno.EEXIST: "a file is in the way where a folder is needed; choose another path",
    errno.ENOTDIR: "a file is in the way where a folder is needed; choose another path",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENOENT: "no such file or folder",
    errno.EACCES: "permission denied; choose a path that you can read and write",
    errno.EPERM: "not permitted; choose a path that you can read and write",
    errno.EROFS: "the file system is read-only; choose another path",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "too many symbolic links; choose another path",
    errno.ENOSPC: "the disk is full; free space, or choose a path on another disk",
    errno.EDQUOT: "the disk quota is used up; free space, or choose a path on another disk",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ENOMEM: "no memory is left; stop other programs, or use fewer workers",
}
_INFRASTRUCTURE = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENOMEM}


def explained(error: BaseException) -> tuple[str, int] | None:
    """(message, exit code) of an error of the operating system or the network, else None."""
    network = (socket.gaierror, ssl.SSLError, ConnectionError, TimeoutError)
    if isinstance(error, network) or _packages(error) & NETWORK_PACKAGES:
        return (
            f"network error: {_described(error)}; check the address and the connection, and "
            "HTTPS_PROXY and NO_PROXY behind a proxy",
            InfrastructureError.exit_code,
        )
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{os.fspath(error.filename)}: " if error.filename else ""
        advice = ADVICE.get(error.errno, error.strerror or str(error))
        code = (
            PlanError.exit_code
            if error.errno in ADVICE and error.errno not in _INFRASTRUCTURE
            else InfrastructureError.exit_code
        )
        return f"{where}{advice}", code
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        text = str(error.object).encode("utf-8", "backslashreplace").decode()
        return f"not UTF-8 text: {text!r}; write it in UTF-8", PlanError.exit_code
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text: {error}; save the file as UTF-8", PlanError.exit_code
    return None


def grouped_failures(failures: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each different error of recorded failures, with the first step that has it and
    the number of the others.
    """
    steps: dict[str, list[str]] = {}
    for failure in failures:
        steps.setdefault(in_a_line(str(failure["error"])), []).append(str(failure["what"]))
    return [
        f"{names[0]}{f' and {len(names) - 1:,} more' if len(names) > 1 else ''}: {error}"
        for error, names in steps.items()
    ]


def _packages(error: BaseException) -> set[str]:
    return {kind.__module__.partition(".")[0] for kind in type(error).__mro__}


def _described(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def silence_output() -> None:
    """Sends further output nowhere: the reader of a pipe has gone, and Python flushes at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            os.dup2(null, stream.fileno())
    os.close(null)
