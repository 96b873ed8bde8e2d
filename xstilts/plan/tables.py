"""The tables that plans are checked and expanded with: tasks, recipes, languages, sources.

They are injected, so that tests can use small ones.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xstilts.tasks.task import Source, Task


@dataclass(frozen=True)
class Tables:
    """Tables and look-ups.

    Attributes:
        tasks: Name → Task.
        recipe: (set, task, family, mode) → keys of a recipe. Raises PlanError if there is none.
        invented: Codes of the miniature's languages, which any evaluation can have.
        identity: (mirror, source, language) → JSON that identifies the exact bytes.
        missing: (mirror, source, language) → why the mirror lacks the rows, or None.
        model: (mirror, name) → commit at which the mirror has a model of the hub, its folder in
            the mirror if no commit is recorded, or None.
        offline: Whether identities stay unresolved: nothing is looked up in a mirror, on the hub
            or in a model folder.
    """

    tasks: Mapping[str, Task]
    recipe: Callable[[str, str, str, str], Mapping[str, Any]]
    invented: tuple[str, ...]
    identity: Callable[[Any, Source, str], Mapping[str, Any]]
    missing: Callable[[Any, Source, str], str | None]
    model: Callable[[Any, str], str | Path | None] = lambda mirror, name: None
    offline: bool = False

    @classmethod
    def shipped(cls) -> "Tables":
        """The tables of this package."""
        from xstilts.sources.mirrors import added_model, model_revision
        from xstilts.sources.source_files import identity, missing_reason
        from xstilts.tasks.languages import INVENTED
        from xstilts.tasks.recipes import recipe
        from xstilts.tasks.registry import TASKS

        def model(mirror: Any, name: str) -> str | Path | None:
            return model_revision(mirror, name) or added_model(mirror, name)

        return cls(TASKS, recipe, tuple(INVENTED), identity, missing_reason, model)

    @classmethod
    def unresolved(cls, invented: Collection[str] = ()) -> "Tables":
        """The shipped tables over data and models that are not looked up: every split exists, and
        identities say `unresolved`.

        invented: the invented languages that the plan names; the others have no rows.
        """

        def missing(mirror: Any, source: Source, language: str) -> str | None:
            known = language not in shipped.invented or language in invented
            return None if known else f"{language} is an invented language"

        shipped = cls.shipped()
        return replace(
            shipped,
            identity=lambda mirror, source, language: {"unresolved": True},
            missing=missing,
            model=lambda mirror, name: None,
            offline=True,
        )

    def with_tasks(self, private: Mapping[str, Task]) -> "Tables":
        """These tables and the tasks of a plan's own task files."""
        if not private:
            return self
        from xstilts.tasks.recipes import recipe_of

        def recipe(name: str, task: str, family: str, mode: str) -> Mapping[str, Any]:
            if task in private:
                return recipe_of(private[task], name, family, mode)
            return self.recipe(name, task, family, mode)

        return replace(self, tasks={**self.tasks, **private}, recipe=recipe)
