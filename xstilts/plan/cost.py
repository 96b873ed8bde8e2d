"""What a plan costs in tokens and GPU-hours, before anything is staged: to be trusted within a
factor of two.

A forward pass takes 2 N FLOPs a token, training 6 N, or 4 N when the base weights are frozen
(adapters); attention and vision towers are left out. Utilisation is that of a padding-free loop.
Lengths are means of English text through a 7B tokenizer, and include the image tokens.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from xstilts.models.families import FAMILIES
from xstilts.plan.expansion import Expansion
from xstilts.step import Step, training_role

H100_FLOPS = 989e12  # bf16, dense
TRAIN_UTILISATION = 0.40
SCORE_UTILISATION = 0.45

#: Hub id → parameters, of the backbones whose contract knows them; others get tokens and no hours.
PARAMETERS: Mapping[str, float] = {
    hub: count for of in FAMILIES.values() for hub, count in of.parameters.items()
}

#: task → (training rows, mean tokens of a row, its choices included).
TRAINING: Mapping[str, tuple[int, int]] = {
    "mnli": (392_702, 40),
    "snli": (549_367, 30),
    "qqp": (363_846, 32),
    "squad": (87_599, 165),
    "squad_v2": (130_319, 170),
    "hellaswag": (39_905, 440),
    "cosmos_qa": (25_262, 480),
    "commonsense_qa": (9_741, 125),
    "siqa": (33_410, 105),
    "copa": (400, 70),
    "ud_en": (21_253, 25),
    "panx_en": (20_000, 14),
    "tydiqa_en": (3_696, 260),
    "squad_dual": (87_599, 180),
    "mewsli_pairs": (167_719, 100),
    "coco_captions": (591_753, 360),
}

#: evaluation → (test rows of a language, mean tokens of a row).
TESTS: Mapping[str, tuple[int, int]] = {
    "xnli": (5_010, 65),
    "xcopa": (500, 90),
    "udpos": (1_580, 45),
    "wikiann": (6_325, 22),
    "xquad": (1_190, 363),
    "mlqa": (6_035, 375),
    "tydiqa": (564, 338),
    "tatoeba": (900, 36),
    "tatoeba_squad": (900, 36),
}


@dataclass(frozen=True)
class Cost:
    """tokens, H100-hours. None: not all of the steps can be estimated."""

    tokens: float | None
    gpu_hours: float | None


def step_cost(step: Step, steps: Mapping[str, Step]) -> Cost:
    """The estimate of one finetune or score step; other kinds need no GPU."""
    if step.kind == "finetune":
        tokens = _training_tokens(step, steps)
        flops, utilisation = (
            (4.0 if step.spec["tuning"]["mode"] == "lora" else 6.0),
            TRAIN_UTILISATION,
        )
    elif step.kind == "score":
        tokens = _scoring_tokens(step, steps)
        flops, utilisation = 2.0, SCORE_UTILISATION
    else:
        return Cost(0.0, 0.0)
    identity: Any = step.spec["backbone"]
    parameters = (
        PARAMETERS.get(identity["hub"])
        if isinstance(identity, Mapping) and "hub" in identity
        else None
    )
    if tokens is None or parameters is None:
        return Cost(tokens, None)
    return Cost(tokens, tokens * flops * parameters / (H100_FLOPS * utilisation) / 3600)


def estimate(
    expansion: Expansion, finished: Mapping[str, Collection[str]] | None = None
) -> dict[str, Cost]:
    """intermediate, target, score, total → Cost of the steps that are not finished."""
    found: dict[str, list[Cost]] = {"intermediate": [], "target": [], "score": []}
    for fingerprint, step in expansion.steps.items():
        if step.kind in ("finetune", "score") and fingerprint not in (finished or {}).get(
            step.kind, ()
        ):
            found[step.spec.get("stage", "score")].append(step_cost(step, expansion.steps))
    total = _sum([cost for costs in found.values() for cost in costs])
    return {**{kind: _sum(costs) for kind, costs in found.items()}, "total": total}


def _sum(costs: list[Cost]) -> Cost:
    tokens = [cost.tokens for cost in costs]
    hours = [cost.gpu_hours for cost in costs]
    return Cost(
        None if None in tokens else sum(t for t in tokens if t is not None),
        None if None in hours else sum(h for h in hours if h is not None),
    )


def _rows_of(known: int | None, cap: int | None) -> int | None:
    caps = [count for count in (known, cap) if count is not None]
    return min(caps) if caps else None


def _training_tokens(step: Step, steps: Mapping[str, Step]) -> float | None:
    recipe, tasks = step.spec["recipe"], step.spec["tasks"]
    rows: list[int] = []
    lengths: list[int] = []
    for task in tasks:
        known = TRAINING.get(task["name"])
        encoded = steps[
            step.parents[f"train:{training_role(task['name'], task.get('translated'))}"]
        ]
        records = steps[encoded.parents["records"]]
        count = _rows_of(known[0] if known else None, records.spec["rows"])
        if known is None or count is None:
            return None
        rows.append(count)
        lengths.append(known[1])
    mean = sum(n * length for n, length in zip(rows, lengths, strict=True)) / sum(rows)
    if recipe.get("supervised_tokens"):
        return None  # how many updates that takes is known when the rows are encoded
    if recipe.get("updates"):
        return float(recipe["updates"] * recipe["examples_per_step"] * mean)
    return float(recipe["epochs"] * sum(rows) * mean)


def _scoring_tokens(step: Step, steps: Mapping[str, Step]) -> float | None:
    known = TESTS.get(step.spec["evaluation"])
    if known is None:
        return None
    caps = [
        steps[step.parents[f"gold:{language}"]].spec["rows"] for language in step.spec["languages"]
    ]
    return float(sum((_rows_of(known[0], cap) or 0) * known[1] for cap in caps))
