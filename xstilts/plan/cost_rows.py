"""What the steps of a plan read: how many rows, with how many tokens and pictures, and how many
updates train on them. Means of `RowEstimate`; nothing is staged yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from xstilts.models.families import contract
from xstilts.plan.cost_assumptions import assumed, text_ratio
from xstilts.plan.sampling import weights_in
from xstilts.step import Step, training_role
from xstilts.tasks.task import SHOWN, RowEstimate, Task

ENGLISH = "en"
#: Tokens of a window, and between the starts of two, with which contexts are measured
#: (mirror/row_lengths.py).
MEASURED_WINDOW, MEASURED_STRIDE = 384, 128
#: Start of what is missing if a task has lengths, and no number of rows.
_NUMBER = "number of"


@dataclass(frozen=True)
class Picture:
    """A usual picture of a backbone. patches: what the vision tower computes for it. The same
    beside other pictures.
    """

    tokens: int = 0
    patches: int = 0
    tokens_beside: int = 0
    patches_beside: int = 0


@dataclass(frozen=True)
class Row:
    """Means of a row.

    Attributes:
        text: Text tokens.
        shown: Tokens of pictures.
        patches: Patches that the vision tower computes.
        answer: Tokens whose vocabulary logits are computed.
        segments: Sequences.
    """

    text: float = 0.0
    shown: float = 0.0
    patches: float = 0.0
    answer: float = 0.0
    segments: float = 1.0

    @property
    def tokens(self) -> float:
        return self.text + self.shown

    @property
    def length(self) -> float:
        """Tokens that a token can attend to."""
        return self.tokens / max(self.segments, 1.0)


@dataclass(frozen=True)
class Reading:
    """A number of equal rows.

    Attributes:
        rows: Encoded rows.
        row: Their mean.
        missing: What has no estimate; it counts as nothing.
        searched: Whether an answer is searched in each of them.
    """

    rows: float = 0.0
    row: Row = Row()
    missing: tuple[str, ...] = ()
    searched: bool = False


@dataclass(frozen=True)
class Training:
    """What a finetune step reads. dev: in all evaluations on English dev together."""

    updates: float
    examples: Reading
    dev: Reading


@dataclass(frozen=True)
class Lookup:
    """What the number and the lengths of rows depend on besides the step.

    Attributes:
        steps: All steps of the plan.
        tasks: Name → task.
        picture: Of the backbone; None for text-only ones.
        padded: Whether rows are padded to the longest that the recipe allows. This project never
            pads; other programs do.
        tokenizer: A key of `TOKENIZERS`; None for that of the step's family.
    """

    steps: Mapping[str, Step]
    tasks: Mapping[str, Task]
    picture: Picture | None = None
    padded: bool = False
    tokenizer: str | None = None


def row_of(
    estimate: RowEstimate,
    objective: str,
    shown: str = "real",
    picture: Picture | None = None,
    most_tokens: int | None = None,
    ratio: float = 1.0,
    causal: bool = True,
) -> Row:
    """The mean encoded row of a task.

    Args:
        estimate: Of the task.
        objective: `head`, `eval` or `lm`.
        shown: The image condition.
        picture: Of the backbone; None for text-only ones.
        most_tokens: The recipe's limit of a picture's tokens; None: no limit.
        ratio: Text tokens of the backbone's tokenizer for each token of Qwen2's.
        causal: Whether the backbone predicts all tokens of a text without a prompt.
    """
    words = objective == "lm"
    text = (estimate.lm if words else 0.0) or estimate.text / estimate.windows
    segments = 1.0 if words else estimate.segments
    answer = (estimate.answer or text * (1 if causal else assumed("masked"))) if words else 0.0
    if shown == "caption":
        text += estimate.images * assumed("caption")
    tokens = patches = 0.0
    if picture is not None and shown in SHOWN and estimate.images:
        beside = estimate.images > 1
        each = picture.tokens_beside if beside else picture.tokens
        most = each if most_tokens is None else min(each, most_tokens)
        tokens = estimate.images * most * segments  # each choice shows the pictures again
        patches = estimate.images * (picture.patches_beside if beside else picture.patches)
    return Row(text * ratio, tokens, patches, answer * ratio, segments)


def windows(estimate: RowEstimate, objective: str) -> float:
    """Encoded rows of a row. Under `lm`, a long context is cut."""
    return 1.0 if objective == "lm" and estimate.lm else estimate.windows


def in_windows(estimate: RowEstimate, lengths: Mapping[str, Any], ratio: float) -> RowEstimate:
    """The row, with the windows that a recipe's lengths cut its context into.

    Args:
        estimate: As measured, with windows of MEASURED_WINDOW tokens.
        lengths: Of the recipe.
        ratio: Text tokens of the backbone's tokenizer for each token of Qwen2's.
    """
    size, stride = lengths["max_length"], lengths.get("stride")
    if not stride or (size, stride) == (MEASURED_WINDOW, MEASURED_STRIDE):
        return estimate
    question = assumed("question")
    twice = MEASURED_WINDOW - question - MEASURED_STRIDE  # tokens that two windows share
    context = estimate.text - estimate.windows * question - (estimate.windows - 1) * twice
    question, context = question * ratio, context * ratio
    space = size - question
    # Contexts differ, so the last window is half full on average.
    count = max(1.0, 1.5 + (context - space) / stride)
    text = context + count * question + (count - 1) * (space - stride)
    return replace(estimate, text=text / ratio, windows=count)


def mean(readings: Sequence[Reading], weights: Sequence[float]) -> Row:
    """The mean row of several readings with weights."""
    total = sum(weights) or 1.0
    values = {
        name: sum(w * getattr(r.row, name) for r, w in zip(readings, weights, strict=True)) / total
        for name in Row.__dataclass_fields__
    }
    return Row(**values)


def training(step: Step, given: Lookup) -> Training:
    """What a finetune step reads."""
    parts, recipe = step.spec["tasks"], step.spec["recipe"]
    readings = [_part("train", part, step, given) for part in parts]
    weights = _weights(step, given, readings)
    row, size = mean(readings, weights), recipe["examples_per_step"]
    missing = tuple(dict.fromkeys(m for reading in readings for m in reading.missing))
    if recipe.get("supervised_tokens"):
        # A row with a head counts as one supervised token.
        counts = [reading.row.answer or 1.0 for reading in readings]
        supervised = sum(w * n for w, n in zip(weights, counts, strict=True))
        updates = ceil(recipe["supervised_tokens"] / (size * supervised))
    elif recipe.get("updates"):
        updates = int(recipe["updates"])
        missing = tuple(m for m in missing if not m.startswith(_NUMBER))
    else:
        # Training sees the first task as often as it would alone (runs/finetune.py).
        passes = recipe["epochs"] * readings[0].rows / weights[0] if weights[0] else 0.0
        updates = max(1, round(passes / size))
    return Training(updates, Reading(updates * size, row, missing), _dev(updates, step, given))


def _weights(step: Step, given: Lookup, readings: Sequence[Reading]) -> list[float]:
    """Probability of each task of a finetune step, from the rows of its source before any cap, as
    in training. Rows of a source without a known number are those of its reading.
    """
    sizes = []
    for part, reading in zip(step.spec["tasks"], readings, strict=True):
        task, languages = given.tasks.get(part["name"]), part.get("translated") or [ENGLISH]
        known = task.rows("train", languages[0]) if task else None
        sizes.append(reading.rows if known is None else float(known * len(languages)))
    return weights_in(step.spec, [size or 1.0 for size in sizes])


def _dev(updates: int, step: Step, given: Lookup) -> Reading:
    """English dev, evaluated every `selection` updates and after the last one."""
    every = step.spec["recipe"].get("selection")
    if every in (None, "last"):
        return Reading()
    reading = _part("select", step.spec["tasks"][0], step, given)
    return replace(reading, rows=ceil(updates / every) * reading.rows)


def _part(split: str, part: Mapping[str, Any], step: Step, given: Lookup) -> Reading:
    """The rows of one task of a finetune step in a split."""
    role = training_role(part["name"], part.get("translated"))
    encoded = step.parents[f"{split}:{role}"]
    languages = part.get("translated") or [ENGLISH]
    return _reading(part["name"], split, languages, encoded, step.spec["family"], given)


def scoring(step: Step, given: Lookup) -> list[Reading]:
    """What a score step reads: one reading per language, and one of a ranking's candidates."""
    name, family = step.spec["evaluation"], step.spec["family"]
    task = given.tasks.get(name)
    # An arm is scored on English dev rows of its own tasks.
    split = "test" if task is None or "test" in task.splits else "select"
    readings = [
        _reading(name, split, [language], step.parents[f"test:{language}"], family, given)
        for language in step.spec["languages"]
    ]
    if "pool" in step.parents:
        pool = step.parents["pool"]
        candidates = given.steps[pool].spec["task"]
        readings.append(_reading(candidates, "text", [ENGLISH], pool, family, given))
    return readings


def _reading(
    name: str, split: str, languages: Sequence[str], encoded: str, family: str, given: Lookup
) -> Reading:
    """The rows of an encode step. Without an estimate, an empty reading that names the task.

    Args:
        name: Name of the task.
        split: Its split.
        languages: Of the rows.
        encoded: Fingerprint of the encode step.
        family: Of the backbone.
        given: Where the rest is looked up.
    """
    task, step = given.tasks.get(name), given.steps[encoded]
    if task is None or task.estimate is None:
        return Reading(missing=(f"row lengths of task {name}",))
    records = given.steps[step.parents["records"]].spec
    known, cap = task.rows(split, languages[0]), step.spec.get("pool_size") or records["rows"]
    count = _capped(known * len(languages) if known is not None else None, cap)
    objective, lengths = step.spec["objective"], step.spec["lengths"]
    times = text_ratio(given.tokenizer or family, languages[0] == ENGLISH)
    estimate = in_windows(task.estimate, lengths, times) if objective != "lm" else task.estimate
    row = row_of(
        estimate,
        objective,
        records.get("images", "real"),
        given.picture,
        (step.spec.get("image_budget") or {}).get("image_tokens"),
        times,
        contract(family).causal,
    )
    if given.padded:
        longest = (lengths.get("lm_length") if objective == "lm" else None) or lengths["max_length"]
        row = replace(row, text=max(row.text, longest * row.segments))
    if count is None:
        return Reading(0.0, row, (f"{_NUMBER} {split} rows of task {name}",))
    searched = task.format == "span" and objective != "lm"
    return Reading(count * windows(estimate, objective), row, searched=searched)


def _capped(known: int | None, cap: int | None) -> int | None:
    counts = [count for count in (known, cap) if count is not None]
    return min(counts) if counts else None
