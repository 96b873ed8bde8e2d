"""images/images.lock: which image each component runs in, and its digest once somebody computed
it.
"""

import argparse
import json
import os
from collections.abc import Mapping
from typing import Any

from components import images
from pipelines.image_registry import digest, parse
from xstilts.errors import PlanError

BASE = "base"

Lock = Mapping[str, Mapping[str, Any]]


def renamed(lock: Lock, registry: str | None, tag: str | None) -> dict[str, dict[str, Any]]:
    """The lock with our images under another registry or tag; a digest belongs to the reference
    that it was computed for, so a changed one has none. The base keeps its own.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, entry in lock.items():
        reference = str(entry["reference"])
        if name != BASE:
            head, _, old = reference.rpartition(":")
            reference = f"{registry.rstrip('/')}/{name}" if registry else head
            reference += f":{tag or old}"
            parse(reference)
        found[name] = {
            "reference": reference,
            "digest": entry["digest"] if reference == entry["reference"] else None,
        }
    return found


def resolved(lock: Lock) -> dict[str, dict[str, Any]]:
    """The lock with the digest that each reference has now. Raises InfrastructureError for the
    first that cannot be had.
    """
    return {
        name: {**entry, "digest": digest(str(entry["reference"]))} for name, entry in lock.items()
    }


def lines(lock: Lock) -> list[str]:
    """name, reference, digest of every image, `-` for a digest that nobody computed."""
    return [
        f"{name}\t{entry['reference']}\t{entry['digest'] or '-'}" for name, entry in lock.items()
    ]


def lock(given: argparse.Namespace) -> int:
    """xstilts lock: prints the lock; --resolve asks the registries and writes it."""
    found = renamed(images.lock(), given.registry, given.tag)
    if given.image:
        if unknown := [name for name in given.image if name not in found]:
            raise PlanError(
                f"no image is called {', '.join(unknown)}; there are {', '.join(found)}"
            )
        chosen = {name: found[name] for name in given.image}
    else:
        chosen = found
    if given.resolve:
        chosen = resolved(chosen)
        found = {**found, **chosen}
        part = images.LOCK.with_suffix(".part")
        part.write_text(json.dumps(found, indent=2) + "\n")
        os.replace(part, images.LOCK)
        images.lock.cache_clear()
    for line in lines(chosen):
        print(line, flush=True)
    return 0
