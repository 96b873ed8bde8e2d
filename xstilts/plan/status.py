"""What of a plan is done, and what is not."""

from collections.abc import Collection, Mapping
from typing import Protocol

from xstilts.plan.expansion import Expansion


class Finished(Protocol):
    """The part of the store that status reads."""

    def done(self, kind: str) -> Collection[str]: ...


def done(expansion: Expansion, store: Finished) -> dict[str, set[str]]:
    """kind → fingerprints of the plan's steps that are finished. One listing of the store for
    each kind.
    """
    return {kind: set(fps) & set(store.done(kind)) for kind, fps in expansion.by_kind().items()}


def undone(expansion: Expansion, store: Finished) -> dict[str, set[str]]:
    """kind → fingerprints of the plan's steps that are not finished."""
    finished = done(expansion, store)
    return {kind: set(fps) - finished[kind] for kind, fps in expansion.by_kind().items()}


def cell_state(expansion: Expansion, finished: Mapping[str, Collection[str]]) -> dict[str, str]:
    """cell id → done (every score), trained (its model), or waiting."""
    finetuned, scored = set(finished.get("finetune", ())), set(finished.get("score", ()))
    states = {}
    for cell in expansion.cells:
        if set(cell["scores"].values()) <= scored:
            states[cell["id"]] = "done"
        else:
            states[cell["id"]] = (
                "trained" if cell["chain"] and set(cell["chain"]) <= finetuned else "waiting"
            )
    return states
