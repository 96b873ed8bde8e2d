"""Garbage collection of a store: steps that no run references, blobs that no step references, and
abandoned checkpoints.

To release the steps of a run, delete its folder. Young objects are kept, since they may belong to
work in progress.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from xstilts.errors import StoreError
from xstilts.step import RECIPE_VERSION
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store

DAY = 86_400.0


@dataclass(frozen=True)
class Garbage:
    """keys: of unneeded objects, in the order in which to delete them. size: their bytes. kept:
    bytes of all other objects.
    """

    keys: tuple[str, ...]
    size: int
    kept: int


def garbage(store: Store, now: float, days: float) -> Garbage:
    """Objects that nothing references and that are older than a number of days.

    StoreError while a run may be active: a step whose blobs exist already writes only its manifest,
    so the age of a blob does not show that it is unneeded.

    Args:
        store: to search.
        now: seconds since 1970.
        days: minimum age of garbage.
    """
    everything = store.written("")
    old = {key for key, (_, written) in everything.items() if now - written > days * DAY}
    runs = sorted(
        {key.split("/")[1] for key in everything if key.startswith("runs/") and key.count("/") > 1}
    )
    if active := [run for run in runs if _may_be_active(run, everything.keys(), old)]:
        raise StoreError(
            f"{store.uri}: {', '.join(active)} may be active (no status.json, and changed within "
            f"{days:g} days); wait for it to finish, or delete its folder under runs/"
        )
    manifests = _manifests(store)
    needed = _needed(store, runs)
    steps = [
        _key_of(kind, fp) for kind, fp in manifests if fp not in needed and _key_of(kind, fp) in old
    ]
    deleted = set(steps)
    referenced = {
        f"blobs/{blob.sha256}"
        for (kind, fp), manifest in manifests.items()
        if _key_of(kind, fp) not in deleted
        for blob in manifest.files.values()
    }
    blobs = sorted(key for key in old if key.startswith("blobs/") and key not in referenced)
    work = sorted(key for key in old if key.startswith("work/"))
    # Manifests first: a manifest must never exist without its blobs.
    keys = (*steps, *blobs, *work)
    size = sum(everything[key][0] for key in keys)
    return Garbage(keys, size, sum(size for size, _ in everything.values()) - size)


def collect(store: Store, garbage: Garbage) -> None:
    """Deletes garbage."""
    for key in garbage.keys:
        store.delete(key)


def _may_be_active(run: str, keys: Iterable[str], old: set[str]) -> bool:
    run_keys = {key for key in keys if key.startswith(f"runs/{run}/")}
    return f"runs/{run}/status.json" not in run_keys and not run_keys <= old


def _key_of(kind: str, fingerprint: str) -> str:
    return f"steps/{kind}/{fingerprint}/manifest.json"


def _manifests(store: Store) -> dict[tuple[str, str], Manifest]:
    manifests = {}
    for kind in RECIPE_VERSION:
        for fingerprint in sorted(store.done(kind)):
            manifest = store.manifest(kind, fingerprint)
            if manifest is not None:
                manifests[kind, fingerprint] = manifest
    return manifests


def _needed(store: Store, runs: Iterable[str]) -> set[str]:
    """Fingerprints of the steps that runs reference. A run that was never expanded references none;
    an expansion that cannot be read is an error.
    """
    needed: set[str] = set()
    for run in runs:
        expanded = store.get_json(f"runs/{run}/expanded.json")
        if expanded is not None:
            needed |= set(expanded["steps"])
    return needed
