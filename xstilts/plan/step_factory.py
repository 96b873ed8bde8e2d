"""Makes the training and score steps of a plan. Requests for the same content return the same
step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xstilts.plan.arm_plan import Arm
from xstilts.plan.backbone_steps import BackboneSteps
from xstilts.plan.planned_steps import PlannedSteps
from xstilts.plan.row_steps import ENGLISH, RowSteps
from xstilts.plan.schema import Plan
from xstilts.plan.split_sources import Sources
from xstilts.plan.tables import Tables
from xstilts.step import training_role
from xstilts.tasks.task import Task

#: End of the reason if all tasks of an arm are left out.
NOTHING_LEFT = "; the arm has no task left"
#: Layer that retrieval reads sentence vectors from, as a fraction of all layers: the output of
#: block 14 of 24, as Phang et al. and XTREME do for XLM-R large.
RETRIEVAL_DEPTH = 0.583333


@dataclass(frozen=True)
class AfterTarget:
    """A model that continues an intermediate. target: what it was trained on. seed: the target
    seed. model: its finetune step.
    """

    target: str
    seed: int
    model: str


class Steps:
    """The training and score steps of one plan, over those that they need.

    Attributes:
        planned: All steps.
        rows: Makes records steps.
        backbones: Makes build and encode steps.
        without: (backbone, arm) → tasks left out because of their license.
        intermediates: Scores of arms on English dev rows of their own tasks.
    """

    def __init__(
        self, plan: Plan, tables: Tables, sources: Sources, stamp: Mapping[str, Any]
    ) -> None:
        """stamp: as in PlannedSteps."""
        self.planned = PlannedSteps(plan, tables, sources, stamp)
        self.rows = RowSteps(self.planned)
        self.backbones = BackboneSteps(self.planned, self.rows)
        self.plan, self.tables, self.recipes = plan, tables, self.planned.recipes
        self.without: dict[tuple[str, str], str] = {}
        self.intermediates: list[dict[str, Any]] = []

    def intermediate(self, name: str, arm_name: str, arm: Arm, seed: int) -> str | None:
        """The finetune step of an arm, or None if data is missing.

        The spec does not contain the arm's name: arms with equal content share the step.
        """
        backbone = self.plan.backbones[name]
        refused = [reason for part in arm.parts if (reason := self.rows.unlicensed(part.task))]
        parts = [part for part in arm.parts if not self.rows.unlicensed(part.task)]
        if refused:
            self.without[name, arm_name] = "; ".join(refused) + ("" if parts else NOTHING_LEFT)
        if not parts:
            return None
        if refused:  # the remaining tasks share the budget
            arm = arm.model_copy(update={"mixture": tuple(parts)})
        caps = self.recipes.arm_caps(arm, backbone)
        tasks, parents, whole = [], self.backbones.made_by(name), True
        recipe = self.recipes.arm_training(arm, backbone)
        for part, cap in zip(parts, caps, strict=True):
            objective = self.recipes.objective(part.task, part.objective)
            roles = self._training_rows(
                name, part.task, objective, cap, arm, recipe, part.translated
            )
            whole = whole and roles is not None
            parents.update(roles or {})
            tasks.append(self._task(part.task, objective, part.weight or 1.0, part.translated))
        sampling = None
        if arm.mixture:
            sampling = {
                "kind": arm.sampling or "proportional",
                "temperature": arm.temperature,
                "cap": arm.cap,
            }
        spec = {
            **self.backbones.model(name),
            "stage": "intermediate",
            "name": "+".join(part.task for part in parts),
            "tasks": tasks,
            "sampling": sampling,
            "recipe": recipe,
            "seed": {"kind": "intermediate", "value": seed},
        }
        label = f"{name}: intermediate {arm_name}, seed {seed}"
        return self.planned.add("finetune", label, spec, parents) if whole else None

    def target(self, name: str, target: str, init: str | None, seed: int, path: str) -> str | None:
        """The finetune step of a target, or None if data is missing.

        Args:
            name: Name of the backbone.
            target: The task to train.
            init: Finetune step to continue. None: start from the backbone.
            seed: The target seed.
            path: The training path, for the label.
        """
        backbone = self.plan.backbones[name]
        recipe = self.recipes.training(target, backbone)
        roles = self._training_rows(
            name, target, "head", self.recipes.train_cap(target, backbone), Arm(), recipe
        )
        if roles is None:
            return None
        parents = {**self.backbones.made_by(name), **({"init": init} if init else {}), **roles}
        spec = {
            **self.backbones.model(name),
            "stage": "target",
            "name": target,
            "tasks": [self._task(target, "head", 1.0)],
            "sampling": None,
            "recipe": recipe,
            "seed": {"kind": "target", "value": seed},
        }
        return self.planned.add(
            "finetune", f"{name}: {path} → {target}, seed {seed}", spec, parents
        )

    def _task(
        self, name: str, objective: str, weight: float, translated: tuple[str, ...] | None = None
    ) -> dict[str, Any]:
        task = self.tables.tasks[name]
        return {
            **({"translated": list(translated)} if translated else {}),
            "name": name,
            "format": task.format,
            "objective": objective,
            "classes": len(task.labels),
            "weight": weight,
        }

    def _training_rows(
        self,
        name: str,
        task_name: str,
        objective: str,
        cap: int | None,
        arm: Arm,
        recipe: Mapping[str, Any],
        translated: tuple[str, ...] | None = None,
    ) -> dict[str, str] | None:
        """Roles and encode steps of a task's training rows, or None if rows are missing.

        The roles are train:<task> and, if the recipe selects on English dev, select:<task>.

        Args:
            name: Name of the backbone.
            task_name: Name of the task.
            objective: head or lm.
            cap: Maximum number of training rows. None: all.
            arm: The arm with labels and image condition.
            recipe: The recipe of the finetune step.
            translated: Languages to train on in place of English.
        """
        backbone, task = self.plan.backbones[name], self.tables.tasks[task_name]
        images = arm.images if task.modality == "image" else "real"
        languages = "+".join(translated) if translated else ENGLISH
        role = training_role(task_name, translated)
        wanted = [("train", cap, arm.labels, languages)]
        if self.recipes.selects(recipe):
            wanted.append(("select", self.recipes.cap(task_name, "select"), "true", ENGLISH))
        roles = {}
        for split, rows, kind, language in wanted:
            records = self.rows.need(task, split, language, rows, kind, images)
            if records is None:
                return None
            lengths = self.recipes.lengths(task_name, backbone, objective)
            roles[f"{split}:{role}"] = self.backbones.encode(
                name, task, split, language, objective, lengths, records
            )
        return roles

    def score(
        self,
        name: str,
        task: Task,
        gold: Mapping[str, str],
        tests: Mapping[str, str],
        model: str | None,
        path: str,
        pool: str | None = None,
    ) -> str:
        """The score step of an evaluation in all of its languages.

        Args:
            name: Name of the backbone.
            task: The evaluation.
            gold: language → records step.
            tests: language → encode step.
            model: Finetune step of the model. None: the raw backbone.
            path: The training path and target, for the label.
            pool: Encode step of the candidates of a ranking.
        """
        parents = (
            self.backbones.made_by(name)
            | ({"model": model} if model else {})
            | ({"pool": pool} if pool else {})
        )
        parents |= {f"test:{language}": fingerprint for language, fingerprint in tests.items()}
        parents |= {f"gold:{language}": fingerprint for language, fingerprint in gold.items()}
        spec = {
            "evaluation": task.name,
            "languages": list(tests),
            "format": task.format,
            "metrics": list(task.metrics),
            **self.backbones.model(name),
            "layer": RETRIEVAL_DEPTH if task.format in ("retrieval", "mining") else None,
            **self._answers(name, task, (task.trained_target or (task.name,))[-1]),
        }
        if task.format == "ranking" and task.trained_target:  # pooled as in training
            spec["pooling"] = self.recipes.full(task.trained_target[-1], self.plan.backbones[name])[
                "pooling"
            ]
        splits = {
            language: self.planned.made[fp].spec["source"]["split"] for language, fp in gold.items()
        }
        return self.planned.add(
            "score", f"{name}: {path} on {task.name}", spec, parents, splits=splits
        )

    def _answers(self, name: str, task: Task, read_as: str) -> dict[str, Any]:
        """The part of a score step's spec that only question answering has.

        read_as: the task whose recipe applies.
        """
        if task.format != "span":
            return {}
        return {"answer_limit": self.recipes.answer_limit(read_as, self.plan.backbones[name])}

    def score_intermediate(
        self,
        name: str,
        arm_name: str,
        arm: Arm,
        seed: int,
        model: str,
        after: AfterTarget | None = None,
    ) -> None:
        """Adds score steps of an arm's tasks on their English dev rows to `intermediates`.

        The arm answers as it was trained: with its heads, or in words. A task without dev rows or
        metrics is added with the reason. A model after a target answers with the heads of the
        intermediate.

        Args:
            name: Name of the backbone.
            arm_name: Name of the arm.
            arm: The arm.
            seed: The intermediate seed.
            model: Finetune step of the arm.
            after: What is scored in place of the arm: a model that continues it.
        """
        backbone = self.plan.backbones[name]
        for place, given in enumerate(self.planned.made[model].spec["tasks"]):
            task, objective = self.tables.tasks[given["name"]], given["objective"]
            # In a mixture, a task and its translations have a head each.
            translated = "+".join(given.get("translated", ()))
            entry = {
                "backbone": name,
                "arm": arm_name,
                "seed": seed,
                "task": task.name,
                "objective": objective,
                **({"translated": translated} if translated else {}),
                **({"target": after.target, "seed_target": after.seed} if after else {}),
            }
            images = arm.images if task.modality == "image" else "real"
            records = self.rows.records(
                task, "select", ENGLISH, self.recipes.cap(task.name, "select"), images=images
            )
            metrics = scored_by(task, objective)
            if records is None or not metrics:
                reason = (
                    self.rows.skipped.pop((task.name, ENGLISH))
                    if records is None
                    else "no metric is defined for it"
                )
                if after is None:  # once per arm
                    self.intermediates.append({**entry, "score": None, "reason": reason})
                continue
            lengths = self.recipes.lengths(task.name, backbone, objective)
            rows = self.backbones.encode(
                name,
                task,
                "select",
                ENGLISH,
                objective if objective == "lm" else "eval",
                lengths,
                records,
            )
            parents = self.backbones.made_by(name) | {"test:en": rows, "gold:en": records}
            parents |= {"model": after.model, "heads": model} if after else {"model": model}
            spec = {
                "evaluation": task.name,
                "languages": [ENGLISH],
                "format": "words" if objective == "lm" else task.format,
                "metrics": list(metrics),
                "head": place,
                **self.backbones.model(name),
                "layer": None,
                **(self._answers(name, task, task.name) if objective != "lm" else {}),
            }
            split = self.planned.made[records].spec["source"]["split"]
            path = f" → {after.target} ({after.seed})" if after else ""
            label = f"{name}: {arm_name} ({seed}){path} on its own {task.name}"
            label += f" ({translated})" if translated else ""
            score = self.planned.add("score", label, spec, parents, splits={ENGLISH: split})
            self.intermediates.append(
                {**entry, "score": score, "split": split, "metrics": list(metrics)}
            )


def scored_by(task: Task, objective: str) -> tuple[str, ...]:
    """The metrics of an intermediate task on its English dev rows.

    Answers in words are compared by exact match, unless the task's own metrics compare words.
    """
    return (
        ("squad_em",)
        if objective == "lm" and task.format not in ("generation", "span")
        else task.metrics
    )
