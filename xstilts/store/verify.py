"""Verifies a store: manifests can be read, and their blobs exist and have the right SHA-256."""

from dataclasses import dataclass

from xstilts.errors import CorruptError, StoreError
from xstilts.step import RECIPE_VERSION
from xstilts.store.manifest import Manifest
from xstilts.store.object_keys import blob_key, flat_blob_key, is_manifest, manifest_key
from xstilts.store.store import Store
from xstilts.store.threads import in_threads


@dataclass(frozen=True)
class StoreProblem:
    """What is wrong with an object. keys: of the objects that must be deleted before the steps that
    need it can be computed again, manifests first; empty if that would delete sound data.
    """

    text: str
    keys: tuple[str, ...]


def verify(store: Store) -> list[StoreProblem]:
    """One problem for each manifest that cannot be read and each missing or corrupt blob."""
    steps = [(kind, fp) for kind in RECIPE_VERSION for fp in sorted(store.done(kind))]
    problems: list[StoreProblem] = []
    needed_by: dict[str, list[tuple[str, str]]] = {}
    for (kind, fingerprint), result in zip(
        steps, in_threads(lambda step: _manifest(store, *step), steps), strict=True
    ):
        key = manifest_key(kind, fingerprint)
        if isinstance(result, StoreError):
            corrupt = isinstance(result, CorruptError)
            problems.append(StoreProblem(str(result), (key,) if corrupt else ()))
            continue
        for name, blob in result.files.items() if result else ():
            needed_by.setdefault(blob.sha256, []).append((key, name))
    errors = in_threads(lambda sha256: _blob_error(store, sha256), needed_by)
    for (sha256, files), error in zip(needed_by.items(), errors, strict=True):
        if error is not None:
            key, name = files[0]
            text = f"{key.removesuffix('/manifest.json')} ({name}): {error}"
            manifests = dict.fromkeys(key for key, _ in files)
            keys = (*manifests, blob_key(sha256), flat_blob_key(sha256))
            problems.append(StoreProblem(text, keys if isinstance(error, CorruptError) else ()))
    return problems


def repair(store: Store, problems: list[StoreProblem]) -> int:
    """Deletes what `verify` says must be deleted, and returns the number of steps without a
    manifest now: the next run computes them again.
    """
    keys = list(dict.fromkeys(key for problem in problems for key in problem.keys))
    store.delete_all(keys)
    return sum(map(is_manifest, keys))


def _manifest(store: Store, kind: str, fingerprint: str) -> Manifest | StoreError | None:
    try:
        return store.manifest(kind, fingerprint)
    except StoreError as error:
        return error


def _blob_error(store: Store, sha256: str) -> StoreError | None:
    try:
        store.check_blob(sha256)
    except StoreError as error:
        return error
    return None
