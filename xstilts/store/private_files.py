"""Folders that only their user can read."""

import os
import stat
import tempfile
from functools import cache
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Creates a folder with mode 0700 and returns it. An existing one of this user is closed to
    users outside its group, with which it may be shared on purpose.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = path.stat()
    if status.st_uid == os.geteuid() and status.st_mode & 0o007:
        path.chmod(stat.S_IMODE(status.st_mode) & ~0o007)
    return path


def cache_folder() -> Path:
    """The folder for cached files: XSTILTS_CACHE, or `xstilts` in $XDG_CACHE_HOME or ~/.cache, or a
    new temporary folder where that cannot be written.
    """
    if chosen := os.environ.get("XSTILTS_CACHE"):
        return private_folder(Path(chosen))
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    try:
        return private_folder(Path(caches) / "xstilts")
    except OSError:  # a container whose user has no home
        return _temporary_cache()


@cache
def _temporary_cache() -> Path:
    return Path(tempfile.mkdtemp(prefix="xstilts-cache-"))
