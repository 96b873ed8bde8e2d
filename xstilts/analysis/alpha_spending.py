"""Confidence levels for the interim analyses of a growing schedule, so that all of them together
keep the plan's error rate.

Alpha spending (Lan and DeMets 1983): a function of the share of seeds available so far gives the
share of alpha that may be spent so far. Each interim analysis tests at what was added since the
previous one. By the union bound the total is valid whatever the dependence between analyses, so the
levels need no numerical integration. They are conservative, because successive analyses share most
of their seeds.
"""

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Rule = Literal["obrien_fleming", "pocock"]


class Spending(BaseModel):
    """How a schedule spends alpha.

    looks: number of interim analyses; each is one firing, the first included. Later firings add no
    seeds. rule: `obrien_fleming` spends little at first and more later; `pocock` spends most at the
    first analysis. For 11 analyses at 5, 6, … 15 seeds, `obrien_fleming` gives the last one 15% of
    alpha, and `pocock` gives the first one 45%.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    looks: Annotated[int, Field(ge=2, le=200)]
    rule: Rule = "obrien_fleming"


def _obrien_fleming(share: float, alpha: float) -> float:
    normal = NormalDist()
    return 2 * normal.cdf(normal.inv_cdf(alpha / 2) / share**0.5)


def _pocock(share: float, alpha: float) -> float:
    return alpha * math.log(1 + (math.e - 1) * share)


_RULES: Mapping[Rule, Callable[[float, float], float]] = {
    "obrien_fleming": _obrien_fleming,
    "pocock": _pocock,
}


def confidence_at(
    spending: Spending, number: int, seeds: int, added: int, confidence: float = 0.95
) -> float:
    """The confidence level of the intervals of one interim analysis.

    Args:
        spending: the schedule's rule.
        number: index of the analysis, from 0. Beyond the last one, the last one's level applies.
        seeds: seeds at the first analysis.
        added: seeds that each later analysis adds.
        confidence: the plan's level, for all analyses together.
    """
    alpha, total = 1 - confidence, seeds + added * (spending.looks - 1)
    number = min(number, spending.looks - 1)

    def spent(through: int) -> float:
        share = (seeds + added * through) / total
        return _RULES[spending.rule](share, alpha) if through >= 0 else 0.0

    return 1 - (spent(number) - spent(number - 1))
