"""The one data file in a tar archive. It is read in memory: nothing of an archive is ever
written to a disk.
"""

import tarfile
from pathlib import PurePosixPath
from typing import IO, BinaryIO

from xstilts.errors import DataError

_DATA = (".jsonl", ".json")


def is_archive(name: str) -> bool:
    """Whether a file name says that it is a compressed tar archive."""
    return name.endswith(".tar.gz")


def _is_data(member: tarfile.TarInfo, name: str) -> bool:
    """Whether a member is the data. DataError for a link, a device, and a name that leaves the
    archive's folder.
    """
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{name}: the member {member.name!r} is outside the archive; create the archive again"
        )
    if not (member.isfile() or member.isdir()):
        raise DataError(
            f"{name}: the member {member.name!r} is neither a file nor a folder; create the archive again"
        )
    # macOS adds a file `._name` with attributes to each file.
    return member.isfile() and path.name.endswith(_DATA) and not path.name.startswith("._")


def read_archive(stream: BinaryIO, name: str) -> bytes:
    """The bytes of the only data file in an archive. DataError where there is none or more than
    one.
    """
    data: bytes | None = None
    with tarfile.open(fileobj=stream, mode="r|gz") as archive:
        for member in archive:
            if not _is_data(member, name):
                continue
            if data is not None:
                raise DataError(f"{name}: holds more than one data file; unpack it into the mirror")
            file = archive.extractfile(member)
            assert file is not None  # it is a regular file
            data = file.read()
    if data is None:
        raise DataError(f"{name}: holds no file that ends in {' or '.join(_DATA)}")
    return data


def open_archive(stream: BinaryIO, name: str) -> IO[bytes]:
    """The first data file in an archive, open for reading its beginning; the rest of the archive
    is not looked at.
    """
    archive = tarfile.open(fileobj=stream, mode="r:gz")  # noqa: SIM115 - closed with its stream
    for member in archive:
        if _is_data(member, name):
            file = archive.extractfile(member)
            assert file is not None  # it is a regular file
            return file
    raise DataError(f"{name}: holds no file that ends in {' or '.join(_DATA)}")
