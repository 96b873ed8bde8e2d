"""Estimates what a plan costs before anything is staged: tokens, GPU-hours, and the seconds of each
step. Pure: shapes come from config.json files that the expansion has, lengths from the tasks.

FLOPs of the text stack with N parameters in the matrices that a token passes through: 2 N a token
forward, 6 N in training, 4 N if the matrices are frozen (LoRA), and 2 N more if layers are computed
again in the backward pass. Attention adds its products of length × length, logits are computed for
supervised tokens only, and the vision tower computes each patch once, forward. cost_assumptions.py
has everything else that is assumed.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import isqrt, prod
from typing import Any, NamedTuple

from xstilts.models.families import FAMILIES, contract
from xstilts.plan import cost_rows
from xstilts.plan.cost_assumptions import BUILT, BUILT_ON_MINIATURE, assumed, utilisation
from xstilts.plan.cost_rows import Lookup, Picture, Reading, Row
from xstilts.plan.expansion import Expansion
from xstilts.plan.miniature_sizes import built_image_tokens, miniature_rows
from xstilts.plan.model_shape import Shape, known_shape
from xstilts.step import Step
from xstilts.tasks.private import with_private
from xstilts.tasks.task import Task

#: Hub id → parameters, of models without a known config.json.
PARAMETERS: Mapping[str, float] = {
    hub: count for of in FAMILIES.values() for hub, count in of.parameters.items()
}
#: Width of a model of which only the number of parameters is known.
_UNKNOWN_WIDTH = 4096


@dataclass(frozen=True)
class Cost:
    """Tokens, GPU-hours and hours of one or more steps.

    missing: what could not be estimated; the numbers are then lower bounds. hours: of one step
    after the other.
    """

    tokens: float = 0.0
    gpu_hours: float = 0.0
    hours: float = 0.0
    missing: tuple[str, ...] = ()
    parts: "Parts" = field(default_factory=lambda: Parts())

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.tokens + other.tokens,
            self.gpu_hours + other.gpu_hours,
            self.hours + other.hours,
            tuple(dict.fromkeys((*self.missing, *other.missing))),
            Parts(*(a + b for a, b in zip(self.parts, other.parts, strict=True))),
        )


class Parts(NamedTuple):
    """What a step's time is made of, in hours: its start, the launch of its kernels, its FLOPs, its
    languages, and the search of answers in contexts. Of launch and compute, the estimate adds the
    longer; calibration weighs each part.
    """

    start: float = 0.0
    launch: float = 0.0
    compute: float = 0.0
    languages: float = 0.0
    search: float = 0.0


@dataclass(frozen=True)
class Model:
    """A backbone as the estimate sees it.

    Attributes:
        name: In the plan.
        shape: None if no config.json is known.
        parameters: What a token passes through, where `shape` is None; 0: unknown.
        picture: None for text-only backbones.
        recompute: Whether layers are computed again in the backward pass.
    """

    name: str
    shape: Shape | None = None
    parameters: float = 0.0
    picture: Picture | None = None
    recompute: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        known = self.shape is not None or self.parameters
        return () if known else (f"size of backbone {self.name}",)

    @property
    def layers(self) -> int:
        return self.shape.layers if self.shape else 32

    @property
    def hidden(self) -> int:
        return self.shape.hidden if self.shape else _UNKNOWN_WIDTH

    def forward(self, tokens: float, length: float) -> tuple[float, float]:
        """FLOPs of the matrices and of attention, without logits and pictures."""
        if self.shape is None:
            return 2 * self.parameters * tokens, 0.0
        shape = self.shape
        matrices = shape.layers * sum(
            m.inputs * m.outputs * (shape.experts_per_token if m.copies > 1 else 1)
            for m in shape.matrices
        )
        width = next(m.inputs for m in shape.matrices if m.role == "out")
        seen = length / 2 if shape.decoder else length  # a causal mask hides half
        return 2 * matrices * tokens, 4 * shape.layers * width * seen * tokens

    def logits(self, supervised: float) -> float:
        return 2 * self.shape.table * supervised if self.shape else 0.0

    def vision(self, patches: float) -> float:
        """FLOPs of the vision tower, forward, with attention within a picture or tile."""
        tower = self.shape.vision if self.shape else None
        if tower is None:
            return 0.0
        length = tower.patches or (self.picture.patches if self.picture else 0)
        return patches * (2 * tower.parameters + 4 * tower.layers * tower.hidden * length)

    def read(self, row: Row, rows: float) -> float:
        """FLOPs of a forward pass over rows."""
        matrices, attention = self.forward(row.tokens, row.length)
        return rows * (matrices + attention + self.logits(row.answer) + self.vision(row.patches))

    def train(self, row: Row, rows: float, tuning: Mapping[str, Any]) -> float:
        """FLOPs of training on rows."""
        matrices, attention = self.forward(row.tokens, row.length)
        lora = tuning["mode"] == "lora"
        times = 2 if lora else 3
        adapters = self.shape.adapters(int(tuning["r"])) if lora and self.shape else 0
        return rows * (
            matrices * (times + self.recompute)
            + attention * (3 + self.recompute)
            + 6 * adapters * row.tokens
            + self.logits(row.answer) * times
            + self.vision(row.patches)
        )


def models(expansion: Expansion) -> dict[str, Model]:
    """Backbone → what the estimate knows of it."""
    recompute = {m["backbone"]: m["activation_checkpointing"] for m in expansion.memory}
    settings = expansion.plan.get("resources", {}).get("activation_checkpointing")
    return {
        name: model(
            name,
            backbone,
            expansion.configs.get(name),
            bool(recompute.get(name, settings in ("on", True))),
        )
        for name, backbone in expansion.plan["backbones"].items()
    }


def model(
    name: str, backbone: Mapping[str, Any], config: Mapping[str, Any] | None, recompute: bool
) -> Model:
    """What the estimate knows of one backbone of a plan."""
    shape = known_shape(config)
    built = backbone.get("build")
    family = built["family"] if built else backbone["family"]
    picture = _picture(family, shape, built is not None)
    parameters = PARAMETERS.get(str(backbone.get("hub")), 0.0)
    return Model(name, shape, parameters, picture, recompute)


def _picture(family: str, shape: Shape | None, built: bool) -> Picture | None:
    vision = contract(family).vision
    if vision is None:
        return None
    usual, tower = vision.usual, shape.vision if shape else None
    tokens = built_image_tokens(family) if built else usual.tokens
    beside = usual.beside or tokens
    if tower is None:
        return Picture(tokens, 0, beside, 0)
    if tower.patches_per_token:
        patches = tokens * tower.patches_per_token
        return Picture(tokens, patches, tokens, patches)
    tiles = 1 if built else usual.tiles
    if tiles == 1:  # without the class token
        tokens = beside = isqrt(tower.patches) ** 2
    patches = tiles * tower.patches
    return Picture(tokens, patches, beside, tower.patches if usual.beside else patches)


def step_cost(step: Step, of: Model, given: Lookup, gpus: float = 1.0) -> Cost:
    """The estimate of one finetune or score step; other kinds need no GPU.

    Args:
        step: To estimate.
        of: The step's backbone.
        given: Where rows are looked up.
        gpus: GPUs that compute the step together.
    """
    dtype = str(step.spec.get("dtype", "float32"))
    start, launch, compute, languages = assumed("step"), 0.0, 0.0, 0.0
    if step.kind == "finetune":
        work = cost_rows.training(step, given)
        row, rows = work.examples.row, work.examples.rows
        kind = "training pictures" if row.patches else "training text"
        flops = of.train(row, rows, step.spec["tuning"])
        compute = flops / (utilisation(kind, dtype, of.hidden) * gpus)
        launch = work.updates * of.layers * assumed("launch training")
        readings = [work.dev]
        tokens, missing = rows * row.tokens, work.examples.missing
    elif step.kind == "score":
        readings, tokens, missing = cost_rows.scoring(step, given), 0.0, ()
        languages = len(step.spec["languages"]) * assumed("language")
        if given.padded:  # a process for each language
            start *= len(readings)
    else:
        return Cost()
    read_launch, read_compute = _reading_seconds(of, readings, dtype, gpus)
    searched = sum(reading.rows * reading.row.tokens for reading in readings if reading.searched)
    search = searched * assumed("span")
    # Training and reading follow each other, and each takes the longer of its two.
    seconds = start + max(launch, compute) + max(read_launch, read_compute) + languages + search
    tokens += sum(reading.rows * reading.row.tokens for reading in readings)
    missing += tuple(m for reading in readings for m in reading.missing) + of.missing
    hours = seconds / 3600
    each = (start, launch + read_launch, compute + read_compute, languages, search)
    parts = Parts(*(part / 3600 for part in each))
    return Cost(tokens, hours * gpus, hours, tuple(dict.fromkeys(missing)), parts)


def _reading_seconds(
    of: Model, readings: Collection[Reading], dtype: str, gpus: float
) -> tuple[float, float]:
    """Seconds of launches and of FLOPs."""
    flops = sum(of.read(reading.row, reading.rows) for reading in readings)
    tokens = sum(reading.rows * reading.row.tokens for reading in readings)
    launch = tokens / assumed("scoring batch") * of.layers * assumed("launch scoring")
    return launch / gpus, flops / utilisation("scoring", dtype, of.hidden) / gpus


def workers_of_a_group(expansion: Expansion) -> tuple[int, float]:
    """Workers of one group and the GPUs of each; one GPU for a plan without GPUs."""
    resources = expansion.plan.get("resources", {})
    each = float(resources.get("gpus_per_worker", 0))
    return (int(resources.get("workers", 1)), each) if each else (1, 1.0)


def step_costs(
    expansion: Expansion, gpus: float | None = None, padded: bool = False
) -> dict[str, Cost]:
    """Fingerprint → cost of every finetune and score step.

    gpus: of a step; None: as the plan has them. padded: if rows were padded, and each language
    scored by a process of its own.
    """
    tasks: Mapping[str, Task] = with_private(expansion.task_files)
    built = BUILT
    if expansion.plan.get("mirror") == "miniature":
        tasks, built = miniature_rows(tasks), BUILT_ON_MINIATURE
    known, costs = models(expansion), {}
    width = prod(workers_of_a_group(expansion)) if gpus is None else gpus
    for group in expansion.groups:
        of = known[group["backbone"]]
        tokenizer = built if expansion.plan["backbones"][group["backbone"]].get("build") else None
        given = Lookup(expansion.steps, tasks, of.picture, padded, tokenizer)
        equal: dict[Any, Cost] = {}
        for fingerprint in (*group["finetune"], *group["score"]):
            step = expansion.steps[fingerprint]
            if (key := _cost_key(step)) not in equal:
                equal[key] = step_cost(step, of, given, width)
            costs[fingerprint] = equal[key]
    return costs


def _cost_key(step: Step) -> tuple[str, ...]:
    """Equal for steps of a backbone that differ only in their seed and in the weights that they
    start from.
    """
    spec = {name: value for name, value in step.spec.items() if name != "seed"}
    weights = ("init", "model", "heads")
    rows = (f"{role} {fp}" for role, fp in step.parents.items() if role not in weights)
    return step.kind, json.dumps(spec, sort_keys=True), *sorted(rows)


def estimate(
    expansion: Expansion,
    finished: Mapping[str, Collection[str]] | None = None,
    costs: Mapping[str, Cost] | None = None,
) -> dict[str, Cost]:
    """intermediate, target, score, total → Cost of the steps that are not finished. costs: those
    of step_costs.
    """
    parts = {"intermediate": Cost(), "target": Cost(), "score": Cost()}
    for fingerprint, cost in (step_costs(expansion) if costs is None else costs).items():
        step = expansion.steps[fingerprint]
        if fingerprint not in (finished or {}).get(step.kind, ()):
            parts[step.spec.get("stage", "score")] += cost
    return {**parts, "total": sum(parts.values(), Cost())}
