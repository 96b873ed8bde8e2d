"""The object store: blobs by content, one manifest per step, one folder per run.

Of a server it needs only Put, Get, Head, List, Delete and multipart uploads. Every read verifies
the SHA-256. A step is done once its manifest exists, which is written last with one PUT: two
writers of a step can only race for whose complete manifest is kept.
"""

import fcntl
import hashlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from xstilts.errors import CorruptError, PlanError, StoreError
from xstilts.step import Step, canonical_json
from xstilts.store import documents
from xstilts.store.client import explained, make_client, status_of
from xstilts.store.manifest import Blob, Manifest

_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?$")
_THREADS = 8
_PART = 16 * 1024 * 1024

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The function's results for all items in order, from 8 threads. The first error cancels the
    items that have not started, and is raised.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Store:
    """A bucket and prefix. Keys are relative to the prefix. Safe to use from several threads."""

    def __init__(self, client: Any, bucket: str, prefix: str, cache: Path) -> None:
        self.client, self.bucket, self.prefix, self.cache = client, bucket, prefix.strip("/"), cache

    @classmethod
    def open(cls, uri: str, cache: Path | None = None, option: str = "--store") -> "Store":
        """Opens the store at `s3://bucket/prefix`, with endpoint and keys from the AWS_*
        environment.

        Lists once, so that a wrong address, key or bucket raises StoreError immediately.

        Args:
            uri: `s3://bucket/prefix`.
            cache: a local folder for blobs; a temporary folder if None.
            option: what an error calls the address.
        """
        match = _URI.match(uri)
        if match is None:
            raise PlanError(
                f"{option} {uri!r}: invalid address; expected s3://bucket/prefix, and bucket names "
                "have 3 to 63 characters: a-z, 0-9, '-' and '.'"
            )
        folder = cache or Path(tempfile.gettempdir()) / f"xstilts-cache-{os.getuid()}"
        folder.mkdir(parents=True, exist_ok=True)
        store = cls(make_client(), match[1], match[2] or "", folder)
        with explained(uri):
            store.client.list_objects_v2(Bucket=store.bucket, Prefix=store._key(""), MaxKeys=1)
        return store

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _where(self, key: str) -> str:
        return f"s3://{self.bucket}/{self._key(key)}"

    # ---- blobs ----

    def put_blob(self, path: Path) -> Blob:
        """Stores a file by content, unless the store already has it."""
        blob = Blob(file_sha256(path), path.stat().st_size)
        key = f"blobs/{blob.sha256}"
        if self.size(key) != blob.size:
            from boto3.s3.transfer import TransferConfig

            config = TransferConfig(
                multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=_THREADS
            )
            with explained(self._where(key)):
                self.client.upload_file(str(path), self.bucket, self._key(key), Config=config)
        return blob

    def put_bytes(self, data: bytes) -> Blob:
        """Stores bytes by content."""
        blob = Blob(hashlib.sha256(data).hexdigest(), len(data))
        if self.size(f"blobs/{blob.sha256}") != blob.size:
            self.put_bytes_at(f"blobs/{blob.sha256}", data)
        return blob

    def blob_path(self, sha256: str) -> Path:
        """A local file with the bytes of a blob.

        The SHA-256 is verified on every read. A corrupt file in the cache is downloaded again; a
        corrupt blob in the store is a StoreError. Of the processes that share a cache, such as the
        workers of a node, one downloads a blob while the others wait.
        """
        cached = self.cache / sha256[:2] / sha256
        if cached.is_file() and file_sha256(cached) == sha256:
            return cached
        cached.parent.mkdir(parents=True, exist_ok=True)
        with open(cached.parent / ".lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when this process ends for any reason
            if not (cached.is_file() and file_sha256(cached) == sha256):
                self._fetch(sha256, cached)
        return cached

    def _fetch(self, sha256: str, cached: Path) -> None:
        key = f"blobs/{sha256}"
        part = cached.with_name(f"{sha256}.{os.getpid()}.{threading.get_ident()}.part")
        try:
            with explained(self._where(key)):
                self.client.download_file(self.bucket, self._key(key), str(part))
            if (digest := file_sha256(part)) != sha256:
                raise StoreError(
                    f"{self._where(key)}: corrupt: SHA-256 mismatch ({digest[:16]}…); delete it "
                    "and the manifests that reference it (`xstilts store verify` lists them), then "
                    "run the plan again"
                )
            os.replace(part, cached)
        finally:
            part.unlink(missing_ok=True)

    def fetch(self, hashes: Iterable[str]) -> None:
        """Downloads the blobs that the cache does not have, several at a time. Reading them from
        the cache verifies them as always.
        """
        missing = [
            sha256
            for sha256 in dict.fromkeys(hashes)
            if not (self.cache / sha256[:2] / sha256).is_file()
        ]
        in_threads(self.blob_path, missing)

    def read_blob(self, sha256: str) -> bytes:
        """The verified bytes of a blob."""
        return self.blob_path(sha256).read_bytes()

    def size(self, key: str) -> int | None:
        """The size of an object in bytes, or None if it does not exist."""
        from botocore.exceptions import ClientError

        with explained(self._where(key)):
            try:
                return int(
                    self.client.head_object(Bucket=self.bucket, Key=self._key(key))["ContentLength"]
                )
            except ClientError as error:
                if status_of(error) == 404:
                    return None
                raise

    # ---- steps ----

    def commit(self, step: Step, files: Mapping[str, Path], info: Mapping[str, Any]) -> Manifest:
        """Stores the files of a step, then its manifest. If interrupted before the last PUT, the
        step is not done.
        """
        blobs = dict(zip(files, in_threads(self.put_blob, files.values()), strict=True))
        manifest = Manifest(step.kind, step.fingerprint, blobs, step.to_json(), info)
        self.put_json(f"steps/{step.kind}/{step.fingerprint}/manifest.json", manifest.to_json())
        return manifest

    def manifest(self, kind: str, fingerprint: str) -> Manifest | None:
        """The manifest of a step, or None if it is not done. StoreError for a corrupt one."""
        key = f"steps/{kind}/{fingerprint}/manifest.json"
        value = self.get_json(key)
        if value is None:
            return None
        manifest = Manifest.from_json(value, self._where(key))
        if (manifest.kind, manifest.fingerprint) != (kind, fingerprint):
            raise CorruptError(
                f"{self._where(key)}: corrupt: it is the manifest of another step, "
                f"{manifest.kind}/{manifest.fingerprint[:12]}"
            )
        return manifest

    def done(self, kind: str) -> set[str]:
        """Fingerprints of all finished steps of a kind, from one listing."""
        keys = self.list(f"steps/{kind}/")
        return {key.split("/")[2] for key in keys if key.endswith("/manifest.json")}

    def file(self, manifest: Manifest, name: str) -> Path:
        """A local, verified copy of one file of a finished step; KeyError if it has no such
        file.
        """
        return self.blob_path(manifest.files[name].sha256)

    def folder(self, manifest: Manifest, into: Path) -> Path:
        """Links all files of a finished step, verified, into a folder under their names."""
        into.mkdir(parents=True, exist_ok=True)
        paths = in_threads(lambda blob: self.blob_path(blob.sha256), manifest.files.values())
        for name, path in zip(manifest.files, paths, strict=True):
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(path.resolve())
        return into

    # ---- plain keys ----

    def put_bytes_at(self, key: str, data: bytes) -> None:
        with explained(self._where(key)):
            self.client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data)

    def get_bytes_at(self, key: str) -> bytes | None:
        from botocore.exceptions import ClientError

        with explained(self._where(key)):
            try:
                body: bytes = self.client.get_object(Bucket=self.bucket, Key=self._key(key))[
                    "Body"
                ].read()
                return body
            except ClientError as error:
                if (
                    status_of(error) == 404
                    and error.response["Error"].get("Code") != "NoSuchBucket"
                ):
                    return None
                raise

    def put_json(self, key: str, value: Any) -> None:
        """One PUT of canonical JSON."""
        self.put_bytes_at(key, canonical_json(value).encode())

    def get_json(self, key: str) -> dict[str, Any] | None:
        """A JSON document, or None if there is none. StoreError if it is corrupt
        (store/documents.py).
        """
        data = self.get_bytes_at(key)
        return None if data is None else documents.parse(key, data, self._where(key))

    def put_file(self, key: str, path: Path) -> None:
        with explained(self._where(key)):
            self.client.upload_file(str(path), self.bucket, self._key(key))

    def get_file(self, key: str, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with explained(self._where(key)):
            self.client.download_file(self.bucket, self._key(key), str(part))
        os.replace(part, path)
        return path

    def list(self, prefix: str) -> list[str]:
        """All keys under a prefix, relative to the store's own, sorted."""
        return sorted(key for key, _ in self._items(prefix))

    def _items(self, prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        cut = len(self._key(""))
        with explained(self._where(prefix)):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._key(prefix)
            )
            for page in pages:
                if page.get("IsTruncated") and not page.get("NextContinuationToken"):
                    raise StoreError(
                        f"{self._where(prefix)}: the server ended a listing before its last page "
                        "(IsTruncated without NextContinuationToken); its listings are not "
                        "reliable, so use another S3 server"
                    )
                yield from ((item["Key"][cut:], item) for item in page.get("Contents", []))

    def listing(self, prefix: str) -> dict[str, tuple[int, str]]:
        """Key → (size, ETag) of everything under a prefix."""
        return {key: (item["Size"], item.get("ETag", "")) for key, item in self._items(prefix)}

    def written(self, prefix: str) -> dict[str, tuple[int, float]]:
        """Key → (size, time of writing in seconds since 1970 by the server's clock) of everything
        under a prefix.
        """
        return {
            key: (item["Size"], item["LastModified"].timestamp())
            for key, item in self._items(prefix)
        }

    def delete(self, prefix: str) -> None:
        """Deletes a key, or everything under a prefix that ends with `/`."""
        for key in self.list(prefix) if prefix.endswith("/") else [prefix]:
            with explained(self._where(key)):
                self.client.delete_object(Bucket=self.bucket, Key=self._key(key))

    # ---- checkpoints ----

    def put_checkpoint(
        self, fingerprint: str, attempt: str, files: Mapping[str, Path], state: Mapping[str, Any]
    ) -> None:
        """Stores a checkpoint of an unfinished step in the folder of its attempt. `state.json`
        (with `update`) is written last.
        """
        folder = f"work/{fingerprint}/{attempt}/{int(state['update']):09d}"

        def put(item: tuple[str, Path]) -> tuple[str, str]:
            name, path = item
            self.put_file(f"{folder}/{name}", path)
            return name, file_sha256(path)

        hashes = dict(in_threads(put, files.items()))
        self.put_json(f"{folder}/state.json", {**state, "files": hashes, "time": time.time()})

    def latest_checkpoint(self, fingerprint: str) -> tuple[str, dict[str, Any]] | None:
        """(folder, state) of the most advanced complete checkpoint of all attempts, or None."""
        return next(iter(self._checkpoints(fingerprint)), None)

    def delete_older_checkpoints(self, fingerprint: str, keep: int) -> None:
        """Deletes all complete checkpoints of a step but the `keep` most advanced ones.

        `state.json` is deleted first, so that an interrupted deletion leaves no checkpoint that
        looks complete.
        """
        for folder, _ in self._checkpoints(fingerprint)[keep:]:
            self.delete(f"{folder}/state.json")
            self.delete(f"{folder}/")

    def _checkpoints(self, fingerprint: str) -> Sequence[tuple[str, dict[str, Any]]]:
        """(folder, state) of all complete checkpoints of a step, the most advanced first."""
        states = [key for key in self.list(f"work/{fingerprint}/") if key.endswith("/state.json")]
        complete = [
            (key.rpartition("/")[0], state)
            for key in states
            if (state := self.get_json(key)) is not None
        ]
        return sorted(complete, key=lambda item: (-item[1]["update"], -item[1]["time"]))

    def checkpoint_files(
        self, folder: str, state: Mapping[str, Any], into: Path
    ) -> dict[str, Path]:
        """Downloads the files of a checkpoint to a folder and verifies them; StoreError for a
        corrupt file.
        """

        def get(item: tuple[str, str]) -> tuple[str, Path]:
            name, sha256 = item
            documents.checked_name(name, f"{self._where(folder)}/state.json")
            path = self.get_file(f"{folder}/{name}", into / name)
            if file_sha256(path) != sha256:
                raise StoreError(
                    f"{self._where(folder)}/{name}: corrupt: SHA-256 mismatch; delete this "
                    "checkpoint folder and run the plan again"
                )
            return name, path

        return dict(in_threads(get, state["files"].items()))

    def clear_work(self, fingerprint: str) -> None:
        """Deletes all checkpoints of a step."""
        self.delete(f"work/{fingerprint}/")
