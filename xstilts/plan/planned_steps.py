"""The steps of a plan so far, and what their specs have in common."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xstilts.plan.backbone_plan import BackbonePlan
from xstilts.plan.schema import Plan
from xstilts.plan.split_sources import Sources
from xstilts.plan.step_recipes import Recipes
from xstilts.plan.tables import Tables
from xstilts.step import Step


class PlannedSteps:
    """The steps of one plan so far. Equal content is the same step.

    Attributes:
        made: Fingerprint → Step, parents before children.
        settings: Of every step.
    """

    def __init__(
        self, plan: Plan, tables: Tables, sources: Sources, stamp: Mapping[str, Any]
    ) -> None:
        """stamp: further keys of every spec: environment (not for records), generation, or none."""
        self.plan, self.tables, self.sources = plan, tables, sources
        self.recipes = Recipes(plan, tables)
        self.settings = plan.resources.model_dump(
            mode="json", by_alias=True, exclude={"groups"}, exclude_none=True
        )
        self.settings["most_bad"] = plan.most_bad_rows
        if any(self.mirrored(backbone) for backbone in plan.backbones.values()):
            # Where workers find them; the commit is what counts.
            self.settings["models"] = sources.mirror.address
        self.made: dict[str, Step] = {}
        self._common = dict(stamp)

    def mirrored(self, backbone: BackbonePlan) -> str | Path | None:
        """The commit at which the mirror has a backbone of the hub, its folder in the mirror if no
        commit is recorded, or None.
        """
        return self.tables.model(self.sources.mirror, backbone.hub) if backbone.hub else None

    def add(
        self,
        kind: str,
        label: str,
        spec: Mapping[str, Any],
        parents: Mapping[str, str],
        **more: Any,
    ) -> str:
        """Adds a step and returns its fingerprint. more: settings of this step only."""
        content = {**spec, **self._task_files(kind, spec), **self._stamp(kind)}
        step = Step(kind, content, parents, {"label": label, **self.settings, **more})
        fingerprint = step.fingerprint
        self.made.setdefault(fingerprint, step)
        return fingerprint

    def _task_files(self, kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        """task → SHA-256 of the private file that defines it, for the private tasks of a spec."""
        files = {
            name: self.tables.tasks[name].file_sha256
            for name in named_tasks(kind, spec)
            if self.tables.tasks[name].file_sha256
        }
        return {"task_files": files} if files else {}

    def _stamp(self, kind: str) -> dict[str, Any]:
        """The stamp of a kind. `limit` marks results: a model or a score of a limited run is never
        that of a full one, also where the limit leaves out no row.
        """
        stamp = {k: v for k, v in self._common.items() if kind != "records" or k != "environment"}
        if self.plan.limit is not None and kind in ("finetune", "score"):
            stamp["limit"] = self.plan.limit
        return stamp


def named_tasks(kind: str, spec: Mapping[str, Any]) -> list[str]:
    """The tasks whose definitions a step of this kind reads."""
    if kind == "finetune":
        return [part["name"] for part in spec["tasks"]]
    return [spec[key] for key in ("task", "evaluation") if key in spec]
