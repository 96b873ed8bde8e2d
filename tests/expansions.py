"""The expansion of a plan as a run stores it, without running the plan step."""

from collections.abc import Sequence
from typing import Any

from xstilts.plan.expansion import Expansion
from xstilts.step import Step

LISTS = (
    "sources", "builds", "encodings", "groups", "cells", "not_applicable", "skipped_languages",
    "contrasts", "overlaps", "budgets", "overrides", "identities",
)  # fmt: skip


def expansion_of(
    steps: Sequence[Step], evaluations: Sequence[str] = (), **members: Any
) -> Expansion:
    """An expansion with these steps, and of the rest only what `members` has."""
    of_rest: dict[str, Any] = {
        "name": "small", "plan": {"backbones": {}}, "environment": {}, "headline": None,
        "controls": {}, "order": {"evaluations": list(evaluations)}, **{name: [] for name in LISTS},
    }  # fmt: skip
    return Expansion(**{**of_rest, **members, "steps": {step.fingerprint: step for step in steps}})
