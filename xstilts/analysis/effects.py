"""Effects: score(arm) − score(reference), paired by seed and example, with intervals.

The variance of an effect has two parts. Seeds: the spread of the effect over seeds, divided by their number; where
intermediate and target seeds are crossed, both are counted and neither is subtracted (conservative). Examples: the
effect's first-order change with each test example (delta method on the official corpus metric), clusters of one passage
together and, for an average over languages, parallel examples together. The interval is Student's t with
Satterthwaite's degrees of freedom; from five seeds on the hierarchical bootstrap stands beside it (averages). One seed
gives an interval that is conditional on the seed, says so, and has no p.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from xstilts.analysis.bootstrap import FEWEST_SEEDS, Pair, bootstrap_interval
from xstilts.analysis.inputs import Array, Cell, ReportInput, Scored
from xstilts.scoring.metrics import METRICS

LEVEL = 0.95
AVERAGE = "avg"
#: English minus the mean of the other languages: the cross-lingual transfer gap.
GAP = "gap"
COLUMNS = (
    "contrast", "backbone", "arm", "reference", "evaluation", "language", "metric", "effect", "ci_low", "ci_high",
    "ci_method", "p", "p_adjusted", "n_seeds", "n_examples", "same_data", "bootstrap_low", "bootstrap_high",
)  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """An effect with its interval; p is None where seeds give no test."""

    effect: float
    low: float
    high: float
    method: str
    p: float | None


def results_table(given: ReportInput) -> pd.DataFrame:
    """One row for each cell, evaluation, language (and `avg`: the official unweighted mean over the benchmark's languages) and metric.
    checkpoint: `selected` counts; `last` rows stand beside where English dev chose earlier weights."""
    rows = []
    for cell in given.cells:
        for evaluation, scored in _by_evaluation(cell).items():
            for metric in given.metrics[evaluation]:
                head = {
                    "backbone": cell.backbone, "arm": cell.arm, "seed": cell.seed,
                    "seed_intermediate": cell.seed_intermediate, "seed_target": cell.seed_target,
                    "trained_target": cell.trained_target, "evaluation": evaluation, "metric": metric,
                }  # fmt: skip
                last = {language: one.last for language, one in scored.items() if one.last}
                for checkpoint, chosen in (("selected", scored), ("last", last)):
                    rows += [
                        {**head, "checkpoint": checkpoint, **row}
                        for row in _values(chosen, metric, given.averaged(evaluation, chosen))
                    ]
    order = [
        "backbone",
        "arm",
        "seed",
        "seed_intermediate",
        "seed_target",
        "trained_target",
        "checkpoint",
        "evaluation",
        "split",
        "language",
        "metric",
        "value",
        "n",
    ]
    table = pd.DataFrame(rows, columns=order)
    for column in ("seed", "seed_intermediate", "seed_target"):
        table[column] = table[column].astype("Int64")
    return table


def _values(scored: Mapping[str, Scored], metric: str, averaged: Sequence[str]) -> Iterator[dict[str, Any]]:
    values = {language: one.value(metric) for language, one in scored.items()}
    for language, one in scored.items():
        yield {"split": one.split, "language": language, "n": len(one.ids), "value": values[language]}
    if values:
        splits = "+".join(sorted({scored[language].split for language in averaged}))
        count = sum(len(scored[language].ids) for language in averaged)
        mean = float(np.mean([values[language] for language in averaged]))
        yield {"split": splits, "language": AVERAGE, "n": count, "value": mean}
    others = [values[language] for language in averaged if language != "en"]
    if "en" in values and others:
        gap = values["en"] - float(np.mean(others))
        yield {"split": splits, "language": GAP, "n": count, "value": gap}


def _by_evaluation(cell: Cell) -> dict[str, dict[str, Scored]]:
    found: dict[str, dict[str, Scored]] = {}
    for (evaluation, language), scored in cell.scored.items():
        found.setdefault(evaluation, {})[language] = scored
    return found


def effects_table(given: ReportInput) -> pd.DataFrame:
    """Every contrast for every backbone, evaluation, language and metric, `avg` included; columns as COLUMNS."""
    overlaps = {(row["arm"], row["trained_target"]): row["overlap"] for row in given.expanded["overlaps"]}
    rows = [row for contrast in given.contrasts for row in _contrast_rows(given, contrast, overlaps)]
    table = pd.DataFrame(rows, columns=[*COLUMNS, "named"])
    return _adjusted(table)[list(COLUMNS)]


def _contrast_rows(
    given: ReportInput, contrast: Mapping[str, Any], overlaps: Mapping[tuple[str, str], str]
) -> Iterator[dict[str, Any]]:
    backbones = dict.fromkeys(cell.backbone for cell in given.cells)
    for backbone in backbones:
        for evaluation, metrics in given.metrics.items():
            arms = _cells(given.cells, backbone, contrast["arm"], evaluation)
            references = _cells(given.cells, backbone, contrast["reference"], evaluation)
            pairs = paired(arms, references)
            if not pairs:
                continue
            target = next(iter(arms.values())).trained_target
            languages = [lang for (name, lang) in next(iter(arms.values())).scored if name == evaluation]
            for metric in (name for name in metrics if name in METRICS):
                head = {
                    "contrast": contrast["name"], "backbone": backbone, "arm": contrast["arm"],
                    "reference": contrast["reference"], "evaluation": evaluation, "metric": metric,
                    "n_seeds": len(pairs), "named": not contrast["implicit"],
                    "same_data": "same-data" in (overlaps.get((contrast[side], target)) for side in ("arm", "reference")),
                }  # fmt: skip
                per_language = {
                    language: [_difference(a, r, evaluation, language, metric) for a, r in pairs.values()]
                    for language in languages
                }
                scored = next(iter(arms.values())).scored
                counts = {language: len(scored[evaluation, language].ids) for language in languages}
                for language, found in per_language.items():
                    effect = interval([value for value, _ in found], _example_variance([found]), list(pairs))
                    yield _row(head, language, effect, counts[language])
                averaged = given.averaged(evaluation, languages)
                means = [float(np.mean([per_language[lang][s][0] for lang in averaged])) for s in range(len(pairs))]
                effect = interval(means, _example_variance([per_language[lang] for lang in averaged]), list(pairs))
                examples = sum(counts[language] for language in averaged)
                yield _row(head, AVERAGE, effect, examples) | _bootstrap(pairs, averaged, evaluation, metric)


def _bootstrap(
    pairs: Mapping[Pair, tuple[Cell, Cell]], languages: Sequence[str], evaluation: str, metric: str
) -> dict[str, float | None]:
    """The second interval of an average where seeds are many, else nothing."""
    if len(pairs) < FEWEST_SEEDS:
        return {"bootstrap_low": None, "bootstrap_high": None}

    def scored(cell: Cell) -> dict[str, Scored]:
        return {language: cell.scored[evaluation, language] for language in languages}

    arms, references = [scored(a) for a, _ in pairs.values()], [scored(r) for _, r in pairs.values()]
    low, high = bootstrap_interval(arms, references, list(pairs), metric, LEVEL)
    return {"bootstrap_low": low, "bootstrap_high": high}


def _row(head: Mapping[str, Any], language: str, found: Interval, examples: int) -> dict[str, Any]:
    return {
        **head, "language": language, "effect": found.effect, "ci_low": found.low, "ci_high": found.high,
        "ci_method": found.method, "p": found.p, "p_adjusted": None, "n_examples": examples,
        "bootstrap_low": None, "bootstrap_high": None,
    }  # fmt: skip


def _cells(cells: Sequence[Cell], backbone: str, arm: str, evaluation: str) -> dict[Pair, Cell]:
    return {
        (cell.seed_intermediate, cell.seed_target): cell
        for cell in cells
        if cell.backbone == backbone and cell.arm == arm and any(name == evaluation for name, _ in cell.scored)
    }


def paired(arms: Mapping[Pair, Cell], references: Mapping[Pair, Cell]) -> dict[Pair, tuple[Cell, Cell]]:
    """Cells of equal seeds; a seed that one side does not have (None) meets all of the other's."""

    def meet(a: int | None, b: int | None) -> bool:
        return a is None or b is None or a == b

    return {
        seeds: (cell, other)
        for seeds, cell in arms.items()
        for others, other in references.items()
        if meet(seeds[0], others[0]) and meet(seeds[1], others[1])
    }


Difference = tuple[float, dict[str, float]]


def _difference(arm: Cell, reference: Cell, evaluation: str, language: str, metric: str) -> Difference:
    """(effect, cluster → its influence on the effect) of one pair of cells."""
    one, other = arm.scored[evaluation, language], reference.scored[evaluation, language]
    if list(one.ids) != list(other.ids):
        raise ValueError(f"{evaluation} {language}: {arm.arm} and {reference.arm} were not scored on the same examples")
    moved = one.influence(metric) - other.influence(metric)
    clusters: dict[str, float] = {}
    for cluster, value in zip(one.clusters, moved.tolist(), strict=True):
        clusters[cluster] = clusters.get(cluster, 0.0) + value
    return one.value(metric) - other.value(metric), clusters


def _example_variance(languages: Sequence[Sequence[Difference]]) -> tuple[float, int]:
    """(variance of the effect over examples, clusters): influences averaged over seeds, then over languages; a cluster
    that occurs in several languages is one."""
    total: dict[str, float] = {}
    for found in languages:
        for _, clusters in found:
            for cluster, value in clusters.items():
                total[cluster] = total.get(cluster, 0.0) + value / len(found) / len(languages)
    count = len(total)
    values: Array = np.fromiter(total.values(), dtype=np.float64)
    return (float((values**2).sum()) * count / (count - 1) if count > 1 else 0.0), count


def seed_variance(effects: Sequence[float], pairs: Sequence[Pair]) -> tuple[float, int, str]:
    """(variance of the mean effect over seeds, degrees of freedom, what it is conditional on)."""
    values = np.asarray(effects)
    firsts, seconds = ({pair[k] for pair in pairs} for k in (0, 1))
    if len(values) < 2:
        return 0.0, 0, "conditional on the seed"
    crossed = len(firsts) > 1 and len(seconds) > 1 and len(values) == len(firsts) * len(seconds)
    if not crossed:
        conditional = "conditional on the intermediate seed" if firsts != {None} and len(firsts) == 1 else ""
        return float(values.var(ddof=1)) / len(values), len(values) - 1, conditional
    parts = []
    for k, group in ((0, firsts), (1, seconds)):
        means = [np.mean([v for v, pair in zip(values, pairs, strict=True) if pair[k] == seed]) for seed in group]
        parts.append((float(np.var(means, ddof=1)) / len(means), len(means) - 1))
    total = sum(variance for variance, _ in parts)
    return total, max(1, round(satterthwaite(parts))), ""


def satterthwaite(parts: Sequence[tuple[float, int]]) -> float:
    """Degrees of freedom of a sum of variances (variance, degrees of freedom)."""
    total = sum(variance for variance, _ in parts)
    bottom = sum(variance**2 / freedom for variance, freedom in parts if freedom > 0)
    return total**2 / bottom if bottom else float(max(freedom for _, freedom in parts))


def interval(effects: Sequence[float], examples: tuple[float, int], pairs: Sequence[Pair]) -> Interval:
    """The mean effect with its t interval; see the module's text."""
    effect = float(np.mean(effects))
    seeds, freedom, conditional = seed_variance(effects, pairs)
    parts = [(examples[0], max(1, examples[1] - 1))] + ([(seeds, freedom)] if freedom else [])
    deviation = (seeds + examples[0]) ** 0.5
    df = satterthwaite(parts)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, df)) * deviation
    method = f"t, Satterthwaite df {df:.1f}" + (f", {conditional}" if conditional else "")
    p = None
    if freedom:
        p = float(2 * stats.t.sf(abs(effect) / deviation, df)) if deviation else (1.0 if effect == 0 else 0.0)
    return Interval(effect, effect - half, effect + half, method, p)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p values."""
    order = np.argsort(values)
    adjusted, running = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, values[index] * (len(values) - rank)))
        adjusted[index] = running
    return adjusted


def _adjusted(table: pd.DataFrame) -> pd.DataFrame:
    """p_adjusted: Holm over the plan's named contrasts (averages), Benjamini-Hochberg over everything else."""
    tested = table["p"].notna()
    family = tested & table["named"].astype(bool) & (table["language"] == AVERAGE)
    table["p_adjusted"] = np.nan
    if family.any():
        table.loc[family, "p_adjusted"] = holm(table.loc[family, "p"].astype(float).tolist())
    rest = tested & ~family
    if rest.any():
        table.loc[rest, "p_adjusted"] = stats.false_discovery_control(table.loc[rest, "p"].astype(float).to_numpy())
    table["p"] = table["p"].astype("Float64")
    table["p_adjusted"] = table["p_adjusted"].astype("Float64")
    return table
