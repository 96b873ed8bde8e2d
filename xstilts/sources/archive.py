"""Reads the single data file of a tar archive in memory. Archives are never unpacked to disk."""

import io
import tarfile
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

from xstilts.errors import DataError
from xstilts.input_files import Limited

_DATA_SUFFIXES = (".jsonl", ".json")


def is_archive(name: str) -> bool:
    """Whether a file name is that of a compressed tar archive."""
    return name.endswith(".tar.gz")


def _is_data(member: tarfile.TarInfo, name: str) -> bool:
    """Whether a member is a data file. DataError for links, devices and names that point outside
    the archive.
    """
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{name}: the member {member.name!r} points outside the archive; create the archive "
            "again"
        )
    if not (member.isfile() or member.isdir()) or member.issparse():
        raise DataError(
            f"{name}: the member {member.name!r} is neither a file nor a folder; create the "
            "archive again"
        )
    # macOS adds a file `._name` with attributes to each file.
    return member.isfile() and path.name.endswith(_DATA_SUFFIXES) and not path.name.startswith("._")


def _no_data_file(name: str) -> DataError:
    return DataError(f"{name}: contains no {' or '.join(_DATA_SUFFIXES)} file")


def read_archive(stream: BinaryIO, name: str) -> bytes:
    """The bytes of the only data file in a decompressed archive. DataError if there are none or
    several.
    """
    data: bytes | None = None
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if not _is_data(member, name):
                continue
            if data is not None:
                raise DataError(
                    f"{name}: contains more than one data file; unpack it into the mirror"
                )
            file = archive.extractfile(member)
            assert file is not None  # it is a regular file
            data = file.read()
    if data is None:
        raise _no_data_file(name)
    return data


def open_archive(stream: BinaryIO, name: str) -> IO[bytes]:
    """Opens the first data file in a decompressed archive. The rest of it is not checked."""
    archive = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115 - closed with its stream
    for member in archive:
        if _is_data(member, name):
            file = archive.extractfile(member)
            assert file is not None  # it is a regular file
            # Wrapped, since a TextIOWrapper asks whether it can seek, and tarfile's stream fails.
            return cast(BinaryIO, io.BufferedReader(Limited(file)))
    raise _no_data_file(name)
