"""How much error each look of a growing schedule may spend, so that all looks together keep the
plan's level.

Alpha spending (Lan and DeMets 1983): a function of the share of seeds that are there says how much
of alpha may be spent so far. Each look tests at what is new since the look before. By the union
bound the sum holds whatever the looks have in common, so the levels need no numerical integration
and are conservative: looks have most of their seeds in common.
"""

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Rule = Literal["obrien_fleming", "pocock"]


class Spending(BaseModel):
    """looks: firings that look at the results, the first among them; later ones add no seeds.
    rule: obrien_fleming spends little at first and more at later looks; pocock spends most at
    the first. Of 11 looks at 5, 6, … 15 seeds, obrien_fleming gives the last one 15 % of alpha,
    and pocock the first one 45 %.
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
    spending: Spending, look: int, seeds: int, add: int, confidence: float = 0.95
) -> float:
    """The level of the intervals of a look (from 0; beyond the last one, that of the last).
    seeds: at the first look; add: more at each.
    """
    alpha, last = 1 - confidence, seeds + add * (spending.looks - 1)
    look = min(look, spending.looks - 1)

    def spent(number: int) -> float:
        return _RULES[spending.rule]((seeds + add * number) / last, alpha) if number >= 0 else 0.0

    return 1 - (spent(look) - spent(look - 1))
