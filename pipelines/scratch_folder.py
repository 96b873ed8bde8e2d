"""The temporary folder of a local run: readable by its user only, and removed with the run."""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from xstilts.environment import variables

PREFIX = "xstilts-"
#: Locked by the run for as long as it lives, so that folders of killed runs are recognisable.
LOCK = "run.lock"
#: Ray puts sockets into its temporary folder, and the path of a socket has at most 107 bytes. Ray
#: adds up to 73: ray/session_<date>_<time>_<process>/sockets/<name>.
LONGEST_FOR_RAY = 107 - 73


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yields a new folder with mode 0700 that this process and those that it starts use for all
    their temporary files: KFP's scripts, unpacked data, Ray's sockets and logs.

    Removes it at the end, and before that the folders of killed runs of this user. A folder that is
    too long for Ray's sockets gets another for Ray alone, in /tmp.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_locked_folder(Path(tempfile.gettempdir())))
        short = len(os.fsencode(folder)) <= LONGEST_FOR_RAY
        ray = folder if short else stack.enter_context(_locked_folder(Path("/tmp")))
        stack.enter_context(_used(folder, ray))
        yield folder


@contextlib.contextmanager
def _locked_folder(parent: Path) -> Iterator[Path]:
    _remove_abandoned(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))  # mode 0700
    part = folder / f"{LOCK}.part"
    with part.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        part.rename(folder / LOCK)  # a lock under this name was never free while its run lived
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # Ray's last processes may still write


def _remove_abandoned(parent: Path) -> None:
    """Removes the folders of runs of this user that were killed. Others may write to the parent, so
    links are not followed.
    """
    for path in parent.glob(f"{PREFIX}*/{LOCK}"):
        try:
            folder, file = path.parent.lstat(), path.lstat()
            own = folder.st_uid == file.st_uid == os.geteuid()
            if own and stat.S_ISDIR(folder.st_mode) and stat.S_ISREG(file.st_mode):
                with path.open() as lock:
                    if _free(lock):
                        shutil.rmtree(path.parent, ignore_errors=True)
        except FileNotFoundError:  # its run ended meanwhile
            continue


def _free(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _used(folder: Path, ray: Path) -> Iterator[None]:
    """Sets the folders for this process and those that it starts."""
    python = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        with variables({"TMPDIR": str(folder), "RAY_TMPDIR": str(ray)}):
            yield
    finally:
        tempfile.tempdir = python
