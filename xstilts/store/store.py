"""The object store: blobs by content, one manifest per step, one folder per run.

Of a server it needs only Put, Get, Head, List, Delete and multipart uploads. Every read verifies
the SHA-256. A step is done once its manifest exists, which is written last with one PUT: two
writers of a step can only race for whose complete manifest is kept.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xstilts.errors import CorruptError, PlanError
from xstilts.step import Step
from xstilts.store import documents
from xstilts.store.blobs import Blobs
from xstilts.store.client import make_client
from xstilts.store.manifest import Manifest
from xstilts.store.object_keys import is_manifest, manifest_key
from xstilts.store.private_files import cache_folder, private_folder
from xstilts.store.threads import in_threads
from xstilts.store.transfers import file_sha256

__all__ = ["Store", "file_sha256"]

_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?$")
#: Steps that are looked up one by one in a store with more than a page of them.
_FEW = 500


class Store(Blobs):
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

    # ---- steps ----

    def commit(self, step: Step, files: Mapping[str, Path], info: Mapping[str, Any]) -> Manifest:
        """Stores the files of a step, then its manifest. If interrupted before the last PUT, the
        step is not done.
        """
        blobs = dict(zip(files, self.put_blobs(files.values()), strict=True))
        manifest = Manifest(step.kind, step.fingerprint, blobs, step.to_json(), info)
        self.put_json(manifest_key(step.kind, step.fingerprint), manifest.to_json())
        return manifest

    def add_files(self, manifest: Manifest, files: Mapping[str, Path]) -> Manifest:
        """Adds files to a finished step that follow from its others; its fingerprint stays.

        Files of the same name are replaced. The manifest is replaced with one PUT.
        """
        blobs = dict(zip(files, self.put_blobs(files.values()), strict=True))
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
                lambda: self.download(key, path),
                "delete this checkpoint folder and run the plan again",
            )
            return name, path

        return dict(in_threads(get, state["files"].items()))

    def clear_work(self, fingerprint: str) -> None:
        """Deletes all checkpoints of a step."""
        self.delete(f"work/{fingerprint}/")
