"""Files to and from objects: small ones in one request, large ones in parts at the same time."""

import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, Any

from xstilts.store.client import SMALL, status_of
from xstilts.store.threads import THREADS, in_order

#: How often an object, or a part of one, is read: a transfer may lose bytes.
READS = 3
_PART = 16 * 1024 * 1024
_CHUNK = 256 * 1024
#: GET of an object, with further arguments → its answer. A digest of hashlib has no public type.
Get = Callable[..., Mapping[str, Any]]
Digest = Any
_RANGE = re.compile(r"bytes \d+-\d+/(\d+)")


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def upload(client: Any, bucket: str, key: str, path: Path) -> None:
    """Writes a file to an object. Making a TransferManager takes as long as a small request."""
    if path.stat().st_size <= SMALL:
        client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
        return
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(
        multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=THREADS
    )
    client.upload_file(str(path), bucket, key, Config=config)


def download(client: Any, bucket: str, key: str, path: Path) -> str:
    """Writes an object to a file, and returns the SHA-256 of the bytes in the file.

    One request returns a small object, or the first part and the size of a large one. The SHA-256
    of each part is computed while later ones arrive. A part that ends early is read again.

    Raises:
        ClientError: the object does not exist, or cannot be read.
        BotoCoreError: the transfer failed several times.
    """
    get = partial(client.get_object, Bucket=bucket, Key=key)
    first, digest = _read(get, path)
    size = _size(first)
    if size <= _PART:
        return digest.hexdigest()
    # A server that has an ETag returns parts of this object only, not of one that replaced it.
    same = {"IfMatch": first["ETag"]} if first.get("ETag") else {}
    starts = range(_PART, size, _PART)
    with (
        open(path, "rb", buffering=0) as file,
        closing(in_order(lambda start: _read(get, path, start, size, **same), starts)) as parts,
    ):
        file.seek(_PART)
        for _ in parts:
            _add(digest, file, _PART)
    return digest.hexdigest()


def _read(
    get: Get, path: Path, start: int = 0, size: int = 0, **condition: str
) -> tuple[Mapping[str, Any], Digest]:
    """Writes the part of an object from `start` to its place in a file. Returns the answer, and the
    digest of the part if it is the first.

    Args:
        get: the request.
        path: the file; it ends after this part if `start` is 0.
        start: where the part begins.
        size: of the object; needed if `start` is not 0.
        condition: further arguments of the request.
    """
    from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

    for attempt in range(READS):
        try:
            answer = _answer(get, start, **condition)
            return answer, _write(answer["Body"], path, start, size or _size(answer))
        except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
            if attempt == READS - 1:
                raise
    raise AssertionError("unreachable")


def _answer(get: Get, start: int, **condition: str) -> Mapping[str, Any]:
    from botocore.exceptions import ClientError

    try:
        return get(Range=f"bytes={start}-{start + _PART - 1}", **condition)
    except ClientError as error:
        if start or status_of(error) != 416:
            raise
        return get()  # an empty object has no ranges


def _write(body: Any, path: Path, start: int, size: int) -> Digest:
    """Writes the part of an object from `start` to a file, or all of it if `size` is 0. Returns the
    digest of the first part. IncompleteReadError if the body is shorter or longer.
    """
    from botocore.exceptions import IncompleteReadError

    expected, written = min(_PART, size - start) if size else sys.maxsize, 0
    digest = hashlib.sha256()
    with open(path, "r+b", opener=_created) as file:
        file.seek(start)
        while written <= expected and (chunk := body.read(_CHUNK)):
            file.write(chunk[: expected - written])
            written += len(chunk)
            if not start:
                digest.update(chunk)
        if not start:  # an earlier attempt may have written more
            file.truncate()
    if size and written != expected:
        raise IncompleteReadError(actual_bytes=written, expected_bytes=expected)
    return digest


def _size(answer: Mapping[str, Any]) -> int:
    """The size of the object of which an answer is a part; 0 if it is the whole object."""
    match = _RANGE.fullmatch(answer.get("ContentRange") or "")
    return int(match[1]) if match else 0


def _add(digest: Digest, file: IO[bytes], count: int) -> None:
    """Adds at most `count` bytes of a file to a digest."""
    while count and (chunk := file.read(min(count, _CHUNK))):
        digest.update(chunk)
        count -= len(chunk)


def _created(path: str, flags: int) -> int:
    """Opens a file as it is, or creates it. Emptying it would make ext4 write it to the disk."""
    return os.open(path, flags | os.O_CREAT, 0o666)
