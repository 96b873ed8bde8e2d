"""The effect of each pair of seeds, for the dots beside an interval."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xstilts.analysis.estimands import AVERAGE, GAP, NON_ENGLISH, POOLED, paired, weighted
from xstilts.analysis.inputs import Cell, ReportInput
from xstilts.plan.seed_layout import Pair

_AGGREGATES = (AVERAGE, NON_ENGLISH, GAP)

Key = tuple[str, str, str]
Values = dict[Pair, dict[str, float]]


class SeedEffects:
    """Effects in the official metrics, one per pair of seeds. Their mean over balanced pairs is the
    effect of `effects_table`.
    """

    def __init__(self, report: ReportInput, results: pd.DataFrame) -> None:
        self._report = report
        self._cells: dict[Key, dict[Pair, Cell]] = {}
        for cell in report.cells:
            seeds = (cell.seed_intermediate, cell.seed_target)
            for evaluation in dict.fromkeys(name for name, _ in cell.scored):
                self._cells.setdefault((cell.backbone, cell.arm, evaluation), {})[seeds] = cell
        self._values = _values(report, results)

    def of(
        self, contrast: Mapping[str, Any], backbone: str, evaluation: str
    ) -> dict[str, dict[Pair, float]]:
        """Estimand → seeds → effect, of `avg`, `non_en`, `en` and `gap`.

        Args:
            contrast: of the plan.
            backbone: as in the table of effects: `A minus B` of a contrast between backbones.
            evaluation: name of the evaluation.
        """
        first = contrast.get("backbone", backbone)
        second = contrast.get("reference_backbone", backbone)
        sides = [
            (first, contrast["arm"], evaluation),
            (second, contrast["reference"], evaluation),
        ]
        arms, references = (self._cells.get(side, {}) for side in sides)
        differences: Values = {}
        for pair, (arm, reference) in paired(arms, references).items():
            values = [
                self._values.get(side, {}).get((cell.seed_intermediate, cell.seed_target), {})
                for side, cell in zip(sides, (arm, reference), strict=True)
            ]
            differences[pair] = {
                language: value - values[1][language]
                for language, value in values[0].items()
                if language in values[1]
            }
        if not differences:
            return {}
        everywhere = set.intersection(*(set(by_language) for by_language in differences.values()))
        scored = dict.fromkeys(code for each in differences.values() for code in each)
        averaged = [
            code for code in self._report.averaged(evaluation, list(scored)) if code in everywhere
        ]
        weights = {**weighted(averaged), **({"en": {"en": 1.0}} if "en" in everywhere else {})}
        return {
            name: {
                pair: sum(weight * by_language[code] for code, weight in parts.items())
                for pair, by_language in differences.items()
            }
            for name, parts in weights.items()
        }

    def pooled(
        self, contrast: Mapping[str, Any], backbone: str, evaluations: Sequence[str], name: str
    ) -> dict[Pair, float]:
        """Seeds → mean effect over evaluations, for the pairs that all of them have."""
        tables = [self.of(contrast, backbone, each).get(name, {}) for each in evaluations]
        if not tables:
            return {}
        common = [pair for pair in tables[0] if all(pair in table for table in tables)]
        return {pair: float(np.mean([table[pair] for table in tables])) for pair in common}

    def dots(
        self, contrasts: Mapping[str, Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """The dots of rows of the table of effects: label, language, effect, seed."""
        for row in rows:
            contrast = contrasts[row["contrast"]]
            if row["evaluation"] == POOLED:
                over = str(row["pooled_over"]).split()
                effects = self.pooled(contrast, row["backbone"], over, row["language"])
            else:
                by_name = self.of(contrast, row["backbone"], row["evaluation"])
                effects = by_name.get(row["language"], {})
            for pair, effect in effects.items():
                head = {"label": row["label"], "language": row["language"]}
                yield {**head, "effect": round(effect, 3), "seed": seed_text(pair)}


def seed_text(pair: Pair) -> str:
    """The seeds of a pair in words."""
    intermediate, target = pair
    if intermediate is None or target is None or intermediate == target:
        seed = target if intermediate is None else intermediate
        return "no seed" if seed is None else f"seed {seed}"
    return f"seeds {intermediate}, {target}"


def _values(report: ReportInput, results: pd.DataFrame) -> dict[Key, Values]:
    """(backbone, arm, evaluation) → seeds → language → score in the official metric."""
    official = results["evaluation"].map(report.official_metrics)
    rows = results[
        (results["checkpoint"] == "selected")
        & (results["metric"] == official)
        & ~results["language"].isin(_AGGREGATES)
    ]
    values: dict[Key, Values] = {}
    columns = (
        "backbone", "arm", "evaluation", "seed_intermediate", "seed_target", "language", "value",
    )  # fmt: skip
    for backbone, arm, evaluation, first, second, language, value in zip(
        *(rows[column].tolist() for column in columns), strict=True
    ):
        pair = (None if pd.isna(first) else int(first), None if pd.isna(second) else int(second))
        by_pair = values.setdefault((backbone, arm, evaluation), {})
        by_pair.setdefault(pair, {})[language] = float(value)
    return values
