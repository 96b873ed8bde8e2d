"""Reads and expands the plan file that a command gets. The one place where commands load plans."""

from collections.abc import Sequence
from pathlib import Path

from xstilts.environment import numeric_environment
from xstilts.errors import PlanError
from xstilts.plan.expand import expand
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.schema import Plan
from xstilts.sources.mirrors import open_mirror


def read_plan(path: Path, tasks: Sequence[Path] = ()) -> Plan:
    """Reads and checks a plan file. Raises PlanError with every mistake in it.

    tasks: private task files besides those under the plan's `tasks`.
    """
    if not path.is_file():
        raise PlanError(f"{path}: no such plan file")
    return load_plan(path, more_tasks=tasks)


def expand_plan(plan: Plan, mirror: str, generation: str | None = None) -> Expansion:
    """Expands a plan over the data of a mirror. generation: new steps for `reuse: none`."""
    return expand(plan, open_mirror(mirror), numeric_environment(), generation=generation)
