"""The object store: blobs by content, one manifest per step, one folder per run.

Of a server it needs only Put, Get, Head, List, Delete and multipart uploads. Every read verifies
the SHA-256. A step is done once its manifest exists, which is written last with one PUT: two
writers of a step can only race for whose complete manifest is kept.
"""

import fcntl
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from xstilts.errors import CorruptError, PlanError, StoreError
from xstilts.step import Step
from xstilts.store import documents
from xstilts.store.client import explained, is_absent, make_client
from xstilts.store.manifest import Blob, Manifest
from xstilts.store.object_keys import blob_key, blob_of, flat_blob_key, is_manifest, manifest_key
from xstilts.store.objects import READS, Objects, file_sha256
from xstilts.store.private_files import cache_folder, private_folder
from xstilts.store.threads import THREADS, in_threads

__all__ = ["Store", "file_sha256"]

_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?$")
_PART = 16 * 1024 * 1024
#: Steps that are looked up one by one in a store with more than a page of them.
_FEW = 500


class Store(Objects):
    """Blobs, steps and checkpoints. Safe to use from several threads."""

    @classmethod
    def open(cls, uri: str, cache: Path | None = None, option: str = "--store") -> "Store":
        """Opens the store at `s3://bucket/prefix`, with endpoint and keys from the AWS_*
        environment.

        Lists once, so that a wrong address, key or bucket raises StoreError immediately.

        Args:
            uri: `s3://bucket/prefix`.
            cache: a local folder for blobs; XSTILTS_CACHE or the user's if None.
            option: what an error calls the address.
        """
        match = _URI.match(uri)
        if match is None:
            raise PlanError(
                f"{option} {uri!r}: invalid address; expected s3://bucket/prefix, and bucket names "
                "have 3 to 63 characters: a-z, 0-9, '-' and '.'"
            )
        folder = cache_folder() if cache is None else private_folder(cache)
        store = cls(make_client(), match[1], match[2] or "", folder)
        # With a delimiter, a server over a file system reads one folder only.
        store._page("runs/", Delimiter="/", MaxKeys=1)
        return store

    # ---- blobs ----

    def put_blob(self, path: Path) -> Blob:
        """Stores a file by content, unless the store already has it."""
        from boto3.s3.transfer import TransferConfig

        config = TransferConfig(
            multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=THREADS
        )
        blob = Blob(file_sha256(path), path.stat().st_size)

        def put(key: str) -> None:
            with explained(self._where(key)):
                self.client.upload_file(str(path), self.bucket, self._key(key), Config=config)

        self._put_unless_stored(blob, put)
        return blob

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
        if cached.is_file() and file_sha256(cached) == sha256:
            return cached
        cached.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(cached.parent / ".lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when this process ends for any reason
            if not (cached.is_file() and file_sha256(cached) == sha256):
                self._fetch(sha256, cached)
        return cached

    def _cached(self, sha256: str) -> Path:
        return self.cache / sha256[:2] / sha256

    def _fetch(self, sha256: str, cached: Path) -> None:
        part = cached.with_name(f"{sha256}.{os.getpid()}.{threading.get_ident()}.part")
        try:
            self._read_verified(sha256, partial(self._download, part))
            os.replace(part, cached)
        finally:
            part.unlink(missing_ok=True)

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
                self.client.download_file(self.bucket, self._key(key), str(path))
            except ClientError as error:
                if is_absent(error):
                    return None
                raise
        return file_sha256(path)

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

    # ---- steps ----

    def commit(self, step: Step, files: Mapping[str, Path], info: Mapping[str, Any]) -> Manifest:
        """Stores the files of a step, then its manifest. If interrupted before the last PUT, the
        step is not done.
        """
        blobs = dict(zip(files, in_threads(self.put_blob, files.values()), strict=True))
        manifest = Manifest(step.kind, step.fingerprint, blobs, step.to_json(), info)
        self.put_json(manifest_key(step.kind, step.fingerprint), manifest.to_json())
        return manifest

    def add_files(self, manifest: Manifest, files: Mapping[str, Path]) -> Manifest:
        """Adds files to a finished step that follow from its others; its fingerprint stays.

        Files of the same name are replaced. The manifest is replaced with one PUT.
        """
        blobs = dict(zip(files, in_threads(self.put_blob, files.values()), strict=True))
        extended = replace(manifest, files={**manifest.files, **blobs})
        self.put_json(manifest_key(manifest.kind, manifest.fingerprint), extended.to_json())
        return extended

    def manifest(self, kind: str, fingerprint: str) -> Manifest | None:
        """The manifest of a step, or None if it is not done. StoreError for a corrupt one."""
        key = manifest_key(kind, fingerprint)
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
        """Fingerprints of all finished steps of a kind."""
        keys = self.list(f"steps/{kind}/")
        return {key.split("/")[2] for key in keys if key.endswith("/manifest.json")}

    def finished(self, kind: str, fingerprints: Iterable[str]) -> set[str]:
        """Those of some steps that are finished: from one page of a listing, from one request for
        each step if they are few and the store is large, and else from a listing.
        """
        steps = {manifest_key(kind, fingerprint): fingerprint for fingerprint in fingerprints}
        if not steps:
            return set()
        page = self._page(f"steps/{kind}/")
        if not page.get("IsTruncated"):
            keys = {item["Key"] for item in page["Contents"]}
        elif len(steps) <= _FEW:
            sizes = zip(steps, in_threads(self.size, steps), strict=True)
            keys = {key for key, size in sizes if size is not None}
        else:
            keys = set(self.entries(f"steps/{kind}/"))
        return {fingerprint for key, fingerprint in steps.items() if key in keys}

    def manifests(self, steps: Iterable[tuple[str, str]]) -> Sequence[Manifest | None]:
        """The manifests of several steps (kind, fingerprint), as `manifest` returns them."""
        return in_threads(lambda step: self.manifest(*step), steps)

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

    def delete_all(self, keys: Sequence[str]) -> None:
        """Deletes objects: manifests before the blobs that they name."""
        in_threads(self.delete, [key for key in keys if is_manifest(key)])
        in_threads(self.delete, [key for key in keys if not is_manifest(key)])

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
            key, path = f"{folder}/{name}", into / name
            self._until_equal(
                key,
                sha256,
                lambda: file_sha256(self.get_file(key, path)),
                "delete this checkpoint folder and run the plan again",
            )
            return name, path

        return dict(in_threads(get, state["files"].items()))

    def clear_work(self, fingerprint: str) -> None:
        """Deletes all checkpoints of a step."""
        self.delete(f"work/{fingerprint}/")
