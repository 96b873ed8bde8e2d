"""Which recipe each finetune step uses: the table's, with the plan's overrides, row caps and
budget applied.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from xstilts.errors import PlanError
from xstilts.models.families import contract
from xstilts.plan.schema import Arm, BackbonePlan, Plan
from xstilts.plan.tables import Tables
from xstilts.step import canonical_json

#: Recipe keys of a picture's size, which an encode step of rows with pictures holds.
_IMAGE_BUDGET = ("image_tokens", "min_pixels", "max_pixels")
#: Recipe keys that other places of a spec hold: encode's lengths and image budget, the records'
#: cap, the tuning; and the citation. So is answer_limit, the score step's, unless the recipe
#: selects on English dev and so predicts while it trains.
_ELSEWHERE = (
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
    """What an arm's intermediate training is planned to cost on one backbone. examples: distinct
    rows (None: all). updates: None when they follow from epochs and the rows, which are counted
    when the data is staged.
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
        """In what two arms over the named tasks differ, in words. All rows of different tasks
        are different.
        """
        found = []
        if self.objective != other.objective:
            found.append(
                f"objective ({'+'.join(self.objective)} against {'+'.join(other.objective)})"
            )
        if self.examples != other.examples or (self.examples is None and tasks != others):
            found.append(f"examples ({_rows(self, tasks)} against {_rows(other, others)})")
        if self.supervised_tokens is not None and self.supervised_tokens == other.supervised_tokens:
            pass  # matched by tokens: the numbers of updates follow and differ
        elif (self.updates, self.epochs) != (other.updates, other.epochs):
            found.append(f"updates ({_updates(self)} against {_updates(other)})")
        elif self.updates is None and found and "examples" in found[-1]:
            found.append(f"updates ({_updates(self)} of each)")
        if self.examples_per_step != other.examples_per_step:
            found.append(
                f"examples_per_step ({self.examples_per_step} against {other.examples_per_step})"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "objective": list(self.objective)}


def _rows(spend: Spend, tasks: tuple[str, ...]) -> str:
    return str(spend.examples) if spend.examples is not None else f"all of {'+'.join(tasks)}"


def _updates(spend: Spend) -> str:
    if spend.supervised_tokens is not None:
        return f"{spend.supervised_tokens} supervised tokens"
    return str(spend.updates) if spend.updates is not None else f"{spend.epochs:g} epochs"


class Recipes:
    """Recipes of one plan. Every method raises PlanError when the table has no recipe."""

    def __init__(self, plan: Plan, tables: Tables) -> None:
        self.plan, self.tables = plan, tables
        self._full: dict[tuple[str, str, str, str], Mapping[str, Any]] = {}

    def full(self, task: str, backbone: BackbonePlan) -> Mapping[str, Any]:
        """Every key of a task's recipe, overrides applied."""
        given, of = self._override(task, backbone), contract(backbone.family)
        key = (task, of.family, backbone.tuning.mode, canonical_json(given))
        if key not in self._full:
            mode = backbone.tuning.mode
            recipe = dict(self.tables.recipe(self.plan.recipes, task, of.recipe_family, mode))
            if of.vision and self.plan.recipes != "miniature":
                recipe.update(of.vision.budget)
            if "updates" in given:
                recipe.pop("epochs", None)
            if "epochs" in given:
                recipe.pop("updates", None)
            recipe.update(given)
            self._full[key] = recipe
        return self._full[key]

    def _override(self, task: str, backbone: BackbonePlan) -> dict[str, Any]:
        """What the plan sets for a task, and over it what it sets for the task on this backbone."""
        merged: dict[str, Any] = {}
        for override in (self.plan.override.get(task), (backbone.override or {}).get(task)):
            given = override.model_dump(exclude_none=True) if override else {}
            for key, excluded in (("updates", "epochs"), ("epochs", "updates")):
                if key in given:
                    merged.pop(excluded, None)
            merged.update(given)
        return merged

    def training(self, task: str, backbone: BackbonePlan) -> dict[str, Any]:
        """What a finetune step on a target needs of the recipe."""
        recipe = self.full(task, backbone)
        elsewhere = _ELSEWHERE if self.selects(recipe) else (*_ELSEWHERE, "answer_limit")
        return {k: v for k, v in recipe.items() if k not in elsewhere and v is not None}

    def lengths(self, task: str, backbone: BackbonePlan, objective: str = "head") -> dict[str, Any]:
        """max_length, stride, question_length and, for `lm`, lm_length in tokens of text
        (pictures have image_budget); None where the format has no such thing.
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
        """image_tokens, min_pixels, max_pixels of one picture; None: the model folder's own
        setting.
        """
        recipe = self.full(task, backbone)
        return {key: recipe.get(key) for key in _IMAGE_BUDGET}

    def answer_limit(self, task: str, backbone: BackbonePlan) -> dict[str, int]:
        """The most tokens or characters of a predicted answer, as {"tokens": 30}; empty for no
        limit.
        """
        return dict(self.full(task, backbone).get("answer_limit") or {})

    def cap(self, task: str, split: str) -> int | None:
        """Most rows of a split for select, test and text, and the plan's cap for train."""
        own = self.plan.rows.tasks.get(task)
        given = getattr(own, split) if own else None
        return given if given is not None else getattr(self.plan.rows.default, split)

    def train_cap(self, task: str, backbone: BackbonePlan) -> int | None:
        """Most training rows of a target: the smaller of the plan's cap and the recipe's
        train_rows.
        """
        caps = [
            cap
            for cap in (self.cap(task, "train"), self.full(task, backbone).get("train_rows"))
            if cap is not None
        ]
        return min(caps) if caps else None

    def arm_caps(self, arm: Arm, backbone: BackbonePlan) -> dict[str, int | None]:
        """Most training rows of each task of an arm. budget.examples is shared out: by weight,
        else evenly.
        """
        parts = arm.parts
        examples = self.plan.budget.examples
        if examples is None:
            return {part.task: self.train_cap(part.task, backbone) for part in parts}
        weights = [part.weight or 1.0 for part in parts]
        exact = [examples * weight / sum(weights) for weight in weights]
        counts = [int(share) for share in exact]
        by_rest = sorted(range(len(parts)), key=lambda i: (counts[i] - exact[i], i))
        for index in by_rest[: examples - sum(counts)]:
            counts[index] += 1
        return {part.task: max(1, count) for part, count in zip(parts, counts, strict=True)}

    def arm_training(self, arm: Arm, backbone: BackbonePlan) -> dict[str, Any]:
        """What the finetune step of an arm needs: the recipe of its first task, with the plan's
        budget.
        """
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
            recipe["selection"] = (
                "last"  # several tasks have no one dev score; a given number of updates is spent whole
            )
        if budget.examples_per_step is not None:
            recipe["examples_per_step"] = budget.examples_per_step
        return recipe

    @staticmethod
    def selects(recipe: Mapping[str, Any]) -> bool:
        """Whether a recipe chooses the weights on English dev."""
        return recipe.get("selection") not in (None, "last")

    def objective(self, task: str, given: str | None) -> str:
        """The objective of an arm's task: the plan's, else the first that the task has."""
        return given or self.tables.tasks[task].objectives[0]

    def spend(self, arm: Arm, backbone: BackbonePlan) -> Spend:
        """The planned cost of an arm's intermediate training."""
        caps = list(self.arm_caps(arm, backbone).values())
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
        """backbone → (r, alpha) of its adapters: the plan's, else those of the recipe of the
        first target trained. One shape for all roads of a backbone, since the target continues
        the intermediate's adapter.
        """
        found = {}
        for name, backbone in self.plan.backbones.items():
            if backbone.tuning.mode != "lora":
                continue
            lora: Mapping[str, Any] = {}
            if backbone.tuning.r is None or backbone.tuning.alpha is None:
                lora = self._shipped_lora(backbone)
            r = backbone.tuning.r or lora["r"]
            found[name] = (
                int(r),
                float(backbone.tuning.alpha or (lora["alpha"] if not backbone.tuning.r else 2 * r)),
            )
        return found

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
            "no recipe names the adapters' size: give tuning: {mode: lora, r: 16, alpha: 32}"
        )
