"""Where objects are in a store.

Blobs are in 256 folders by the first two digits of their SHA-256. Stores of earlier versions have
them in one flat folder, which a server over a file system reads again for each of them; blobs of
both places are read.
"""

import os
import re
from pathlib import Path

_BLOB = re.compile(r"blobs/(?:([0-9a-f]{2})/)?([0-9a-f]{64})")
_HASHED = re.compile(r"blobs/|steps/[a-z]+/")


def blob_key(sha256: str) -> str:
    return f"blobs/{sha256[:2]}/{sha256}"


def flat_blob_key(sha256: str) -> str:
    """Where earlier versions stored a blob."""
    return f"blobs/{sha256}"


def blob_of(key: str) -> str | None:
    """The SHA-256 of the blob with a key, or None if it is not the key of a blob."""
    match = _BLOB.fullmatch(key)
    return match[2] if match and match[1] in (None, match[2][:2]) else None


def manifest_key(kind: str, fingerprint: str) -> str:
    return f"steps/{kind}/{fingerprint}/manifest.json"


def is_manifest(key: str) -> bool:
    return key.startswith("steps/") and key.endswith("/manifest.json") and key.count("/") == 3


def is_hashed(prefix: str) -> bool:
    """Whether hexadecimal digits follow a prefix in all keys of this version."""
    return _HASHED.fullmatch(prefix) is not None


def move_flat_blobs(store: Path) -> int:
    """Moves the blobs of an earlier version to their folders and returns their number.

    Each move is one rename, so a blob can be read at any moment in one place or the other.

    Args:
        store: the folder of a store in a local file system.
    """
    moved = 0
    with os.scandir(store / "blobs") as entries:
        flat = [entry.name for entry in entries if blob_of(f"blobs/{entry.name}")]
    for sha256 in flat:
        target = store / blob_key(sha256)
        target.parent.mkdir(exist_ok=True)
        try:
            os.rename(store / flat_blob_key(sha256), target)
        except FileNotFoundError:  # another process has moved it
            continue
        moved += 1
    return moved
