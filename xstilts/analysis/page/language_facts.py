"""Facts about languages beside their effects: family, script, data seen, tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xstilts.analysis.inputs import ReportInput
from xstilts.tasks.languages import LANGUAGES
from xstilts.tasks.registry import TASKS

#: Where the facts come from, for the page.
SOURCES = (
    "GiB in CC-100: Conneau et al. 2020, “Unsupervised Cross-lingual Representation Learning at "
    "Scale”, Table 6; a language without data there is unseen by XLM-R. LLaVA and Qwen-VL publish "
    "no sizes by language, so for them it is a proxy of a language's data. Tokens: measured in "
    "this run, on test sets whose examples are translations of each other, relative to English."
)


def fact(code: str) -> dict[str, Any]:
    """Name, family, script and CC-100 size of a language; a code that is unknown names itself."""
    language = LANGUAGES.get(code)
    if language is None:
        return {"code": code, "name": code, "family": "unknown", "script": "unknown", "cc100": None}
    return {
        "code": code,
        "name": language.name,
        "family": language.family.removeprefix("IE:"),
        "script": language.script,
        "cc100": language.cc100,
    }


def by_family(codes: Sequence[str]) -> list[dict[str, Any]]:
    """The languages ordered by family and name, families with the most languages first."""
    facts = [fact(code) for code in dict.fromkeys(codes)]
    sizes = pd.Series([entry["family"] for entry in facts]).value_counts().to_dict()
    return sorted(facts, key=lambda each: (-sizes[each["family"]], each["family"], each["name"]))


def by_size(codes: Sequence[str]) -> list[dict[str, Any]]:
    """The languages with the most pretraining data first; `size` is the text of a class."""
    facts = [{**fact(code), "size": _size(fact(code)["cc100"])} for code in dict.fromkeys(codes)]
    return sorted(facts, key=lambda entry: (-(entry["cc100"] or 0.0), entry["name"]))


def _size(cc100: float | None) -> str:
    if cc100 is None:
        return "unseen"
    bounds = ((100, "≥ 100 GiB"), (30, "30 to 100 GiB"), (10, "10 to 30 GiB"), (3, "3 to 10 GiB"))
    return next((text for bound, text in bounds if cc100 >= bound), "< 3 GiB")


def relative_tokens(report: ReportInput) -> dict[tuple[str, str], float]:
    """(backbone, language) → tokens per example relative to English, the mean over test sets whose
    examples are translations of each other.

    It measures what a tokenizer spends on the same content (Petrov et al. 2023).
    """
    per_row: dict[tuple[str, str, str], float] = {}
    for record in report.steps.values():
        task = TASKS.get(record.name)
        if record.kind == "encode" and task is not None and task.parallel and record.rows:
            per_row[record.backbone, record.name, record.language] = record.tokens / record.rows
    ratios: dict[tuple[str, str], list[float]] = {}
    for (backbone, name, language), tokens in per_row.items():
        english = per_row.get((backbone, name, "en"))
        if english:
            ratios.setdefault((backbone, language), []).append(tokens / english)
    return {key: float(np.mean(values)) for key, values in ratios.items()}


def covariate_rows(
    effects: pd.DataFrame, tokens: Mapping[tuple[str, str], float]
) -> list[dict[str, Any]]:
    """One row per backbone and language: the mean effect over evaluations, and the facts.

    effects: rows of single languages in the official metrics of one contrast.
    """
    means = effects.groupby(["backbone", "language"], sort=False)["effect"].mean()
    return [
        {
            "backbone": backbone,
            "language": language,
            "effect": round(float(effect), 3),
            "script": facts["script"],
            "family": facts["family"],
            "name": facts["name"],
            "cc100": facts["cc100"],
            "tokens": tokens.get((backbone, language)),
        }
        for (backbone, language), effect in means.items()
        for facts in [fact(language)]
    ]
