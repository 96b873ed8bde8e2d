"""The schema of plan files. docs/plan.md explains each key.

Validation of single values is here; checks of names and of several keys are in checks.py.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from xstilts.models.families import FAMILIES, OLDER_NAMES, contract
from xstilts.plan.part import Part
from xstilts.plan.placement import Cluster, cluster_problems
from xstilts.plan.plan_errors import not_one_of
from xstilts.tasks.private import private_tasks, sha256_of
from xstilts.tasks.task import Task


def _family(value: str) -> str:
    name = OLDER_NAMES.get(value, value)
    if name not in FAMILIES:
        raise ValueError(not_one_of(value, FAMILIES))
    return name


Family = Annotated[str, AfterValidator(_family)]
Mode = Literal["full", "lora"]
#: Names are used in S3 keys and in ids that pass between components.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: Most worker groups of a backbone.
MOST_GROUPS = 32
Fraction = Annotated[float, Field(ge=0, lt=1)]


def _selection(value: Any) -> Any:
    if value in (None, "last") or (
        isinstance(value, int) and not isinstance(value, bool) and value >= 1
    ):
        return value
    raise ValueError(
        f"invalid selection {value!r}; allowed: last, or the evaluation interval in updates (a "
        "number of at least 1)"
    )


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


class Tokenizer(Part):
    """The tokenizer of a built backbone: the tasks with its training text, and its size."""

    from_: tuple[str, ...] = Field(("miniature_text",), alias="from", min_length=1)
    vocab_size: Annotated[int, Field(ge=300)] = 4096
    byte_fallback: Literal[True] = True


class Build(Part):
    """A tiny backbone built from a seed.

    text: tasks for pre-training (default: those of the tokenizer).
    """

    family: Family
    seed: Seed = 0
    tokenizer: Tokenizer = Field(default_factory=lambda: Tokenizer.model_validate({}))
    text: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    languages: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    pretrain: Mapping[str, Any] = {}


class Tuning(Part):
    """What is trained: all weights of the language model, or adapters of rank r.

    r and alpha: None means the recipe's value.
    """

    mode: Mode = "full"
    r: Count | None = None
    alpha: Positive | None = None

    @model_validator(mode="after")
    def _adapter(self) -> "Tuning":
        if self.mode == "full" and (self.r is not None or self.alpha is not None):
            raise ValueError("r and alpha need mode: lora; set it, or remove them")
        return self


class AnswerLength(Part):
    """Maximum length of a predicted answer. Characters do not depend on the tokenizer."""

    tokens: Count | None = None
    characters: Count | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> "AnswerLength":
        if (self.tokens is None) == (self.characters is None):
            raise ValueError("needs exactly one of: tokens, characters")
        return self


class Override(Part):
    """Recipe keys that a plan can set for a task. epochs and updates are mutually exclusive."""

    lr: Positive | None = None
    epochs: Positive | None = None
    updates: Count | None = None
    examples_per_step: Count | None = None
    warmup: Annotated[float, Field(ge=0)] | None = None
    schedule: Literal["linear", "cosine", "constant"] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    max_grad_norm: Positive | None = None
    max_length: Annotated[int, Field(ge=8)] | None = None
    lm_length: Annotated[int, Field(ge=8)] | None = None
    stride: Count | None = None
    question_length: Count | None = None
    answer_limit: AnswerLength | None = None
    image_tokens: Count | None = None
    min_pixels: Count | None = None
    max_pixels: Count | None = None
    dropout: Fraction | None = None
    adapter_dropout: Fraction | None = None
    pooling: Literal["pooled", "mean", "pooled+mean"] | None = None
    selection: Annotated[Any, AfterValidator(_selection)] = None
    head_lr_factor: Positive | None = None
    temperature: Positive | None = None
    train_rows: Count | None = None

    @model_validator(mode="after")
    def _one_duration(self) -> "Override":
        if self.epochs is not None and self.updates is not None:
            raise ValueError("has both epochs and updates; remove one")
        return self


class BackbonePlan(Part):
    """One backbone: exactly one of build, hub and path.

    dtype: the precision of computation. override: recipe keys for this backbone only; they take
    precedence over the plan's override.
    """

    build: Build | None = None
    hub: str | None = None
    revision: str | None = None
    path: str | None = None
    family_: Family | None = Field(None, alias="family")
    tuning: Tuning = Tuning()
    attention: Literal["causal", "bidirectional"] | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    override: Mapping[str, Override] | None = None
    # Faster computation on a GPU. It rounds differently, so it is part of the fingerprint.
    compile: Literal["blocks"] | None = None
    kernels: Literal["liger"] | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> "BackbonePlan":
        given = [name for name in ("build", "hub", "path") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of: build, hub, path; it has {', '.join(given) or 'none'}"
            )
        if self.build is None and self.family_ is None:
            raise ValueError(
                f"family is required beside {given[0]}; allowed: {', '.join(FAMILIES)}"
            )
        if self.build is not None and self.family_ not in (None, self.build.family):
            raise ValueError(
                f"family {self.family_!r} contradicts build.family {self.build.family!r}; remove it"
            )
        if self.hub is None and self.revision is not None:
            raise ValueError("revision needs hub; set hub, or remove revision")
        if self.attention is not None and not contract(self.family).causal:
            causal = ", ".join(name for name, entry in FAMILIES.items() if entry.causal)
            raise ValueError(f"attention is for {causal}; {self.family} is bidirectional already")
        if self.kernels is not None and not contract(self.family).causal:
            causal = ", ".join(name for name, entry in FAMILIES.items() if entry.causal)
            raise ValueError(f"kernels: {self.kernels} is for {causal}; remove kernels")
        return self

    def faster(self) -> dict[str, str]:
        """The keys compile and kernels, where they are set."""
        chosen = {"compile": self.compile, "kernels": self.kernels}
        return {key: value for key, value in chosen.items() if value is not None}

    @property
    def family(self) -> str:
        family = self.build.family if self.build else self.family_
        assert family is not None  # _one_origin refused the rest
        return family


class MixtureTask(Part):
    """One task of a mixture.

    translated: languages to train on in place of English. The mirror has the machine translations
    under `translated/<task>/<code>`.
    """

    task: str
    objective: Literal["head", "lm"] | None = None
    weight: Positive | None = None
    translated: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None


class Arm(Part):
    """The intermediate training of an arm. Empty for the arm `none`.

    Attributes:
        images: The image condition.
        sampling: None means proportional.
        cap: With `sampling: temperature`, the maximum number of rows that a task counts for.
    """

    task: str | None = None
    objective: Literal["head", "lm"] | None = None
    labels: Literal["true", "shuffled"] = "true"
    images: Literal["real", "blank", "shuffled", "removed", "caption"] = "real"
    translated: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    mixture: Annotated[tuple[MixtureTask, ...], Field(min_length=2)] | None = None
    sampling: Literal["uniform", "proportional", "temperature", "probabilities"] | None = None
    temperature: Positive | None = None
    cap: Count | None = None

    @model_validator(mode="after")
    def _one_content(self) -> "Arm":
        if self.task is not None and self.mixture is not None:
            raise ValueError("has both task and mixture; remove one")
        if self.mixture is None and (self.sampling is not None or self.temperature is not None):
            raise ValueError("sampling and temperature need a mixture; remove them")
        if self.task is None and (
            self.objective is not None or self.labels != "true" or self.translated
        ):
            raise ValueError(
                "objective, labels and translated need a task; in a mixture, set objective and "
                "translated for each of its tasks"
            )
        if self.cap is not None and self.sampling != "temperature":
            raise ValueError("cap needs sampling: temperature; set it, or remove cap")
        if self.mixture is not None:
            if (self.sampling == "temperature") != (self.temperature is not None):
                raise ValueError(
                    "sampling: temperature needs the key temperature, and the other way round"
                )
            weights = [part.weight is not None for part in self.mixture]
            if self.sampling == "probabilities" and not all(weights):
                raise ValueError(
                    "sampling: probabilities needs a weight for every task of the mixture"
                )
            if self.sampling != "probabilities" and any(weights):
                raise ValueError(
                    "weight needs sampling: probabilities, but this mixture has "
                    f"{self.sampling or 'proportional'}; change sampling, or remove weight"
                )
            names = [(part.task, part.translated) for part in self.mixture]
            if len(set(names)) != len(names):
                raise ValueError(
                    "duplicate task in the mixture; list each task once per set of translations"
                )
        return self

    @property
    def parts(self) -> tuple[MixtureTask, ...]:
        """The tasks of the arm; empty for `none`."""
        if self.mixture is not None:
            return self.mixture
        if self.task is None:
            return ()
        return (MixtureTask(task=self.task, objective=self.objective, translated=self.translated),)


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


def _switch(value: Any) -> Any:
    """YAML reads `on` and `off` as booleans."""
    return ("on" if value else "off") if isinstance(value, bool) else value


def _token_budget(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"invalid value {value!r}; allowed: auto, or a number of at least 1")


class Resources(Part):
    """Resources of a run. They cannot change a result and are not fingerprinted. Those that are
    `auto` are chosen from free memory.

    data_processes: how many processes of each worker prepare rows and pictures in the background;
    chosen by the worker if not set. sharding: whether a group's workers share the weights of the
    text stack (models/sharding.py). groups: worker groups per backbone. cluster: resources of each
    group on Kubernetes; other launchers ignore it.
    """

    workers: Count = 1
    threads: Count = 1
    data_processes: Annotated[int, Field(ge=0)] | None = None
    tokens_per_micro_batch: Annotated[Any, AfterValidator(_token_budget)] = "auto"
    activation_checkpointing: Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)] = (
        "auto"
    )
    checkpoint_every: Annotated[int, Field(ge=0)] = 0
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0
    sharding: Literal["none", "full", "auto"] = "auto"
    groups: Annotated[int, Field(ge=1, le=MOST_GROUPS)] = 1
    gpu_memory_gib: Positive | None = None
    cluster: Cluster | None = None

    @model_validator(mode="after")
    def _cluster_fits(self) -> "Resources":
        if self.cluster and (
            problems := cluster_problems(self.cluster, self.workers, self.gpus_per_worker)
        ):
            raise ValueError("; ".join(problems))
        return self


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
