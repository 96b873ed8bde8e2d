"""images/images.lock: the image of each component, with its digest once it has been resolved."""

import json
from collections.abc import Mapping
from typing import Any

from components import images
from pipelines.image_registry import digest, parse
from xstilts.new_files import new_file

BASE = "base"

Lock = Mapping[str, Mapping[str, Any]]


def renamed(lock: Lock, registry: str | None, tag: str | None) -> dict[str, dict[str, Any]]:
    """The lock with the project's images under another registry or tag. A changed reference has no
    digest: a digest belongs to the reference it was resolved for. The base image is unchanged.
    """
    entries: dict[str, dict[str, Any]] = {}
    for name, entry in lock.items():
        reference = str(entry["reference"])
        if name != BASE:
            head, _, old = reference.rpartition(":")
            reference = f"{registry.rstrip('/')}/{name}" if registry else head
            reference += f":{tag or old}"
            parse(reference)
        entries[name] = {
            "reference": reference,
            "digest": entry["digest"] if reference == entry["reference"] else None,
        }
    return entries


def resolved(lock: Lock) -> dict[str, dict[str, Any]]:
    """The lock with the current digest of each reference. Raises InfrastructureError for the first
    one that cannot be resolved.
    """
    return {
        name: {**entry, "digest": digest(str(entry["reference"]))} for name, entry in lock.items()
    }


def lines(lock: Lock) -> list[str]:
    """Name, reference and digest of every image, `-` for an unknown digest."""
    return [
        f"{name}\t{entry['reference']}\t{entry['digest'] or '-'}" for name, entry in lock.items()
    ]


def write(lock: Lock) -> None:
    """Replaces images/images.lock."""
    with new_file(images.LOCK) as part:
        part.write_text(json.dumps(lock, indent=2) + "\n")
    images.lock.cache_clear()
