"""What a store holds and nothing needs: steps that no run names, blobs that no step names,
checkpoints left behind.

Deleting a run's folder is how one says that its steps may go. What is young stays: it may belong to
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
    """keys: what may go, in the order in which to delete it. size: its bytes. kept: bytes of
    what stays.
    """

    keys: tuple[str, ...]
    size: int
    kept: int


def garbage(store: Store, now: float, days: float) -> Garbage:
    """What nothing needs and is older than so many days. Raises StoreError while a run may be at
    work: a step that finds its bytes in the store already writes only its manifest, so the age
    of a blob says nothing then.
    """
    everything = store.written("")
    old = {key for key, (_, written) in everything.items() if now - written > days * DAY}
    runs = sorted(
        {key.split("/")[1] for key in everything if key.startswith("runs/") and key.count("/") > 1}
    )
    if busy := [run for run in runs if _at_work(run, everything.keys(), old)]:
        raise StoreError(
            f"{store.uri}: {', '.join(busy)} may be at work (no status, and changed within {days:g} days); wait for it, "
            "or delete its folder under runs/"
        )
    manifests = _manifests(store)
    needed = _needed(store, runs)
    steps = [
        _key_of(kind, fp) for kind, fp in manifests if fp not in needed and _key_of(kind, fp) in old
    ]
    gone = set(steps)
    named = {
        f"blobs/{blob.sha256}"
        for (kind, fp), manifest in manifests.items()
        if _key_of(kind, fp) not in gone
        for blob in manifest.files.values()
    }
    blobs = sorted(key for key in old if key.startswith("blobs/") and key not in named)
    work = sorted(key for key in old if key.startswith("work/"))
    keys = (
        *steps,
        *blobs,
        *work,
    )  # a step's manifest goes first: it is never there without its blobs
    size = sum(everything[key][0] for key in keys)
    return Garbage(keys, size, sum(size for size, _ in everything.values()) - size)


def collect(store: Store, found: Garbage) -> None:
    """Deletes what `garbage` found."""
    for key in found.keys:
        store.delete(key)


def _at_work(run: str, keys: Iterable[str], old: set[str]) -> bool:
    own = [key for key in keys if key.startswith(f"runs/{run}/")]
    return f"runs/{run}/status.json" not in own and not set(own) <= old


def _key_of(kind: str, fingerprint: str) -> str:
    return f"steps/{kind}/{fingerprint}/manifest.json"


def _manifests(store: Store) -> dict[tuple[str, str], Manifest]:
    found = {}
    for kind in RECIPE_VERSION:
        for fingerprint in sorted(store.done(kind)):
            manifest = store.manifest(kind, fingerprint)
            if manifest is not None:
                found[kind, fingerprint] = manifest
    return found


def _needed(store: Store, runs: Iterable[str]) -> set[str]:
    """The steps that any run names. A run that was never expanded names none; one whose
    expansion cannot be read stops the collection.
    """
    needed: set[str] = set()
    for run in runs:
        expanded = store.get_json(f"runs/{run}/expanded.json")
        if expanded is not None:
            needed |= set(expanded["steps"])
    return needed
