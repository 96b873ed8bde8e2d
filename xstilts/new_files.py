"""Files and folders that get their name once they are complete.

Until then each has a name of its own beside it, which no other process and no file of a user has.
"""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xstilts.errors import PlanError


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yields a path to write to. It becomes `path`, which may exist, if the body succeeds, and is
    removed if it fails.

    Args:
        path: of the file. Its folder must exist.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder to write to. It becomes `folder` if the body succeeds, and is removed
    if it fails.

    Args:
        folder: must not exist, or be empty. Its parents are created.

    Raises:
        PlanError: `folder` is not empty, before or after the body; it is a file, a mount point or
            the current folder, which cannot be replaced; or its parent cannot be written.
    """
    folder = folder.resolve()
    refuse_used(folder)
    with _beside(folder) as scratch:
        part = scratch / "new"
        part.mkdir()
        yield part
        try:
            os.rename(part, folder)  # also over an empty folder, and never over another one
        except OSError:
            refuse_used(folder)
            raise


def refuse_used(folder: Path) -> None:
    """Raises PlanError if `new_folder` cannot create a folder of this name."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise PlanError(f"{folder} is a file; name a new folder")
    if any(folder.iterdir()):
        raise PlanError(f"{folder} is not empty; name a new folder")
    if os.path.ismount(folder) or folder.samefile(Path.cwd()):
        raise PlanError(
            f"{folder} is a mount point or the current folder, which cannot be replaced; name a "
            "new folder in it"
        )


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder to write to. It replaces `folder`, whose files are deleted, if the
    body succeeds; otherwise `folder` stays as it is.

    Args:
        folder: to replace. It need not exist; its parents are created.
    """
    folder = folder.resolve()
    with _beside(folder) as scratch:
        new, old = scratch / "new", scratch / "old"
        new.mkdir()
        yield new
        existed = folder.exists()
        if existed:
            os.rename(folder, old)
        try:
            os.rename(new, folder)
        except BaseException:
            if existed and not folder.exists():
                os.rename(old, folder)
            raise


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """Yields a new folder on the same disk, and removes it with what it contains. PlanError if it
    cannot be created.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent)
    except OSError as error:
        raise PlanError(
            f"{folder}: cannot create a folder in {folder.parent}: {error.strerror}; name a folder "
            "where you can create files"
        ) from error
    with scratch as name:
        yield Path(name)
