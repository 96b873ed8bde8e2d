"""The object store: blobs by content, one manifest a step, a folder a run.

Needs Put, Get, Head, List, Delete and multipart of a server and nothing else; integrity is our own
SHA-256, checked on every read. A step is done when its manifest is there, and the manifest is one
PUT, written last: two writers of one step can only race for which complete manifest stands.
"""

import fcntl
import hashlib
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from xstilts.errors import PlanError, StoreError
from xstilts.step import Step, canonical_json
from xstilts.store.client import explained, make_client, status_of
from xstilts.store.manifest import Blob, Manifest

_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?$")
_THREADS = 8
_PART = 16 * 1024 * 1024


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Store:
    """A bucket and prefix. Keys are relative to the prefix. Safe to use from several threads."""

    def __init__(self, client: Any, bucket: str, prefix: str, cache: Path) -> None:
        self.client, self.bucket, self.prefix, self.cache = client, bucket, prefix.strip("/"), cache

    @classmethod
    def open(cls, uri: str, cache: Path | None = None) -> "Store":
        """The store at `s3://bucket/prefix`; endpoint and keys from the AWS_* environment. Lists
        once, so that a wrong address, key or bucket is a StoreError now and not in an hour.
        cache: where blobs are kept locally.
        """
        match = _URI.match(uri)
        if match is None:
            raise PlanError(f"--store {uri!r}: expected s3://bucket/prefix")
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
        """Stores a file by content, unless it is there already."""
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
        """A local file with the blob's bytes. Its SHA-256 is checked on every read; a spoilt
        cached copy is fetched again, a spoilt blob in the store is a StoreError. Of all
        processes that share the cache one fetches a blob, and the others wait for it: the
        workers of a node pull their data once.
        """
        cached = self.cache / sha256[:2] / sha256
        if cached.is_file() and file_sha256(cached) == sha256:
            return cached
        cached.parent.mkdir(parents=True, exist_ok=True)
        with open(cached.parent / ".lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when this process ends, however it ends
            if not (cached.is_file() and file_sha256(cached) == sha256):
                self._fetch(sha256, cached)
        return cached

    def _fetch(self, sha256: str, cached: Path) -> None:
        key = f"blobs/{sha256}"
        part = cached.with_name(f"{sha256}.{os.getpid()}.{threading.get_ident()}.part")
        try:
            with explained(self._where(key)):
                self.client.download_file(self.bucket, self._key(key), str(part))
            if (found := file_sha256(part)) != sha256:
                raise StoreError(
                    f"{self._where(key)} is spoilt: its SHA-256 is {found[:16]}…; delete it and the manifests that "
                    "name it (`xstilts store verify` lists them), then run again"
                )
            os.replace(part, cached)
        finally:
            part.unlink(missing_ok=True)

    def read_blob(self, sha256: str) -> bytes:
        return self.blob_path(sha256).read_bytes()

    def size(self, key: str) -> int | None:
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
        """Stores a step's files, then its manifest. Killed before the last PUT, the step is
        simply not done.
        """
        with ThreadPoolExecutor(_THREADS) as pool:
            blobs = dict(zip(files, pool.map(self.put_blob, files.values()), strict=True))
        manifest = Manifest(step.kind, step.fingerprint, blobs, step.to_json(), info)
        self.put_json(f"steps/{step.kind}/{step.fingerprint}/manifest.json", manifest.to_json())
        return manifest

    def manifest(self, kind: str, fingerprint: str) -> Manifest | None:
        """What a finished step left, or None when it is not done."""
        value = self.get_json(f"steps/{kind}/{fingerprint}/manifest.json")
        return None if value is None else Manifest.from_json(value)

    def done(self, kind: str) -> set[str]:
        """Fingerprints of all finished steps of a kind, by one listing."""
        keys = self.list(f"steps/{kind}/")
        return {key.split("/")[2] for key in keys if key.endswith("/manifest.json")}

    def file(self, manifest: Manifest, name: str) -> Path:
        """A local, verified copy of one file of a finished step; KeyError when it has none of
        that name.
        """
        return self.blob_path(manifest.files[name].sha256)

    def folder(self, manifest: Manifest, into: Path) -> Path:
        """All files of a finished step under their names in `into` (links to verified copies)."""
        into.mkdir(parents=True, exist_ok=True)
        for name in manifest.files:
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(self.file(manifest, name).resolve())
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

    def get_json(self, key: str) -> Any | None:
        data = self.get_bytes_at(key)
        return None if data is None else json.loads(data)

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
                yield from ((item["Key"][cut:], item) for item in page.get("Contents", []))

    def listing(self, prefix: str) -> dict[str, tuple[int, str]]:
        """Key → (size, ETag) of everything under a prefix."""
        return {key: (item["Size"], item.get("ETag", "")) for key, item in self._items(prefix)}

    def written(self, prefix: str) -> dict[str, tuple[int, float]]:
        """Key → (size, when it was written in seconds since 1970, by the server's clock) of
        everything under a prefix.
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

    # ---- work in flight ----

    def put_checkpoint(
        self, fingerprint: str, attempt: str, files: Mapping[str, Path], state: Mapping[str, Any]
    ) -> None:
        """A checkpoint of a step in flight, in its attempt's own folder; `state.json` (with
        `update`) is written last.
        """
        folder = f"work/{fingerprint}/{attempt}/{int(state['update']):09d}"
        hashes = {}
        for name, path in files.items():
            hashes[name] = file_sha256(path)
            self.put_file(f"{folder}/{name}", path)
        self.put_json(f"{folder}/state.json", {**state, "files": hashes, "time": time.time()})

    def latest_checkpoint(self, fingerprint: str) -> tuple[str, dict[str, Any]] | None:
        """(folder, state) of the furthest complete checkpoint of any attempt, or None."""
        states = [key for key in self.list(f"work/{fingerprint}/") if key.endswith("/state.json")]
        found = {key.rpartition("/")[0]: dict(self.get_json(key) or {}) for key in states}
        complete = [(folder, state) for folder, state in found.items() if state]
        return max(complete, key=lambda item: (item[1]["update"], item[1]["time"]), default=None)

    def checkpoint_files(
        self, folder: str, state: Mapping[str, Any], into: Path
    ) -> dict[str, Path]:
        """A checkpoint's files, fetched into a folder and verified; StoreError when one is not
        what was written.
        """
        files = {}
        for name, sha256 in state["files"].items():
            files[name] = self.get_file(f"{folder}/{name}", into / name)
            if file_sha256(files[name]) != sha256:
                raise StoreError(
                    f"{self._where(folder)}/{name} is spoilt; delete that folder and run again"
                )
        return files

    def clear_work(self, fingerprint: str) -> None:
        self.delete(f"work/{fingerprint}/")
