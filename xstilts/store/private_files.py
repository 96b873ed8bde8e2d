"""Folders that only their user can read."""

import os
import tempfile
from functools import cache
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Creates a folder with mode 0700, or sets that mode, and returns it. A folder of another user
    stays as it is.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = path.stat()
    if status.st_uid == os.geteuid() and status.st_mode & 0o077:
        path.chmod(0o700)
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
