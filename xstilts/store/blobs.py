"""Blobs: objects by content, which are verified whenever they are read, and a cache of them."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import IO

from xstilts.errors import CorruptError, StoreError
from xstilts.store.client import explained, is_absent
from xstilts.store.manifest import Blob
from xstilts.store.object_keys import blob_key, blob_of, flat_blob_key
from xstilts.store.objects import Objects
from xstilts.store.threads import in_threads
from xstilts.store.transfers import READS, download, file_sha256

#: Files for which listings are cheaper than requests for each of them.
_MANY = 32


class Blobs(Objects):
    """A bucket and prefix with blobs. Safe to use from several threads."""

    def put_blob(self, path: Path) -> Blob:
        """Stores a file by content, unless the store already has it."""
        blob = _blob_of(path)
        self._put_unless_stored(blob, lambda key: self.put_file(key, path))
        return blob

    def put_blobs(self, paths: Iterable[Path]) -> list[Blob]:
        """Stores files by content, as `put_blob` does. Of a store with up to a page of blobs, two
        listings show which of many files it has before and after, and not two requests for each.
        """
        files = list(paths)
        if len(files) < _MANY or (page := self._page("blobs/")).get("IsTruncated"):
            return in_threads(self.put_blob, files)
        stored = {Blob(blob_of(item["Key"]) or "", item["Size"]) for item in page["Contents"]}
        blobs = in_threads(_blob_of, files)
        new = {blob: path for blob, path in zip(blobs, files, strict=True) if blob not in stored}
        in_threads(lambda blob: self.put_file(blob_key(blob.sha256), new[blob]), new)
        listed = self.entries("blobs/").items()
        stored = {Blob(blob_of(key) or "", entry.size) for key, entry in listed}
        in_threads(self.put_blob, [path for blob, path in new.items() if blob not in stored])
        return blobs

    def put_bytes(self, data: bytes) -> Blob:
        """Stores bytes by content."""
        blob = Blob(hashlib.sha256(data).hexdigest(), len(data))
        self._put_unless_stored(blob, lambda key: self.put_bytes_at(key, data))
        return blob

    def _put_unless_stored(self, blob: Blob, put: Callable[[str], None]) -> None:
        """StoreError if the server acknowledges a blob twice and does not have it."""
        key = blob_key(blob.sha256)
        if self.size(key) == blob.size or (
            self._has_flat_blobs and self.size(flat_blob_key(blob.sha256)) == blob.size
        ):
            return
        for _ in range(2):
            put(key)
            if self.size(key) == blob.size:
                return
        raise StoreError(
            f"{self._where(key)}: the server acknowledged this blob ({blob.size} bytes) twice and "
            "does not have it; check the server's log and disk, then run the same command again",
            temporary=True,
        )

    @cached_property
    def _has_flat_blobs(self) -> bool:
        """Whether an earlier version wrote blobs to this store. One page shows it: the folders of
        this version are fewer than its entries.
        """
        page = self._page("blobs/", Delimiter="/")
        return any(blob_of(item["Key"]) for item in page.get("Contents", ()))

    def blob_path(self, sha256: str) -> Path:
        """A local file with the bytes of a blob.

        The SHA-256 is verified on every read. A corrupt file in the cache is downloaded again; a
        blob that is corrupt or missing in the store is a StoreError. Of the processes that share a
        cache, such as the workers of a node, one downloads a blob while the others wait.
        """
        cached = self._cached(sha256)
        while not _has(cached, sha256):
            cached.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = _part_of(cached)
            with open(part, "ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # released when this process ends for any reason
                if not _is_at(lock, part):  # another process has renamed or removed it
                    continue
                if _has(cached, sha256):
                    part.unlink()
                else:
                    self._fetch(sha256, cached)
                break
        return cached

    def _cached(self, sha256: str) -> Path:
        return self.cache / sha256[:2] / sha256

    def _fetch(self, sha256: str, cached: Path) -> None:
        """Downloads a blob to its place in the cache. The caller has the lock of its part."""
        part = _part_of(cached)
        try:
            self._read_verified(sha256, partial(self._download, part))
        except BaseException:
            part.unlink()
            raise
        os.replace(part, cached)

    def check_blob(self, sha256: str) -> None:
        """Reads a blob and checks its SHA-256, without the cache. StoreError as for `blob_path`."""
        self._read_verified(sha256, self._digest)

    def _read_verified(self, sha256: str, read: Callable[[str], str | None]) -> None:
        """Reads a blob, up to three times, until it has its SHA-256. StoreError if it is missing,
        if it is corrupt, or if the server sends other bytes each time.

        read: key → SHA-256 of the bytes that were read, empty if the transfer ended early, None if
            the object does not exist.
        """
        key = blob_key(sha256)

        def digest() -> str:
            # The first key again after the flat one, from which it may have moved meanwhile.
            for each in (key, flat_blob_key(sha256), key):
                if (result := read(each)) is not None:
                    return result
            raise CorruptError(
                f"{self._where(key)}: missing, although a finished step needs it; `xstilts "
                "store verify --repair` removes the steps that need it, then run the plan again"
            )

        self._until_equal(
            key,
            sha256,
            digest,
            "`xstilts store verify --repair` removes it and the steps that need it, then run the "
            "plan again",
        )

    def _until_equal(self, key: str, sha256: str, digest: Callable[[], str], advice: str) -> None:
        """Reads an object until it has its SHA-256, up to READS times. CorruptError once two reads
        agree on another one, StoreError if each has other bytes.

        Args:
            key: of the object.
            sha256: that it must have.
            digest: reads it and returns its SHA-256; empty if the transfer ended early.
            advice: what to do about a corrupt object.
        """
        digests: list[str] = []
        for _ in range(READS):
            current = digest()
            if current == sha256:
                return
            if current and current in digests:
                raise CorruptError(
                    f"{self._where(key)}: corrupt: SHA-256 mismatch (two downloads have "
                    f"{current[:16]}…); {advice}"
                )
            digests.append(current)
        raise StoreError(
            f"{self._where(key)}: {READS} downloads returned different bytes, so the transfer is "
            "not reliable; check the network and the server. Nothing needs to be deleted",
            temporary=True,
        )

    def _download(self, path: Path, key: str) -> str | None:
        """The SHA-256 of an object that was downloaded, None if it does not exist."""
        from botocore.exceptions import ClientError

        with explained(self._where(key), path, lambda: self.size(key)):
            try:
                return download(self.client, self.bucket, self._key(key), path)
            except ClientError as error:
                if is_absent(error):
                    return None
                raise

    def _digest(self, key: str) -> str | None:
        """The SHA-256 of an object, read in one stream. Empty if the stream ended early, None if
        the object does not exist.
        """
        from botocore.exceptions import ClientError, IncompleteReadError, ResponseStreamingError

        digest = hashlib.sha256()
        with explained(self._where(key)):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=self._key(key))
            except ClientError as error:
                if is_absent(error):
                    return None
                raise
            try:
                for chunk in answer["Body"].iter_chunks(1 << 20):
                    digest.update(chunk)
            except (IncompleteReadError, ResponseStreamingError):
                return ""
        return digest.hexdigest()

    def fetch(self, hashes: Iterable[str]) -> None:
        """Downloads the blobs that the cache does not have, several at a time. Reading them from
        the cache verifies them as always.
        """
        missing = [each for each in dict.fromkeys(hashes) if not self._cached(each).is_file()]
        in_threads(self.blob_path, missing)

    def read_blob(self, sha256: str) -> bytes:
        """The verified bytes of a blob."""
        return self.blob_path(sha256).read_bytes()


def _blob_of(path: Path) -> Blob:
    return Blob(file_sha256(path), path.stat().st_size)


def _has(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _part_of(cached: Path) -> Path:
    """Where a blob of the cache is while it is downloaded."""
    return cached.with_name(f"{cached.name}.part")


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
