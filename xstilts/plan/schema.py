"""The schema of plan files. docs/plan.md explains each key.

Single values are validated here, and in the modules of a plan's parts: backbone_plan.py,
arm_plan.py, resources.py. checks.py has the checks of names and of several keys.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from xstilts.plan.arm_plan import Arm
from xstilts.plan.backbone_plan import BackbonePlan, Override
from xstilts.plan.part import Part
from xstilts.plan.resources import Resources
from xstilts.plan.value_types import Count, Name, Positive, Seed
from xstilts.tasks.private import private_tasks, sha256_of
from xstilts.tasks.task import Task


class TaskFile(Part):
    """A private task file: its Python text."""

    source: str

    @property
    def sha256(self) -> str:
        return sha256_of(self.source)


def _list_of_paths(value: Any) -> Any:
    if isinstance(value, Mapping):  # load_plan has read the files
        return value
    raise ValueError(f"invalid value {value!r}; must be a list of paths, as in [my_task.py]")


class EvaluationPlan(Part):
    """One evaluation.

    languages: None means those of the plan. arms: the arms that it scores besides `none`; None
    means all.
    """

    languages: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    arms: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    def scores(self, arm: str) -> bool:
        """Whether this evaluation scores an arm."""
        return self.arms is None or arm == "none" or arm in self.arms


class Caps(Part):
    """Maximum number of rows per split, taken after a seeded shuffle. None: all rows."""

    train: Count | None = None
    select: Count | None = None
    test: Count | None = None
    text: Count | None = None


class RowCaps(Part):
    """Row caps for all tasks, and for single tasks."""

    default: Caps = Caps()
    tasks: Mapping[str, Caps] = {}


class Budget(Part):
    """The budget of every intermediate training. None: the recipe's value.

    Attributes:
        examples: Number of distinct rows, split between the tasks of a mixture.
        supervised_tokens: Train until the loss has covered this number of tokens, in place of
            updates. For sensitivity analyses: a caption has a dozen such tokens, a label one.
    """

    examples: Count | None = None
    supervised_tokens: Count | None = None
    updates: Count | None = None
    examples_per_step: Count | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> "Budget":
        if self.updates is not None and self.supervised_tokens is not None:
            raise ValueError("has both updates and supervised_tokens; remove one")
        return self


class SplitChoice(Part):
    """A split of the task itself, or of another task."""

    split: str
    task: str | None = None


class SplitPlan(Part):
    """Replacements for the splits of a task."""

    train: SplitChoice | None = None
    select: SplitChoice | None = None
    test: SplitChoice | None = None


class Contrast(Part):
    """An arm compared with a reference arm, on each backbone or between two backbones.

    Attributes:
        backbone: The backbone of the arm, if `reference_backbone` is another one. None: each
            backbone is compared with itself.
        reference_backbone: The backbone of the reference arm.
        primary: Evaluations whose tests are corrected together with those of the other contrasts.
            None: the mean over evaluations (`pooled`).
    """

    arm: str
    reference: str = "none"
    backbone: str | None = None
    reference_backbone: str | None = None
    allow_unmatched: bool = False
    primary: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _two_backbones(self) -> "Contrast":
        if (self.backbone is None) != (self.reference_backbone is None):
            raise ValueError("backbone and reference_backbone need each other; set both or none")
        if self.backbone is not None and self.backbone == self.reference_backbone:
            raise ValueError(
                f"backbone and reference_backbone are both {self.backbone!r}; without them, each "
                "backbone is compared with itself"
            )
        return self


class Control(Part):
    """An arm and an evaluation whose effect is known in advance."""

    arm: str
    evaluation: str


class NegativeControl(Control):
    """A control without effect.

    margin: an interval within ±margin points counts as no effect.
    """

    margin: Positive = 1.0


class Controls(Part):
    """positive: an arm that must help; negative: an arm that must not. The report checks both."""

    positive: Control | None = None
    negative: NegativeControl | None = None


def _distinct(pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    if len(set(pairs)) != len(pairs):
        raise ValueError("duplicate pair of seeds; list each pair once")
    return pairs


class Regression(Part):
    """points: a loss above this, against another run, is a regression."""

    points: Annotated[float, Field(ge=0)] = 1.0


class ReportPlan(Part):
    """What the report adds. It changes no result.

    gpu_hour_price: price of a GPU hour, in any currency. regression: for `xstilts report
    --against`.
    """

    gpu_hour_price: Positive | None = None
    regression: Regression | None = None


class Plan(Part):
    """A whole plan.

    seeds: pairs (intermediate, target). languages: None means all languages of each evaluation.
    limit: at most this many rows of each split and updates of each training, for a smoke run.
    intermediate_scores: whether arms are scored on their own tasks; with `after_targets` again
    after each target.
    """

    # checks.py requires name, backbones and evaluations. Their defaults allow validation to
    # continue when they are missing or invalid.
    name: Name = ""
    title: str = ""
    mirror: str = "hub"
    # In a file: a list of paths, relative to the plan. load_plan puts the texts in their place.
    tasks: Annotated[Mapping[str, TaskFile], BeforeValidator(_list_of_paths)] = {}
    recipes: Literal["miniature", "xtreme_r", "phang_2020", "vlm"] = "xtreme_r"
    reuse: Literal["exact", "recipe", "none"] = "exact"
    backbones: Mapping[Name, BackbonePlan] = {}
    arms: Mapping[Name, Arm] = {}
    evaluations: Mapping[str, EvaluationPlan] = {}
    languages: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    seeds: Annotated[
        tuple[tuple[Seed, Seed], ...], Field(min_length=1), AfterValidator(_distinct)
    ] = ((0, 0),)
    rows: RowCaps = RowCaps()
    budget: Budget = Budget()
    override: Mapping[str, Override] = {}
    contrasts: Mapping[str, Contrast] = {}
    headline: str | None = None
    controls: Controls = Controls()
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    intermediate_scores: Literal[False, True, "after_targets"] = False
    most_bad_rows: Annotated[float, Field(ge=0, lt=1)] = 0.05
    splits: Mapping[str, SplitPlan] = {}
    limit: Count | None = None
    report: ReportPlan | None = None  # None: left out of plans that do not have it
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _none_is_an_arm(self) -> "Plan":
        if "none" not in self.arms:
            object.__setattr__(self, "arms", {"none": Arm(), **self.arms})
        return self

    @property
    def task_files(self) -> dict[str, str]:
        """path → text of the private task files."""
        return {path: file.source for path, file in self.tasks.items()}

    @property
    def private_tasks(self) -> dict[str, Task]:
        """The tasks that the private task files define, by name. Executes the files."""
        return private_tasks(self.task_files)

    def to_json(self) -> dict[str, Any]:
        """The normalized plan as JSON. Inverse: `Plan.model_validate`."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
