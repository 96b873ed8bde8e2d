"""Scores a folder in the official layout: per task and language, averages over languages, groups and the whole.

As google-research/xtreme evaluate.py does: an average is over languages, English included; a question answering task's
score is the mean of its averaged exact match and F1; the whole is the unweighted mean over tasks. Deviations, since the
official script cannot score XTREME-R whole: LAReQA is scored here (mAP@20 as utils_lareqa.py defines it), Mewsli-X and LAReQA
count among the ten tasks, and a whole over fewer tasks is given with their names instead of being left out.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xstilts.errors import DataError, PlanError
from xstilts.official import read
from xstilts.official.layout import TABLES, Official
from xstilts.scoring.metrics import METRICS

Scores = dict[str, float]


def grade(predictions: Path, labels: Path, benchmark: str = "xtreme-r") -> dict[str, Any]:
    """{tasks: {task: {languages: {language: {metric: 0..100}}, averages, score}}, groups, overall, over, missing}.

    A task without a folder on either side is named in `missing`; a language without a file as well, and its task's
    averages are over the others. DataError for a file that is not what the layout asks; PlanError for a benchmark that
    does not exist.
    """
    if benchmark not in TABLES:
        raise PlanError(f"no benchmark {benchmark!r}; allowed: {', '.join(TABLES)}")
    tasks: dict[str, Any] = {}
    missing: list[str] = []
    for task in TABLES[benchmark].values():
        if lost := [str(side) for side in (predictions, labels) if not (side / task.name).is_dir()]:
            missing.append(f"{task.name}: no folder in {' and '.join(lost)}")
            continue
        by_language: dict[str, Scores] = {}
        for language in task.languages:
            files = [side / task.file(language) for side in (predictions, labels)]
            if lost := [str(file) for file in files if not file.is_file()]:
                missing.append(f"{task.name} {language}: no {' and no '.join(lost)}")
                continue
            by_language[language] = score_language(task, files[0], files[1], language)
        if by_language:
            tasks[task.name] = _with_averages(task, by_language)
    if not tasks:
        raise DataError(
            f"{predictions}: nothing of {benchmark} is there; expected <task>/test-<language>.tsv|json|jsonl"
        )
    groups: dict[str, list[float]] = {}
    for name, found in tasks.items():
        groups.setdefault(TABLES[benchmark][name].group, []).append(found["score"])
    return {
        "benchmark": benchmark, "tasks": tasks, "groups": {name: _mean(values) for name, values in groups.items()},
        "overall": _mean([found["score"] for found in tasks.values()]), "over": list(tasks), "missing": missing,
    }  # fmt: skip


def score_language(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    """The official metrics of one language, 0..100. DataError when the two files do not belong together."""
    return _SCORERS[task.kind](task, predictions, labels, language)


def _value(metric: str, predicted: Sequence[Any], gold: Sequence[Any], language: str) -> float:
    one = METRICS[metric]
    return float(one.value(one.counts(predicted, gold, language).sum(0)))


def _labels(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    predicted, gold = read.lines(predictions), read.lines(labels)
    _same_length(predictions, len(predicted), labels, len(gold), "line")
    return {"accuracy": _value("accuracy", predicted, gold, language)}


def _objects(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    predicted, gold = read.objects(predictions), read.objects(labels)
    _same_length(predictions, len(predicted), labels, len(gold), "line")
    return {"accuracy": _value("accuracy", predicted, gold, language)}


def _tags(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    predicted, gold = read.sentences(predictions), read.sentences(labels)
    _same_length(predictions, len(predicted), labels, len(gold), "sentence")
    for number, (one, other) in enumerate(zip(predicted, gold, strict=True), 1):
        if len(one) != len(other):
            raise DataError(f"{predictions}: sentence {number} has {len(one)} tags, and {len(other)} in {labels}")
    return {"f1": _value("udpos_f1", predicted, gold, language)}


def _answers(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    predicted, gold = read.answers(predictions), read.questions(labels)
    prefix = "mlqa" if task.name == "mlqa" else "squad"
    if empty := [name for name, texts in gold.items() if not texts]:
        raise DataError(f"{labels}: the question {empty[0]} has no answer")
    if not gold:
        raise DataError(f"{labels}: has no question")
    answers = [predicted.get(name, "") for name in gold]  # an unanswered question scores 0 and counts
    answered = [name in predicted for name in gold]
    scores = {}
    for key, metric in (("exact_match", f"{prefix}_em"), ("f1", f"{prefix}_f1")):
        one = METRICS[metric]
        counts = one.ratio(one.counts(answers, list(gold.values()), language))
        scores[key] = 100.0 * sum(row[0] for row, there in zip(counts, answered, strict=True) if there) / len(gold)
    return scores


def _rankings(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    """mAP@20; a query that is not ranked scores 0 and counts. A mention of Mewsli-X has one entity: of several the official
    script would take the first."""
    predicted, gold = read.rankings(predictions), read.rankings(labels)
    if empty := [name for name, right in gold.items() if not right]:
        raise DataError(f"{labels}: {empty[0]} has no right candidate")
    if task.name == "mewslix" and (several := [name for name, right in gold.items() if len(right) > 1]):
        raise DataError(f"{labels}: {several[0]} needs one right candidate, and has {len(gold[several[0]])}")
    if not gold:
        raise DataError(f"{labels}: has no query")
    ranked = [predicted.get(name, []) for name in gold]
    return {"map@20": _value("map_at_20", ranked, list(gold.values()), language)}


def _pairs(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    predicted, gold = read.pairs(predictions), read.pairs(labels)
    if not gold:
        raise DataError(f"{labels}: has no pair")
    right = len(predicted & gold)
    return {"f1": 200.0 * right / (len(predicted) + len(gold)) if right else 0.0}


_SCORERS: Mapping[str, Callable[[Official, Path, Path, str], Scores]] = {
    "labels": _labels, "objects": _objects, "tags": _tags, "answers": _answers, "rankings": _rankings, "pairs": _pairs,
}  # fmt: skip


def _same_length(predictions: Path, count: int, labels: Path, right: int, what: str) -> None:
    if count != right:
        raise DataError(f"{predictions}: {count} {what}{'s' * (count != 1)}, and {right} in {labels}")
    if not right:
        raise DataError(f"{labels}: has no {what}")


def _with_averages(task: Official, by_language: Mapping[str, Scores]) -> dict[str, Any]:
    names = list(next(iter(by_language.values())))
    averages = {name: _mean([scores[name] for scores in by_language.values()]) for name in names}
    score = _mean([averages["exact_match"], averages["f1"]]) if task.kind == "answers" else averages[names[0]]
    return {"languages": dict(by_language), "averages": averages, "score": score}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
