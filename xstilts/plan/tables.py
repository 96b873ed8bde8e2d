"""What the plan layer reads from the rest: tasks, recipes, languages and sources. Tests use
small ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xstilts.tasks.task import Source, Task


@dataclass(frozen=True)
class Tables:
    """tasks: name → Task.  recipe(set, task, family, mode) → keys of one recipe; raises
    PlanError when there is none. invented: codes of the miniature's languages, which any
    evaluation may have. identity(mirror, source, language) → JSON that names the exact bytes.
    missing(mirror, source, language) → why the mirror lacks them, or None.  model(mirror, name)
    → the commit at which a mirror holds a model of the hub, or None.
    """

    tasks: Mapping[str, Task]
    recipe: Callable[[str, str, str, str], Mapping[str, Any]]
    invented: tuple[str, ...]
    identity: Callable[[Any, Source, str], Mapping[str, Any]]
    missing: Callable[[Any, Source, str], str | None]
    model: Callable[[Any, str], str | None] = lambda mirror, name: None

    @classmethod
    def shipped(cls) -> "Tables":
        """The tables of this package."""
        from xstilts.sources.mirrors import model_revision
        from xstilts.sources.source_files import identity, missing_reason
        from xstilts.tasks.languages import INVENTED
        from xstilts.tasks.recipes import recipe
        from xstilts.tasks.registry import TASKS

        return cls(TASKS, recipe, tuple(INVENTED), identity, missing_reason, model_revision)
