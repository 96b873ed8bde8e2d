"""Garbage collection of a store: steps that no run references, blobs that no step references, and
abandoned checkpoints.

To release the steps of a run, delete its folder. Young objects are kept, since they may belong to
work in progress.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from xstilts.errors import StoreError
from xstilts.step import RECIPE_VERSION
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store

DAY = 86_400.0
#: Parts of a store, which are also listed one by one.
PARTS = ("blobs/", "runs/", "schedules/", "steps/", "work/")


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
    so the age of a blob does not show that it is unneeded. Also StoreError if the server's listing
    lacks objects that exist, or a document cannot be read: what they reference is unknown.

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
    _refuse_incomplete(store, everything.keys(), needed, manifests)
    steps = [
        _key_of(kind, fp)
        for kind, fp in manifests
        if (kind, fp) not in needed and _key_of(kind, fp) in old
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


def _needed(store: Store, runs: Iterable[str]) -> set[tuple[str, str]]:
    """(kind, fingerprint) of the steps that runs reference. A run that was never expanded
    references none; an expansion that cannot be read is an error.
    """
    needed: set[tuple[str, str]] = set()
    for run in runs:
        expanded = store.get_json(f"runs/{run}/expanded.json")
        if expanded is not None:
            needed |= {(step["kind"], fp) for fp, step in expanded["steps"].items()}
    return needed


def _refuse_incomplete(
    store: Store,
    keys: Collection[str],
    needed: Iterable[tuple[str, str]],
    manifests: Mapping[tuple[str, str], Manifest],
) -> None:
    """Raises StoreError if the listing lacks an object that exists, or that a listing of a part of
    the store has.
    """
    parts = [key for part in PARTS for key in store.list(part)]
    referenced = [
        *(_key_of(kind, fp) for kind, fp in needed if (kind, fp) not in manifests),
        *(
            f"blobs/{blob.sha256}"
            for manifest in manifests.values()
            for blob in manifest.files.values()
        ),
    ]
    unlisted = [key for key in dict.fromkeys(referenced) if key not in keys]
    lacking = [key for key in parts if key not in keys]
    lacking += [key for key in unlisted if store.size(key) is not None]
    if lacking:
        raise StoreError(
            f"{store.uri}: the listing lacks {len(lacking)} objects that exist, such as "
            f"{lacking[0]}; nothing was deleted. Something is writing to the store, or the "
            "server's listings are not reliable"
        )
