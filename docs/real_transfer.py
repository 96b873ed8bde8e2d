"""Writes the tables of real-transfer.md, and their numbers to real-transfer.json, from a run of
pipelines/plans/real-transfer.yaml.

    python docs/real_transfer.py REPORT MIRROR

REPORT is the report folder of the run, MIRROR the mirror that it read. Without arguments the tables
are written again from real-transfer.json.
"""

import json
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from xstilts.data.records import make_records
from xstilts.plan.expand import expand
from xstilts.plan.load import load_plan
from xstilts.scoring.metrics import METRICS, ratio_value
from xstilts.sources.mirrors import open_mirror
from xstilts.tasks.registry import TASKS

PAGE = Path(__file__).with_name("real-transfer.md")
PLAN = Path(__file__).parents[1] / "pipelines" / "plans" / "real-transfer.yaml"
NUMBERS = Path(__file__).with_name("real-transfer.json")
#: Evaluation → its metrics on the page.
SHOWN = {
    "xnli": ("accuracy",),
    "xquad": ("squad_f1", "squad_em"),
    "udpos": ("udpos_f1", "token_accuracy"),
    "wikiann": ("ner_f1",),
    "tatoeba": ("retrieval_accuracy",),
}
NAMES = {
    "accuracy": "accuracy", "squad_f1": "F1", "squad_em": "exact match", "udpos_f1": "chunk F1",
    "token_accuracy": "token accuracy", "ner_f1": "F1", "retrieval_accuracy": "accuracy",
}  # fmt: skip
TITLES = {
    "xnli": "XNLI", "xquad": "XQuAD", "udpos": "UD-POS", "wikiann": "WikiANN", "tatoeba": "Tatoeba",
}  # fmt: skip
NOT_RUN = "*Not in the recorded run.*"
REPLICATES, LEVEL = 2000, 0.95
ARMS = ("none", "snli", "snli-shuffled")
FREQUENT = "frequent tag"
#: Tag for words that no training row has.
UNSEEN = {"udpos": "NOUN", "wikiann": "O"}


def numbers(report: Path, mirror: Path) -> dict[str, Any]:
    """The content of real-transfer.json: scores, effects and controls of a report."""
    results = pd.read_parquet(report / "results.parquet")
    scores: list[dict[str, Any]] = []
    for evaluation, metrics in SHOWN.items():
        path = report / "predictions" / f"{evaluation}.parquet"
        if not path.is_file():
            continue
        rows = pd.read_parquet(path)
        for arm, of_arm in rows.groupby("arm", sort=True):
            for metric in metrics:
                made = _scores(of_arm, evaluation, str(arm), metric)
                _compare(results, made)
                scores += made
        if evaluation in UNSEEN:
            scores += _frequent_tags(evaluation, rows, mirror)
    summary = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    effects = pd.read_parquet(report / "effects.parquet")
    effects = effects[
        (effects.evaluation == "xnli") & effects.language.isin(["en", "non_en", "gap"])
        & (effects.metric == "accuracy")
    ]  # fmt: skip
    columns = ["contrast", "language", "effect", "ci_low", "ci_high", "ci_method", "n_examples"]
    return {
        "scores": [_rounded(row) for row in scores],
        "effects": [_rounded(row) for row in effects[columns].to_dict("records")],
        "controls": summary["controls"],
    }


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}


def _scores(rows: pd.DataFrame, evaluation: str, arm: str, metric: str) -> list[dict[str, Any]]:
    """Score, rows and bounds of each language, and of `non_en`, the mean over the languages other
    than English.

    Bounds: percentiles of the metric over samples of clusters with replacement. Translations of a
    row are one cluster, so one sample serves all languages of a mean.
    """
    metric_of, parts = METRICS[metric], {}
    for language, group in rows.groupby("language", sort=True):
        predictions, golds = ([json.loads(v) for v in group[c]] for c in ("prediction", "gold"))
        ratio = metric_of.ratio(metric_of.counts(predictions, golds, str(language)))
        parts[str(language)] = (ratio, list(group["cluster"]))
    values = {language: ratio_value(ratio.sum(0)) for language, (ratio, _) in parts.items()}
    sizes = {language: len(ratio) for language, (ratio, _) in parts.items()}
    bounds = {language: _percentiles(_draws([part])[:, 0]) for language, part in parts.items()}
    others = [language for language in parts if language != "en"]
    values["non_en"] = float(np.mean([values[language] for language in others]))
    sizes["non_en"] = sum(sizes[language] for language in others)
    bounds["non_en"] = _percentiles(_draws([parts[language] for language in others]).mean(1))
    return [
        {
            "evaluation": evaluation, "arm": arm, "metric": metric, "language": language,
            "n": sizes[language], "value": value,
            "low": bounds[language][0], "high": bounds[language][1],
        }
        for language, value in values.items()
    ]  # fmt: skip


def _percentiles(values: Any) -> tuple[float, float]:
    low, high = np.quantile(values, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)


def _draws(parts: Sequence[tuple[Any, Sequence[str]]]) -> Any:
    """[replicates, parts]: the metric of each part (ratios of its rows, their clusters) in each
    sample of clusters.
    """
    names = {name: None for _, clusters in parts for name in clusters}
    index = {name: place for place, name in enumerate(names)}
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(index), np.full(len(index), 1 / len(index)), REPLICATES)
    values = []
    for ratio, clusters in parts:
        table = np.zeros((len(index), 2))
        np.add.at(table, [index[name] for name in clusters], ratio)
        values.append(ratio_value(weights @ table))
    return np.stack(values, axis=1)


def _compare(results: pd.DataFrame, scores: Sequence[Mapping[str, Any]]) -> None:
    """ValueError unless the report's own table has the same scores."""
    keys = ["evaluation", "arm", "metric", "language"]
    table = results[results.checkpoint == "selected"].set_index(keys)["value"]
    for score in scores:
        value = table.loc[tuple(score[key] for key in keys)]
        if abs(value - score["value"]) > 1e-6:
            raise ValueError(f"results.parquet has {value} instead of {score}")


def _frequent_tags(evaluation: str, rows: pd.DataFrame, mirror: Path) -> list[dict[str, Any]]:
    """Scores of a tagger without a model: the most frequent tag of a word form in the English
    training rows, and one fixed tag for forms that these lack.
    """
    [target] = TASKS[evaluation].trained_target or ()
    records = _records(mirror, {evaluation, target})
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for tokens, tags in records[target, "train", "en"]:
        for token, tag in zip(tokens, tags, strict=True):
            seen[token][tag] += 1
    best = {token: tags.most_common(1)[0][0] for token, tags in seen.items()}
    parts = []
    for language, of_language in rows.groupby("language", sort=True):
        sentences = records[evaluation, "test", str(language)]
        if [json.loads(gold) for gold in of_language["gold"]] != [tags for _, tags in sentences]:
            raise ValueError(f"{mirror}: other rows of {evaluation} {language} than in the report")
        tagged = [[best.get(t, UNSEEN[evaluation]) for t in tokens] for tokens, _ in sentences]
        parts.append(of_language.assign(prediction=[json.dumps(tags) for tags in tagged]))
    table = pd.concat(parts)
    return [
        row for metric in SHOWN[evaluation] for row in _scores(table, evaluation, FREQUENT, metric)
    ]


Sentences = list[tuple[list[str], list[str]]]


def _records(mirror: Path, tasks: set[str]) -> dict[tuple[str, str, str], Sentences]:
    """(task, split, language) → (tokens, tags) of each sentence that the plan reads."""
    opened = open_mirror(str(mirror))
    expansion = expand(load_plan(PLAN), opened, {})
    records = {}
    for step in expansion.steps.values():
        if step.kind == "records" and step.spec["task"] in tasks:
            with tempfile.TemporaryDirectory() as folder:
                files, _ = make_records(step, opened, Path(folder))
                table = pq.read_table(files["records.parquet"], columns=["tokens", "tags"])
            key = (step.spec["task"], step.spec["split"], step.spec["language"])
            records[key] = [(row["tokens"], row["tags"]) for row in table.to_pylist()]
    return records


def tables(content: Mapping[str, Any]) -> dict[str, str]:
    """Name → Markdown table, from the content of real-transfer.json."""
    scores = {
        (row["evaluation"], row["arm"], row["metric"], row["language"]): row
        for row in content["scores"]
    }
    return {
        "summary": _summary(scores),
        "controls": _controls(content),
        "xnli": _by_language(scores, "xnli", [(a, "accuracy", a) for a in ARMS]),
        "xquad": _by_language(scores, "xquad", [("none", m, NAMES[m]) for m in SHOWN["xquad"]]),
        "udpos": _by_language(
            scores,
            "udpos",
            [
                ("none", "udpos_f1", "chunk F1"),
                ("none", "token_accuracy", "token accuracy"),
                (FREQUENT, "token_accuracy", "token accuracy, frequent tag"),
            ],
        ),
        "wikiann": _by_language(
            scores, "wikiann", [("none", "ner_f1", "F1"), (FREQUENT, "ner_f1", "F1, frequent tag")]
        ),
        "tatoeba": _by_language(scores, "tatoeba", [("none", "retrieval_accuracy", "accuracy")]),
    }


Scores = Mapping[tuple[str, str, str, str], Mapping[str, Any]]


def _summary(scores: Scores) -> str:
    lines = []
    for evaluation, metrics in SHOWN.items():
        arms = dict.fromkeys(arm for e, arm, _, _ in scores if e == evaluation)
        for metric in metrics:
            for arm in arms:  # none if the evaluation was not run
                mean = scores[evaluation, arm, metric, "non_en"]
                english = scores.get((evaluation, arm, metric, "en"))
                languages = [
                    language
                    for e, a, m, language in scores
                    if (e, a, m) == (evaluation, arm, metric) and language not in ("en", "non_en")
                ]
                lines.append([
                    TITLES[evaluation], NAMES[metric], arm, _cell(english), str(len(languages)),
                    _cell(mean),
                ])  # fmt: skip
    head = ["evaluation", "metric", "arm", "English", "other languages", "their mean"]
    return _table(head, lines)


def _controls(content: Mapping[str, Any]) -> str:
    if not content["effects"]:
        return NOT_RUN
    names = {"en": "English", "non_en": "mean of the others", "gap": "gap"}
    lines = [
        [str(row["contrast"]), names[row["language"]], _effect(row)] for row in content["effects"]
    ]
    lines += [
        [f"{row['kind']} control: {row['arm']} minus none", "mean of all", _effect(row)]
        for row in sorted(content["controls"], key=lambda row: row["kind"], reverse=True)
    ]
    return _table(["contrast on XNLI", "language", "effect"], lines)


def _effect(row: Mapping[str, Any]) -> str:
    return f"{row['effect']:+.1f} ({row['ci_low']:+.1f} to {row['ci_high']:+.1f})"


def _by_language(scores: Scores, evaluation: str, columns: Sequence[tuple[str, str, str]]) -> str:
    arm, metric, _ = columns[0]
    languages = [code for e, a, m, code in scores if (e, a, m) == (evaluation, arm, metric)]
    if not languages:
        return NOT_RUN
    ordered = sorted(languages, key=lambda code: (code == "non_en", code != "en", code))
    lines = [
        [
            "mean without en" if code == "non_en" else code,
            f"{scores[evaluation, arm, metric, code]['n']:,}",
            *(_cell(scores.get((evaluation, a, m, code))) for a, m, _ in columns),
        ]
        for code in ordered
    ]
    return _table(["language", "rows", *(title for _, _, title in columns)], lines)


def _cell(score: Mapping[str, Any] | None) -> str:
    return f"{score['value']:.1f} ({score['low']:.1f}–{score['high']:.1f})" if score else "–"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def with_tables(page: str, made: Mapping[str, str]) -> str:
    """The page with every marked table replaced."""

    def replaced(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n\n{made[match[1]]}\n\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", replaced, page, flags=re.S)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        found = numbers(Path(sys.argv[1]), Path(sys.argv[2]))
        NUMBERS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    elif len(sys.argv) != 1:
        raise SystemExit(__doc__)
    content = json.loads(NUMBERS.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_tables(page, tables(content)), encoding="utf-8")
