"""Garbage collection of a store: steps that no run references, blobs that no step references, and
abandoned checkpoints.

To release the steps of a run, delete its folder. Whether work may be in progress does not depend on
the age that a caller chooses: see ACTIVE_DAYS.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from xstilts.errors import StoreError, counted
from xstilts.step import RECIPE_VERSION
from xstilts.store.index import Blobs, blobs_of_manifests
from xstilts.store.listing import Entry
from xstilts.store.object_keys import blob_key, blob_of, flat_blob_key, is_manifest, manifest_key
from xstilts.store.store import Store
from xstilts.store.threads import in_threads

DAY = 86_400.0
#: A run without status.json that changed within this many days may be active: nothing is garbage
#: then. A blob that no manifest names is kept for as long: its manifest is written after it.
ACTIVE_DAYS = 7


@dataclass(frozen=True)
class Garbage:
    """keys: of unneeded objects. size: their bytes. kept: bytes of all other objects."""

    keys: tuple[str, ...]
    size: int
    kept: int


def garbage(store: Store, now: float, days: float, use_index: bool = False) -> Garbage:
    """Objects that nothing references and that are older than a number of days.

    StoreError while a run may be active: a step whose blobs exist already writes only its manifest,
    so the age of a blob does not show that it is unneeded. Also StoreError if the server's listing
    lacks objects that exist, or a document cannot be read: what they reference is unknown.

    Args:
        store: to search.
        now: seconds since 1970.
        days: minimum age of garbage; 0 for all of it.
        use_index: reads only manifests that changed since the last time (store/index.py). Not for
            deleting.
    """
    everything = _everything(store)
    old = _older(everything, now, days)
    settled = _older(everything, now, ACTIVE_DAYS)
    runs = sorted(
        {key.split("/")[1] for key in everything if key.startswith("runs/") and key.count("/") > 1}
    )
    if active := _active(runs, everything, settled):
        raise StoreError(
            f"{store.uri}: {', '.join(active)} may be active (no status.json, and changed within "
            f"{ACTIVE_DAYS} days); wait for it to finish, or delete its folder under runs/"
        )
    needed = _needed(store, runs)
    manifests = {key: entry for key, entry in everything.items() if is_manifest(key)}
    blobs = blobs_of_manifests(store, manifests, now, use_index)
    _refuse_incomplete(store, everything.keys(), needed, blobs)
    steps = sorted(key for key in manifests if key not in needed and key in old)
    referenced = set[str]().union(*(blobs[key] for key in blobs.keys() - set(steps)))
    named = set[str]().union(*blobs.values())
    unfinished = {
        key for key in old - settled if (blob := blob_of(key)) is not None and blob not in named
    }
    unneeded = sorted(key for key in old - unfinished if _is_unneeded(key, referenced))
    keys = (*steps, *unneeded)
    size = sum(everything[key].size for key in keys)
    return Garbage(keys, size, sum(entry.size for entry in everything.values()) - size)


def collect(store: Store, garbage: Garbage) -> None:
    """Deletes garbage."""
    store.delete_all(garbage.keys)


def _everything(store: Store) -> dict[str, Entry]:
    """All objects of a store, from listings of its parts. StoreError if a listing of folders, which
    servers make in another way, shows a folder with objects that these listings lack.
    """
    kinds = sorted({*store.folders("steps/"), *(f"steps/{kind}/" for kind in RECIPE_VERSION)})
    parts = ("blobs/", "runs/", "schedules/", "work/", *kinds)
    everything = {key: entry for part in parts for key, entry in store.entries(part).items()}
    listed = {key[: key.find("/", len(part)) + 1] for part in parts for key in everything}
    folders = [folder for part in parts for folder in store.folders(part)]
    unlisted = [folder for folder in folders if folder not in listed]
    _refuse_existing(store, [key for folder in unlisted for key in _references_of(folder)])
    return everything


def _references_of(folder: str) -> Iterator[str]:
    """The object of a folder that references others. The folder itself may be empty: a server over
    a file system also lists empty folders.
    """
    if folder.startswith("runs/"):
        yield f"{folder}expanded.json"
    if folder.startswith("steps/"):
        yield f"{folder}manifest.json"


def _older(everything: Mapping[str, Entry], now: float, days: float) -> set[str]:
    """Keys of the objects that are older than a number of days."""
    return {key for key, entry in everything.items() if now - entry.written > days * DAY}


def _active(runs: Iterable[str], keys: Iterable[str], settled: Collection[str]) -> list[str]:
    """Runs that changed lately and have no status.json."""
    young = {key.split("/")[1] for key in keys if key.startswith("runs/") and key not in settled}
    return [run for run in runs if run in young and f"runs/{run}/status.json" not in keys]


def _is_unneeded(key: str, referenced: Collection[str]) -> bool:
    """Whether an object is a checkpoint, or a blob that no manifest references."""
    blob = blob_of(key)
    return key.startswith("work/") or (blob is not None and blob not in referenced)


def _needed(store: Store, runs: Iterable[str]) -> set[str]:
    """Manifests of the steps that runs reference. A run that was never expanded references none; an
    expansion that cannot be read is an error.
    """
    documents = in_threads(lambda run: store.get_json(f"runs/{run}/expanded.json"), runs)
    return {
        manifest_key(step["kind"], fingerprint)
        for document in documents
        for fingerprint, step in (document or {"steps": {}})["steps"].items()
    }


def _refuse_incomplete(
    store: Store, keys: Collection[str], needed: Collection[str], blobs: Blobs
) -> None:
    """Raises StoreError if the listing lacks a needed manifest or a referenced blob that exists."""
    present = {blob for key in keys if (blob := blob_of(key))}
    referenced = dict.fromkeys(blob for named in blobs.values() for blob in sorted(named))
    lacking = [key for key in needed if key not in keys]
    for blob in referenced:
        if blob not in present:
            lacking += [blob_key(blob), flat_blob_key(blob)]
    _refuse_existing(store, lacking)


def _refuse_existing(store: Store, keys: Sequence[str]) -> None:
    """Raises StoreError if one of the keys, which are in no listing, exists."""
    sizes = in_threads(store.size, keys)
    if unlisted := [key for key, size in zip(keys, sizes, strict=True) if size is not None]:
        raise StoreError(
            f"{store.uri}: the listing lacks {counted(len(unlisted), 'object')}, such as "
            f"{unlisted[0]}; nothing was deleted. Something is writing to the store, or the "
            "server's listings are not reliable"
        )
