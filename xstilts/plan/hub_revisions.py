"""Which data sets a plan reads at a commit of the hub that hub.lock does not verify."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from xstilts.sources.mirrors import hub_lock


def unverified_sources(identities: Iterable[Mapping[str, Any]]) -> list[str]:
    """Data sets without a verified entry in hub.lock, whose commit was resolved for this plan.
    identities: those of an expansion.
    """
    lock = hub_lock()
    names = {name for entry in identities for name in _hub_names(entry["identity"])}
    return sorted(name for name in names if not lock.get(name, {}).get("verified"))


def _hub_names(identity: Mapping[str, Any]) -> Iterator[str]:
    if "hub" in identity:
        yield str(identity["hub"])
    for further in identity.get("with", ()):
        yield from _hub_names(further)
