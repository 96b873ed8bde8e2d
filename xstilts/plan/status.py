"""Which steps and cells of a plan are finished."""

from collections.abc import Collection, Mapping
from typing import Protocol

from xstilts.plan.expansion import Expansion


class FinishedSteps(Protocol):
    """The part of the store that this module reads."""

    def finished(self, kind: str, fingerprints: Collection[str]) -> set[str]: ...


def done(expansion: Expansion, store: FinishedSteps) -> dict[str, set[str]]:
    """kind → fingerprints of the plan's finished steps."""
    return {kind: store.finished(kind, fps) for kind, fps in expansion.by_kind().items()}


def undone(expansion: Expansion, store: FinishedSteps) -> dict[str, set[str]]:
    """kind → fingerprints of the plan's unfinished steps."""
    finished = done(expansion, store)
    return {kind: set(fps) - finished[kind] for kind, fps in expansion.by_kind().items()}


def cell_state(expansion: Expansion, finished: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Cell id → done (all scores exist), trained (its model exists) or waiting."""
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
