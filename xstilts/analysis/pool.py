"""The effects of one contrast pooled over evaluations, and their differences between backbones.

An evaluation adds compact tables, so that its examples need not stay in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from xstilts.analysis.estimands import (
    AVERAGE,
    ENGLISH,
    GAP,
    NON_ENGLISH,
    Differences,
    Table,
    interaction,
    interquartile_mean,
    pooled,
    probability_of_improvement,
)
from xstilts.plan.seed_layout import Pair


@dataclass(frozen=True)
class PoolPart:
    """The effects on one evaluation, in compact tables.

    estimands: name → (table, its languages). effects: language → its table without influence.
    examples: language → number of rows.
    """

    estimands: Mapping[str, tuple[Table, Sequence[str]]]
    effects: Mapping[str, Table]
    examples: Mapping[str, int]


@dataclass(frozen=True)
class Both:
    """Two backbones on one evaluation, in the languages that both have.

    first: the first one's effects. difference: the first one's minus the second's; each None
    without non-English languages or common seeds. unshared: languages that only one has.
    """

    first: PoolPart
    difference: Table | None
    unshared: Sequence[str]


@dataclass
class Pool:
    """parts: backbone → evaluation → its effects. both: two backbones → evaluation → their
    effects.
    """

    parts: dict[str, dict[str, PoolPart]] = field(default_factory=dict)
    both: dict[tuple[str, str], dict[str, Both]] = field(default_factory=dict)

    def add(self, evaluation: str, effects: Mapping[str, Differences]) -> None:
        """Adds an evaluation: backbone → its effects."""
        for backbone, each in effects.items():
            self.parts.setdefault(backbone, {})[evaluation] = _part(each)
        for pair in combinations(effects, 2):
            sides = [effects[name] for name in pair]
            self.both.setdefault(pair, {})[evaluation] = _both(*sides)

    def mean(self, backbone: str, language: str) -> tuple[Table | None, dict[str, Any]]:
        """(the mean over evaluations of an estimand, what it covers)."""
        return _mean(self.parts[backbone], language)

    def robust(self, backbone: str, pairs: Sequence[Pair]) -> dict[str, float]:
        """Robust companions of the mean over non-English languages: the interquartile mean over
        its evaluations, languages and pairs, and the probability of improvement.
        """
        effects = [
            each.effects[code].of(pairs).effects
            for each in self.parts[backbone].values()
            if NON_ENGLISH in each.estimands
            for code in each.estimands[NON_ENGLISH][1]
        ]
        return {
            "iqm": interquartile_mean(np.concatenate(effects)),
            "p_improvement": 100 * probability_of_improvement(effects),
        }

    def interaction(self, first: str, second: str) -> tuple[Table | None, dict[str, Any]]:
        """(the first backbone's pooled effect minus the second's, over the evaluations and
        languages that both have; what it covers). `left_out` names what only one of them has.
        """
        sides = self.parts[first], self.parts[second]
        names = list(dict.fromkeys([*sides[0], *sides[1]]))
        dropped = [f"{name}: whole" for name in names if not all(name in side for side in sides)]
        shared = self.both.get((first, second), {})
        dropped += [
            f"{name}: {' '.join(each.unshared)}" for name, each in shared.items() if each.unshared
        ]
        _, coverage = _mean({name: each.first for name, each in shared.items()}, NON_ENGLISH)
        coverage["left_out"] = "; ".join([*dropped, *filter(None, [coverage["left_out"]])])
        chosen = [each for each in shared.values() if NON_ENGLISH in each.first.estimands]
        tables = {
            str(number): each.difference
            for number, each in enumerate(chosen)
            if each.difference is not None
        }
        return pooled(tables) if len(tables) == len(chosen) else None, coverage


def _part(effects: Differences) -> PoolPart:
    names = (NON_ENGLISH, ENGLISH, GAP, AVERAGE)
    estimands = {
        name: (table.compact, over)
        for name, (table, over) in effects.estimands.items()
        if name in names
    }
    # An array of its own: a slice would keep the whole influence in memory.
    bare = {
        language: replace(table, clusters=(), influence=np.empty((len(table.pairs), 0)))
        for language, table in effects.languages.items()
    }
    return PoolPart(estimands, bare, effects.examples)


def _both(first: Differences, second: Differences) -> Both:
    languages = [set(side.averaged) for side in (first, second)]
    unshared = [
        code
        for code in {**first.languages, **second.languages}
        if code in languages[0] ^ languages[1]
    ]
    sides = [side.restricted(languages[0] & languages[1]) for side in (first, second)]
    tables = [side.estimands[NON_ENGLISH][0] for side in sides if NON_ENGLISH in side.estimands]
    table = interaction(*tables) if len(tables) == 2 else None
    return Both(_part(sides[0]), None if table is None else table.compact, unshared)


def _mean(parts: Mapping[str, PoolPart], language: str) -> tuple[Table | None, dict[str, Any]]:
    """(the mean over evaluations, what it covers: languages, examples, evaluations, and evaluations
    with fewer seeds than others, which reduce the mean's).
    """
    chosen = {
        name: each.estimands[language] for name, each in parts.items() if language in each.estimands
    }
    codes = {code for _, over in chosen.values() for code in over}
    examples = sum(
        parts[name].examples[code] for name, (_, over) in chosen.items() for code in over
    )
    tables = {name: table for name, (table, _) in chosen.items()}
    return pooled(tables), {
        "n_languages": len(codes),
        "n_examples": examples,
        "pooled_over": " ".join(tables),
        "left_out": _fewer_seeds(tables),
    }


def _fewer_seeds(tables: Mapping[str, Table]) -> str:
    """The evaluations that lack seeds which others have; empty if all have the same."""
    every = {pair for table in tables.values() for pair in table.pairs}
    fewer = {
        name: len(table.pairs) for name, table in tables.items() if len(table.pairs) < len(every)
    }
    return "; ".join(f"{name} has {count} of {len(every)} seeds" for name, count in fewer.items())
