"""Reads and expands the plan that a command gets: a file, or the name of a shipped plan, with
overrides. The one place where commands load plans.
"""

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.console import warn
from pipelines.plan_overrides import overridden
from xstilts.environment import numeric_environment
from xstilts.errors import DataError, PlanError
from xstilts.input_files import (
    LARGEST_YAML,
    InvalidDocument,
    decoded,
    parse_yaml,
    read_bytes,
    resolved,
)
from xstilts.plan.cautions import cautions
from xstilts.plan.expand import expand
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.schema import Plan
from xstilts.sources.mirrors import open_mirror

log = logging.getLogger(__name__)

#: The plans that are shipped: `demo` is demo.yaml.
SHIPPED = Path(__file__).parent / "plans"


@dataclass(frozen=True)
class LoadedPlan:
    """A valid plan. text: its YAML, which a run's folder keeps; with overrides, that of the
    overridden plan.
    """

    file: Path
    text: str
    plan: Plan


def shipped_plans() -> dict[str, Path]:
    """Name → file of every shipped plan."""
    return {file.stem: file for file in sorted(SHIPPED.glob("*.yaml"))}


def plan_file(name: Path | str) -> Path:
    """The file that a command line names: a path, or the name of a shipped plan."""
    path, shipped = Path(name), shipped_plans()
    if path.is_file():
        return path
    if (file := shipped.get(str(name))) is not None:
        return file
    if path.is_dir():
        raise PlanError(f"{name}: a folder; name a plan file in it")
    if path.exists():
        raise PlanError(f"{name}: not a regular file; name a plan file")
    nearest = difflib.get_close_matches(path.stem, shipped, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise PlanError(f"{name}: no such plan file or shipped plan; {hint}`xstilts plans` lists them")


def open_plan(
    name: Path | str,
    tasks: Sequence[Path] = (),
    overrides: Sequence[str] = (),
    limit: int | None = None,
) -> LoadedPlan:
    """Reads and checks a plan. Raises PlanError with every mistake in it; warns of values that are
    allowed and unusual.

    Args:
        name: a path, or the name of a shipped plan.
        tasks: private task files besides those under the plan's `tasks`.
        overrides: `key=value` texts, applied in order.
        limit: at most this many rows of each split and updates of each training: a smoke run.
    """
    file = plan_file(name)
    log.info("plan %s", file)
    text = _read(file)
    if overrides or limit is not None:
        text = overridden(text, str(file), overrides, limit)
    # A text with a line break is a plan; its relative paths start at the folder of the file.
    whole = text if "\n" in text else f"{text}\n"
    plan = load_plan(whole, more_tasks=tasks, folder=file.parent, source=str(file))
    for caution in cautions(plan):
        warn(f"{file}: {caution}")
    return LoadedPlan(file, text, plan)


def read_plan(name: Path | str, tasks: Sequence[Path] = ()) -> Plan:
    """The plan of `open_plan` without overrides."""
    return open_plan(name, tasks).plan


def describe(file: Path) -> Mapping[str, Any]:
    """name, mirror, backbones, arms, evaluations and title of a plan file, unchecked. Each plan has
    the arm `none`, which few files name.
    """
    raw = parse_yaml(_read(file))
    sizes = {key: len(raw.get(key) or ()) for key in ("backbones", "arms", "evaluations")}
    sizes["arms"] += "none" not in (raw.get("arms") or ())
    return {
        "name": file.stem, "mirror": raw.get("mirror", "hub"), **sizes,
        "title": raw.get("title", ""), "file": str(file),
    }  # fmt: skip


def _read(file: Path) -> str:
    try:
        return decoded(read_bytes(file, LARGEST_YAML))
    except DataError as error:
        raise PlanError(f"cannot read the plan: {error}") from error
    except InvalidDocument as error:
        raise PlanError(f"{file}: {error}") from error


def expand_plan(plan: Plan, mirror: str, generation: str | None = None) -> Expansion:
    """Expands a plan over the data of a mirror. generation: new steps for `reuse: none`."""
    own = plan.mirror in ("hub", mirror) or str(resolved(plan.mirror)) == mirror
    source = open_mirror(mirror, "the plan's key mirror:" if own else "--mirror")
    log.info("mirror %s", source.address)
    expansion = expand(plan, source, numeric_environment(), generation=generation)
    log.info("%d cells, %d steps", len(expansion.cells), len(expansion.steps))
    return expansion
