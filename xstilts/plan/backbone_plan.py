"""The schema of a plan's backbones, and of the recipe keys that a plan overrides."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from xstilts.models.families import FAMILIES, OLDER_NAMES, contract
from xstilts.plan.part import Part
from xstilts.plan.plan_errors import not_one_of
from xstilts.plan.value_types import Count, Fraction, Positive, Seed


def _family(value: str) -> str:
    name = OLDER_NAMES.get(value, value)
    if name not in FAMILIES:
        raise ValueError(not_one_of(value, FAMILIES))
    return name


Family = Annotated[str, AfterValidator(_family)]
Mode = Literal["full", "lora"]


def _selection(value: Any) -> Any:
    if value in (None, "last") or (
        isinstance(value, int) and not isinstance(value, bool) and value >= 1
    ):
        return value
    raise ValueError(
        f"invalid selection {value!r}; allowed: last, or the evaluation interval in updates (a "
        "number of at least 1)"
    )


class Tokenizer(Part):
    """The tokenizer of a built backbone: the tasks with its training text, and its size."""

    from_: tuple[str, ...] = Field(("miniature_text",), alias="from", min_length=1)
    vocab_size: Annotated[int, Field(ge=300, lt=2**63)] = 4096
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
    max_length: Annotated[int, Field(ge=8, lt=2**63)] | None = None
    lm_length: Annotated[int, Field(ge=8, lt=2**63)] | None = None
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
