"""What is behind each number of the heat map: languages, seeds, examples, steps, cost."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xstilts.analysis.effects import cells_of, confidence
from xstilts.analysis.estimands import AVERAGE, GAP, NON_ENGLISH, paired
from xstilts.analysis.inputs import Array, ReportInput, Scored
from xstilts.analysis.page.language_facts import fact
from xstilts.analysis.page.seed_effects import SeedEffects, seed_text
from xstilts.analysis.result_texts import clear, p_text
from xstilts.analysis.step_records import StepRecord
from xstilts.scoring.metrics import METRICS

#: Languages whose examples a cell shows, and examples per language.
SAMPLE_LANGUAGES, SAMPLE_EXAMPLES = 2, 1
#: Cells with examples, those with the largest effects. Each reads the texts of its step.
SAMPLED_CELLS = 150
#: Characters of an answer that are shown.
MOST_TEXT = 140

Key = tuple[str, str, str]


def cell_details(
    report: ReportInput, effects: pd.DataFrame, seeds: SeedEffects, shown: Sequence[Key]
) -> list[dict[str, Any]]:
    """The details of each number, in the order of `shown`: (backbone, arm, evaluation).

    Args:
        report: the report's input.
        effects: the table of effects.
        seeds: effects by seed.
        shown: the numbers of the heat map.
    """
    alpha = 1 - confidence(report)
    rows = _effects_by_cell(report, effects)
    costs = _steps_by_cell(report)
    by_size = sorted(shown, key=lambda key: -abs(rows[key][AVERAGE]["effect"]))
    sampled = set(by_size[:SAMPLED_CELLS])
    details = []
    for key in shown:
        backbone, arm, evaluation = key
        by_language = rows[key]
        contrast = {"arm": arm, "reference": "none"}
        by_seed = seeds.of(contrast, backbone, evaluation).get(AVERAGE, {})
        steps = costs.get(key, [])
        details.append(
            {
                "backbone": backbone,
                "arm": arm,
                "evaluation": evaluation,
                "metric": report.official_metrics[evaluation],
                "average": by_language[AVERAGE],
                "aggregates": [
                    {"name": name, **by_language[code]}
                    for code, name in ((NON_ENGLISH, "non-English"), (GAP, "gap"))
                    if code in by_language
                ],
                "languages": [
                    {**row, **fact(code), "clear": clear(row["p_adjusted"], alpha)}
                    for code, row in by_language.items()
                    if code not in (AVERAGE, NON_ENGLISH, GAP)
                ],
                "seeds": [
                    {"seed": seed_text(pair), "effect": effect} for pair, effect in by_seed.items()
                ],
                "examples": list(_examples(report, *key)) if key in sampled else [],
                "steps": steps,
                "seconds": sum(step.seconds for step in steps),
                "gpu_hours": sum(step.gpu_hours for step in steps),
                "p_text": p_text(by_language[AVERAGE]["p_adjusted"]),
            }
        )
    return details


def _effects_by_cell(
    report: ReportInput, effects: pd.DataFrame
) -> dict[Key, dict[str, dict[str, Any]]]:
    """(backbone, arm, evaluation) → language → effect against `none` in the official metric."""
    official = effects["evaluation"].map(report.official_metrics)
    rows = effects[(effects["reference"] == "none") & (effects["metric"] == official)]
    keys = ("effect", "ci_low", "ci_high", "p", "p_adjusted", "mde", "n_examples", "ci_method")
    cells: dict[Key, dict[str, dict[str, Any]]] = {}
    columns = ("backbone", "arm", "evaluation", "language", *keys)
    for backbone, arm, evaluation, language, *values in zip(
        *(rows[column].tolist() for column in columns), strict=True
    ):
        by_language = cells.setdefault((backbone, arm, evaluation), {})
        by_language.setdefault(language, dict(zip(keys, values, strict=True)))
    return cells


def _steps_by_cell(report: ReportInput) -> dict[Key, list[StepRecord]]:
    """(backbone, arm, evaluation) → its training and score steps."""
    steps: dict[Key, dict[str, StepRecord]] = {}
    for cell in report.expanded["cells"]:
        for evaluation, fingerprint in cell["scores"].items():
            of_cell = steps.setdefault((cell["backbone"], cell["arm"], evaluation), {})
            for each in (*cell["chain"], fingerprint):
                if each in report.steps:
                    of_cell[each] = report.steps[each]
    return {key: list(of_cell.values()) for key, of_cell in steps.items()}


def _examples(
    report: ReportInput, backbone: str, arm: str, evaluation: str
) -> Iterator[dict[str, Any]]:
    """Examples of the first pair of seeds that the arm and `none` score differently, from the
    languages with the most of them.
    """
    metric = report.official_metrics[evaluation]
    sides = [cells_of(report, backbone, name, evaluation) for name in (arm, "none")]
    pairs = paired(*sides)
    if not pairs or metric not in METRICS:
        return
    first, reference = next(iter(pairs.values()))
    candidates: list[tuple[str, Scored, Scored, Array]] = []
    for (name, language), scored in first.scored.items():
        base = reference.scored.get((name, language))
        if name != evaluation or base is None or len(base.ids) != len(scored.ids):
            continue
        difference = scored.ratio(metric)[:, 0] - base.ratio(metric)[:, 0]
        candidates.append((language, scored, base, difference))
    candidates.sort(key=lambda each: -int(np.count_nonzero(each[3])))
    for language, scored, base, difference in candidates[:SAMPLE_LANGUAGES]:
        better, worse = np.flatnonzero(difference > 0), np.flatnonzero(difference < 0)
        chosen = [*better[:SAMPLE_EXAMPLES], *worse[:SAMPLE_EXAMPLES]]
        if not chosen:
            continue
        span = slice(int(min(chosen)), int(max(chosen)) + 1)
        # One slice each: texts can be lazy, and each access reads a file.
        columns = [each[span] for each in (scored.golds, base.predictions, scored.predictions)]
        for index in chosen:
            gold, before, after = answer_texts(*(each[index - span.start] for each in columns))
            yield {
                "language": language,
                "id": clipped(str(scored.ids[index]), 60),
                "change": "better" if difference[index] > 0 else "worse",
                "gold": gold,
                "reference": before,
                "arm": after,
            }


def answer_texts(gold: Any, *answers: Any) -> list[str]:
    """A gold label and answers as short texts. Of sequences of equal length (tags), only positions
    where the answers differ.
    """
    values = [gold, *answers]
    sequences = [value for value in values if isinstance(value, list)]
    if len(sequences) == len(values) and len({len(value) for value in sequences}) == 1:
        places = [k for k in range(len(gold)) if len({str(answer[k]) for answer in answers}) > 1]
        return [clipped(", ".join(f"{k + 1}: {value[k]}" for k in places[:6])) for value in values]
    return [clipped(_text(value)) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " | ".join(dict.fromkeys(value)) or "(none)"
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        return " | ".join(dict.fromkeys(map(str, value["text"]))) or "(none)"
    return json.dumps(value, ensure_ascii=False)


def clipped(text: str, most: int = MOST_TEXT) -> str:
    """A text on one line, with an ellipsis where it was cut."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
