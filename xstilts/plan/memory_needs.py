"""The memory that a plan's backbones need, before anything is staged: the largest step of each, and
a refusal of plans that cannot fit.

Lengths are the limits of the recipes, since rows are not encoded yet. Workers check again with the
encoded rows and the memory of their device (runs/memory_fit.py).
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from xstilts.errors import PlanError
from xstilts.input_files import resolved
from xstilts.models.config_shape import read_model_config
from xstilts.models.published import PUBLISHED
from xstilts.plan.memory import GIB, MemoryUse, Setup, host, on_cpu, scoring, training
from xstilts.plan.memory_choice import (
    AUTO,
    USUAL_BUDGET,
    Choice,
    Need,
    Rows,
    choose,
    refusal,
    setup_of,
)
from xstilts.plan.model_shape import Config, Shape, known_shape
from xstilts.sources.mirrors import Mirror
from xstilts.step import Step, training_role
from xstilts.tasks.task import SHOWN, Task

#: Segments of a row, which `max_length` limits one by one: choices of CommonsenseQA, and query with
#: candidate.
_SEGMENTS = {"multiple_choice": 5, "ranking": 2}
#: Tokens of an answer in words, for the share of tokens that have logits.
_ANSWER_TOKENS = 16
#: Share of tokens that masked language modeling predicts.
_MASKED = 0.15
#: Bytes where the plan names no limit.
_UNLIMITED = math.inf


@dataclass(frozen=True)
class BackboneMemory:
    """The largest training step of a backbone.

    Attributes:
        backbone: Its name in the plan.
        step: Label of the step.
        choice: What it runs with.
        scoring: Memory of scoring.
        host: Memory of the host beside a GPU; None without one.
        problems: Why it does not fit; empty if it does, or if the plan names no limit.
    """

    backbone: str
    step: str
    choice: Choice
    scoring: MemoryUse
    host: MemoryUse | None
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        setup = self.choice.setup
        return {
            "backbone": self.backbone,
            "step": self.step,
            "dtype": setup.dtype,
            "shards": setup.shards,
            "tokens_per_micro_batch": self.choice.tokens_per_micro_batch,
            "activation_checkpointing": setup.checkpointing,
            "training": dict(self.choice.memory.parts),
            "training_total": self.choice.memory.total,
            "scoring_total": self.scoring.total,
            "host_total": self.host.total if self.host else None,
        }


def config_of(identity: Any, mirror: Mirror | None) -> Config | None:
    """The config.json of a backbone: of its folder, of the mirror, or as published. None for a
    built backbone, for a folder without the file, and for a model of the hub that is in none of
    these.

    mirror: None if it does not have the model. DataError for an invalid file.
    """
    if not isinstance(identity, Mapping):
        return None
    if "path" in identity:
        file = resolved(identity["path"]) / "config.json"
        # Without lookups a plan may name a folder that does not exist yet.
        return read_model_config(file) if os.path.isfile(file) else None
    name = str(identity["hub"])
    if mirror is not None:
        assert mirror.folder is not None  # the hub has no models in this sense
        path = mirror.folder / "models" / name / "config.json"
        if mirror.listing is not None:
            mirror.listing.download(f"models/{name}/config.json", path)
        return read_model_config(path)
    return PUBLISHED[name].config if name in PUBLISHED else None


def memory_needs(
    steps: Mapping[str, Step],
    groups: Sequence[Mapping[str, Any]],
    tasks: Mapping[str, Task],
    config: Callable[[Any], Config | None],
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> list[BackboneMemory]:
    """The largest training step of each backbone whose shape is known.

    Args:
        steps: The plan's steps by fingerprint.
        groups: The groups of an expansion.
        tasks: The plan's tasks, private ones included.
        config: Identity of a backbone → its config.json, or None.
        changes: Settings in place of those of the steps.
    """
    largest: dict[str, BackboneMemory] = {}
    shapes: dict[str, Shape | None] = {}
    for group in groups:
        name, distinct = str(group["backbone"]), set()
        for fingerprint in group["finetune"]:
            step = steps[fingerprint]
            if name not in shapes:
                shapes[name] = known_shape(config(step.spec["backbone"]))
            shape, rows = shapes[name], _rows(step, steps, tasks, shapes[name])
            if shape is None:
                continue
            settings = {**step.settings, **changes}
            kind, limit, _ = _limit(settings)
            setup = setup_of(step.spec, settings, kind == "gpu", shape, limit)
            if (rows, setup) in distinct:
                continue
            distinct.add((rows, setup))
            need = _memory_of(name, settings, shape, setup, rows)
            if name not in largest or _total(need) > _total(largest[name]):
                largest[name] = need
    return list(largest.values())


def refuse(needs: Sequence[BackboneMemory]) -> None:
    """PlanError that lists every backbone that cannot fit."""
    problems = [f"  - {problem}" for need in needs for problem in need.problems]
    if problems:
        raise PlanError("\n".join(["the plan does not fit into memory", *problems]))


def _total(need: BackboneMemory) -> tuple[int, int]:
    return len(need.problems), need.choice.memory.total


def _memory_of(
    name: str, settings: dict[str, Any], shape: Shape, setup: Setup, rows: Rows
) -> BackboneMemory:
    problems = []
    kind, limit, of = _limit(settings)
    if limit == _UNLIMITED:  # nothing to choose from: shown as without a GPU
        if settings.get("tokens_per_micro_batch", AUTO) == AUTO:
            settings["tokens_per_micro_batch"] = USUAL_BUDGET
        if settings.get("activation_checkpointing", AUTO) == AUTO:
            settings["activation_checkpointing"] = "off"
    need: Need = training if kind == "gpu" else on_cpu
    choice = choose(shape, setup, rows, settings, limit, need)
    where = f"backbones.{name}"
    if choice.memory.total > limit:
        problems.append(refusal(where, shape, choice, rows, limit, of, need))
    beside = host(shape, setup) if kind == "gpu" else None
    cluster = settings.get("cluster")
    if beside is not None and cluster:
        room = float(cluster["memory_gib_per_worker"]) * GIB
        if beside.total > room:
            problems.append(
                f"{where} needs about {beside.total / GIB:.1f} GiB on the host of each worker and "
                f"resources.cluster.memory_gib_per_worker is {room / GIB:g}: {beside}; raise it"
            )
    batch = rows.batch(shape, choice.tokens_per_micro_batch)
    label = str(settings.get("label", ""))
    scored = scoring(shape, setup, batch)
    return BackboneMemory(name, label, choice, scored, beside, tuple(problems))


def _gpus(settings: Mapping[str, Any]) -> float:
    return float(settings.get("gpus_per_worker", 0))


def _limit(settings: Mapping[str, Any]) -> tuple[str, float, str]:
    """(`gpu` or `cpu`, bytes that a worker may use, what has them)."""
    gpus = _gpus(settings)
    if gpus > 0:
        size = settings.get("gpu_memory_gib")
        share = min(1.0, gpus)
        of = "a GPU" if share == 1 else f"{share:g} of a GPU"
        return "gpu", share * size * GIB if size else _UNLIMITED, f"{of} (resources.gpu_memory_gib)"
    cluster = settings.get("cluster")
    size = cluster["memory_gib_per_worker"] * GIB if cluster else _UNLIMITED
    return "cpu", size, "a worker (resources.cluster.memory_gib_per_worker)"


def _rows(
    step: Step, steps: Mapping[str, Step], tasks: Mapping[str, Task], shape: Shape | None
) -> Rows:
    """The largest rows of a finetune step's tasks, as the recipes limit them."""
    longest, supervised, images = 1, 0.0, False
    for part in step.spec["tasks"]:
        role = training_role(part["name"], part.get("translated"))
        encoded = steps[step.parents[f"train:{role}"]]
        text, shown = _text_tokens(part, encoded), _image_tokens(encoded, steps, shape)
        longest, images = max(longest, text + shown), images or shown > 0
        if part["objective"] == "lm":
            share = _share(tasks.get(part["name"]), shape)
            supervised = max(supervised, share * text / (text + shown))
    return Rows(longest, supervised, images)


def _text_tokens(part: Mapping[str, Any], encoded: Step) -> int:
    lengths = encoded.spec["lengths"]
    if part["objective"] == "lm":
        return int(lengths.get("lm_length") or lengths["max_length"])
    return int(lengths["max_length"]) * _SEGMENTS.get(part["format"], 1)


def _image_tokens(encoded: Step, steps: Mapping[str, Step], shape: Shape | None) -> int:
    """Tokens of one image in a row; 0 for rows without."""
    budget = encoded.spec.get("image_budget")
    condition = steps[encoded.parents["records"]].spec.get("images", "real")
    if budget is None or condition not in SHOWN or shape is None or shape.vision is None:
        return 0
    return int(budget.get("image_tokens") or shape.vision.patches)


def _share(task: Task | None, shape: Shape | None) -> float:
    """Share of a row's text whose logits are computed."""
    if shape is not None and not shape.decoder:
        return _MASKED
    if (
        task is None or task.estimate is None or not task.estimate.answer
    ):  # plain text, and captions
        return 1.0
    return min(1.0, _ANSWER_TOKENS / (task.estimate.lm or task.estimate.text))
