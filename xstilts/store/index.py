"""An index of the blobs that manifests name, so that a large store can be examined without reading
every manifest again.

`index/manifests.json` {sha256, manifests: {key: [version, [SHA-256 of a blob, …]]}}. It is only a
copy: an entry counts if its manifest is in the listing with the same version, all other manifests
are read. An index that is missing, corrupt or of another format is built again. Writers may
overwrite each other: an index with fewer entries costs time only.
"""

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from xstilts.errors import CorruptError
from xstilts.step import canonical_json
from xstilts.store.documents import checked_sha256
from xstilts.store.listing import Entry
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store
from xstilts.store.threads import in_threads

KEY = "index/manifests.json"
#: Seconds after which a manifest is put into the index. One that is written twice within the
#: resolution of the server's clock would have one version for two contents.
SETTLED = 60.0

#: Key of a manifest → SHA-256 of its blobs.
Blobs = dict[str, frozenset[str]]
log = logging.getLogger(__name__)


def blobs_of_manifests(
    store: Store, entries: Mapping[str, Entry], now: float, use_index: bool = True
) -> Blobs:
    """The blobs of all manifests in a listing. StoreError for a manifest that cannot be read.

    Args:
        store: to read.
        entries: key → entry of the manifests.
        now: seconds since 1970.
        use_index: False reads every manifest.
    """
    known = _read(store) if use_index else {}
    blobs: Blobs = {
        key: known[key][1]
        for key, entry in entries.items()
        if key in known and known[key][0] == entry.version
    }
    unknown = [key for key in entries if key not in blobs]
    blobs |= dict(zip(unknown, in_threads(lambda key: _named(store, key), unknown), strict=True))
    if unknown or known.keys() - entries.keys():
        write(store, entries, blobs, now)
    return blobs


def write(store: Store, entries: Mapping[str, Entry], blobs: Blobs, now: float) -> None:
    """Replaces the index by one of these manifests.

    Args:
        store: to write to.
        entries: from a listing that was made before the manifests were read.
        blobs: the blobs that the manifests name.
        now: seconds since 1970.
    """
    manifests = {
        key: [entries[key].version, sorted(blobs[key])]
        for key in blobs
        if key in entries and entries[key].written < now - SETTLED
    }
    store.put_json(KEY, {"sha256": _digest(manifests), "manifests": manifests})


def _named(store: Store, key: str) -> frozenset[str]:
    """The blobs that a manifest names. It may have been deleted since the listing."""
    _, kind, fingerprint, _ = key.split("/")
    manifest: Manifest | None = store.manifest(kind, fingerprint)
    return frozenset(blob.sha256 for blob in manifest.files.values()) if manifest else frozenset()


def _read(store: Store) -> dict[str, tuple[str, frozenset[str]]]:
    """Key of a manifest → (version, blobs), as in the index; empty if it cannot be used."""
    try:
        document = store.get_json(KEY)
        return {} if document is None else _parsed(document)
    except CorruptError as error:
        log.warning("%s; building it again", error)
        return {}


def _parsed(document: Mapping[str, Any]) -> dict[str, tuple[str, frozenset[str]]]:
    manifests = document["manifests"]
    if document["sha256"] != _digest(manifests):
        raise CorruptError(f"{KEY}: corrupt: SHA-256 mismatch")
    try:
        return {key: (str(version), _checked(blobs)) for key, (version, blobs) in manifests.items()}
    except (TypeError, ValueError) as error:
        raise CorruptError(f"{KEY}: corrupt: {error}") from error


def _checked(blobs: Iterable[Any]) -> frozenset[str]:
    return frozenset(checked_sha256(sha256, KEY) for sha256 in blobs)


def _digest(manifests: Collection[Any]) -> str:
    return hashlib.sha256(canonical_json(manifests).encode()).hexdigest()
