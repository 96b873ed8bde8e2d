"""The recipe of each finetune step: the table's, with the plan's overrides, caps and budget."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from xstilts.errors import PlanError
from xstilts.models.families import contract
from xstilts.plan.arm_plan import Arm
from xstilts.plan.backbone_plan import BackbonePlan
from xstilts.plan.schema import Plan
from xstilts.plan.tables import Tables
from xstilts.step import canonical_json

#: Recipe keys for the size of an image. They belong to the encode steps of rows with images.
_IMAGE_BUDGET = ("image_tokens", "min_pixels", "max_pixels")
#: Recipe keys that are not part of a finetune step's recipe: lengths and image budget (encode
#: steps), train_rows (records steps), lora (tuning) and the citation. answer_limit belongs to score
#: steps, unless the recipe selects on English dev and therefore predicts during training.
_NOT_IN_FINETUNE = (
    "max_length",
    "lm_length",
    "stride",
    "question_length",
    *_IMAGE_BUDGET,
    "train_rows",
    "lora",
    "source",
)


@dataclass(frozen=True)
class Spend:
    """The planned amount of an arm's intermediate training on one backbone.

    examples: distinct rows (None: all). updates: None if they follow from the epochs and the rows,
    which are counted when the data is staged.
    """

    objective: tuple[str, ...]
    examples: int | None
    updates: int | None
    epochs: float | None
    examples_per_step: int
    supervised_tokens: int | None = None

    def differences(
        self, other: "Spend", tasks: tuple[str, ...], others: tuple[str, ...]
    ) -> list[str]:
        """How two arms differ, in words.

        tasks, others: the tasks of this arm and of the other one. All rows of one task are never
        as many as all rows of another.
        """
        differences = []
        if self.objective != other.objective:
            differences.append(
                f"objective ({'+'.join(self.objective)} against {'+'.join(other.objective)})"
            )
        if self.examples != other.examples or (self.examples is None and tasks != others):
            differences.append(f"examples ({_rows(self, tasks)} against {_rows(other, others)})")
        if self.supervised_tokens is not None and self.supervised_tokens == other.supervised_tokens:
            pass  # matched by tokens: numbers of updates follow from them and may differ
        elif (self.updates, self.epochs) != (other.updates, other.epochs):
            differences.append(f"updates ({_updates(self)} against {_updates(other)})")
        elif self.updates is None and differences and "examples" in differences[-1]:
            differences.append(f"updates ({_updates(self)} of each)")
        if self.examples_per_step != other.examples_per_step:
            differences.append(
                f"examples_per_step ({self.examples_per_step} against {other.examples_per_step})"
            )
        return differences

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "objective": list(self.objective)}


def _rows(spend: Spend, tasks: tuple[str, ...]) -> str:
    return str(spend.examples) if spend.examples is not None else f"all of {'+'.join(tasks)}"


def _updates(spend: Spend) -> str:
    if spend.supervised_tokens is not None:
        return f"{spend.supervised_tokens} supervised tokens"
    return str(spend.updates) if spend.updates is not None else f"{spend.epochs:g} epochs"


def _least(*caps: int | None) -> int | None:
    """The smallest cap; None: no cap."""
    return min((cap for cap in caps if cap is not None), default=None)


class Recipes:
    """The recipes of one plan. Methods raise PlanError if the table has no recipe."""

    def __init__(self, plan: Plan, tables: Tables) -> None:
        self.plan, self.tables = plan, tables
        self._full: dict[tuple[str, str, str, str], Mapping[str, Any]] = {}

    def full(self, task: str, backbone: BackbonePlan) -> Mapping[str, Any]:
        """All keys of a task's recipe, with overrides applied."""
        override, family = self._override(task, backbone), contract(backbone.family)
        mode = backbone.tuning.mode
        key = (task, family.family, mode, canonical_json(override))
        if key not in self._full:
            recipe = dict(self.tables.recipe(self.plan.recipes, task, family.recipe_family, mode))
            if family.vision and self.plan.recipes != "miniature":
                recipe.update(family.vision.budget)
            if "updates" in override:
                recipe.pop("epochs", None)
            if "epochs" in override:
                recipe.pop("updates", None)
            recipe.update(override)
            self._full[key] = recipe
        return self._full[key]

    def _override(self, task: str, backbone: BackbonePlan) -> dict[str, Any]:
        """The plan's override of a task, updated by the backbone's own override of it."""
        merged: dict[str, Any] = {}
        for override in (self.plan.override.get(task), (backbone.override or {}).get(task)):
            values = override.model_dump(exclude_none=True) if override else {}
            for key, excluded in (("updates", "epochs"), ("epochs", "updates")):
                if key in values:
                    merged.pop(excluded, None)
            merged.update(values)
        return merged

    def training(self, task: str, backbone: BackbonePlan) -> dict[str, Any]:
        """The recipe keys of a finetune step on a target."""
        recipe = self.full(task, backbone)
        excluded = _NOT_IN_FINETUNE if self.selects(recipe) else (*_NOT_IN_FINETUNE, "answer_limit")
        return self._limited(
            {k: v for k, v in recipe.items() if k not in excluded and v is not None}
        )

    def lengths(self, task: str, backbone: BackbonePlan, objective: str = "head") -> dict[str, Any]:
        """max_length, stride, question_length and, for `lm`, lm_length, in tokens of text.

        None if the format does not use the key. Images are limited by image_budget.
        """
        recipe = self.full(task, backbone)
        keys = (
            "max_length",
            "stride",
            "question_length",
            *(("lm_length",) if objective == "lm" else ()),
        )
        return {key: recipe.get(key) for key in keys}

    def image_budget(self, task: str, backbone: BackbonePlan) -> dict[str, Any]:
        """image_tokens, min_pixels and max_pixels per image. None: the setting of the model."""
        recipe = self.full(task, backbone)
        return {key: recipe.get(key) for key in _IMAGE_BUDGET}

    def answer_limit(self, task: str, backbone: BackbonePlan) -> dict[str, int]:
        """Maximum length of a predicted answer, such as {"tokens": 30}. Empty: no limit."""
        return dict(self.full(task, backbone).get("answer_limit") or {})

    def cap(self, task: str, split: str) -> int | None:
        """The plan's row cap of a split. None: all rows. `limit` leaves `text` as it is: backbones
        are built from it.
        """
        task_caps = self.plan.rows.tasks.get(task)
        cap = getattr(task_caps, split) if task_caps else None
        cap = cap if cap is not None else getattr(self.plan.rows.default, split)
        return cap if split == "text" else _least(cap, self.plan.limit)

    def train_cap(self, task: str, backbone: BackbonePlan) -> int | None:
        """Maximum training rows of a target: the plan's cap or the recipe's train_rows."""
        return _least(self.cap(task, "train"), self.full(task, backbone).get("train_rows"))

    def arm_caps(self, arm: Arm, backbone: BackbonePlan) -> list[int | None]:
        """Maximum training rows of each of the arm's parts, in order.

        budget.examples is split by weight, or evenly without weights.
        """
        parts = arm.parts
        examples = self.plan.budget.examples
        if examples is not None:
            examples = _least(examples, self.plan.limit)
        if examples is None:
            return [self.train_cap(part.task, backbone) for part in parts]
        weights = [part.weight or 1.0 for part in parts]
        exact = [examples * weight / sum(weights) for weight in weights]
        counts = [int(share) for share in exact]
        by_rest = sorted(range(len(parts)), key=lambda i: (counts[i] - exact[i], i))
        for index in by_rest[: examples - sum(counts)]:
            counts[index] += 1
        return [max(1, count) for count in counts]

    def arm_training(self, arm: Arm, backbone: BackbonePlan) -> dict[str, Any]:
        """The recipe of an arm's finetune step: that of its first task, with the plan's budget."""
        recipe = self.training(arm.parts[0].task, backbone)
        budget = self.plan.budget
        if budget.updates is not None:
            recipe.pop("epochs", None)
            recipe["updates"] = budget.updates
        if budget.supervised_tokens is not None:
            recipe.pop("epochs", None)
            recipe.pop("updates", None)
            recipe["supervised_tokens"] = budget.supervised_tokens
        if arm.mixture or budget.updates is not None or budget.supervised_tokens is not None:
            # A mixture has no single dev score, and a fixed budget is spent completely.
            recipe["selection"] = "last"
        if budget.examples_per_step is not None:
            recipe["examples_per_step"] = budget.examples_per_step
        return self._limited(recipe)

    def _limited(self, recipe: dict[str, Any]) -> dict[str, Any]:
        """A recipe with at most `limit` updates."""
        limit = self.plan.limit
        if limit is None:
            return recipe
        updates = min(recipe.get("updates") or limit, limit)
        spent = ("epochs", "updates", "supervised_tokens")
        return {**{k: v for k, v in recipe.items() if k not in spent}, "updates": updates}

    @staticmethod
    def selects(recipe: Mapping[str, Any]) -> bool:
        """Whether a recipe selects weights on English dev."""
        return recipe.get("selection") not in (None, "last")

    def objective(self, task: str, chosen: str | None) -> str:
        """The objective of an arm's task: the plan's choice, or the first that the task allows."""
        return chosen or self.tables.tasks[task].objectives[0]

    def spend(self, arm: Arm, backbone: BackbonePlan) -> Spend:
        """The planned amount of an arm's intermediate training."""
        caps = self.arm_caps(arm, backbone)
        recipe = self.arm_training(arm, backbone)
        return Spend(
            objective=tuple(
                sorted({self.objective(part.task, part.objective) for part in arm.parts})
            ),
            examples=None if None in caps else sum(cap or 0 for cap in caps),
            updates=recipe.get("updates"),
            epochs=None if recipe.get("updates") is not None else recipe.get("epochs"),
            supervised_tokens=recipe.get("supervised_tokens"),
            examples_per_step=recipe["examples_per_step"],
        )

    @cached_property
    def adapters(self) -> Mapping[str, tuple[int, float]]:
        """backbone → (r, alpha) of its adapters: the plan's, or the first recipe's with lora.

        All training paths of a backbone share one shape, since a target continues the adapter of
        its intermediate.
        """
        shapes = {}
        for name, backbone in self.plan.backbones.items():
            if backbone.tuning.mode != "lora":
                continue
            lora: Mapping[str, Any] = {}
            if backbone.tuning.r is None or backbone.tuning.alpha is None:
                lora = self._shipped_lora(backbone)
            r = backbone.tuning.r or lora["r"]
            alpha = backbone.tuning.alpha or (lora["alpha"] if not backbone.tuning.r else 2 * r)
            shapes[name] = (int(r), float(alpha))
        return shapes

    def _shipped_lora(self, backbone: BackbonePlan) -> Mapping[str, Any]:
        names = [part.task for arm in self.plan.arms.values() for part in arm.parts]
        targets = [
            t for e in self.plan.evaluations for t in self.tables.tasks[e].trained_target or ()
        ]
        for task in sorted({*targets}) + sorted({*names}):
            lora = self.full(task, backbone).get("lora")
            if lora:
                return lora
        raise PlanError(
            "no recipe has an adapter size; set it: tuning: {mode: lora, r: 16, alpha: 32}"
        )
