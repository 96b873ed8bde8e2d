"""Scores a folder in the official layout: per task and language, per group, and in total.

As in google-research/xtreme evaluate.py (commit 838c13b), averages are over languages including
English; the score of a question answering task is the mean of its averaged exact match and F1; the
scores of groups and of the benchmark are unweighted means over tasks. `groups` and `all_task` are
official values, and only present if all their tasks and languages are. The official script computes
no total for XTREME-R and does not score LAReQA; such means have other names.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xstilts.errors import DataError, PlanError, counted
from xstilts.official import read
from xstilts.official.layout import GROUPS, TABLES, Official
from xstilts.scoring.metrics import METRICS

Scores = dict[str, float]


def grade(predictions: Path, labels: Path, benchmark: str = "xtreme-r") -> dict[str, Any]:
    """The scores of a submission, 0..100.

    - tasks: {task: {languages: {language: {metric: score}}, averages: {metric: score}, score}}
    - groups: {official name: score} of the complete groups
    - all_task: the official total, of XTREME only, or None
    - mean_of_present_tasks: over all tasks with a score, including LAReQA
    - present_tasks: their names
    - retrieval_with_lareqa: the mean of Tatoeba, Mewsli-X and LAReQA, or None
    - missing: tasks and languages without a file. A missing language is left out of the averages of
      its task, and the task out of its official groups.

    DataError, with line or key, for a file that the official script cannot score; PlanError for an
    unknown benchmark.

    Args:
        predictions: the folder of the submission.
        labels: a folder with labels in the same layout.
        benchmark: xtreme or xtreme-r.
    """
    if benchmark not in TABLES:
        raise PlanError(f"unknown benchmark {benchmark!r}; allowed: {', '.join(TABLES)}")
    tasks: dict[str, Any] = {}
    missing: list[str] = []
    for task in TABLES[benchmark].values():
        if lost := [str(side) for side in (predictions, labels) if not (side / task.name).is_dir()]:
            missing.append(f"{task.name}: no folder in {' and '.join(lost)}")
            continue
        by_language: dict[str, Scores] = {}
        for language in task.languages:
            files = [side / task.file(language) for side in (predictions, labels)]
            if lost := [str(file) for file in files if not file.exists()]:
                missing.append(f"{task.name} {language}: no {' and no '.join(lost)}")
                continue
            by_language[language] = score_language(task, files[0], files[1], language)
        if by_language:
            tasks[task.name] = _with_averages(task, by_language)
    if not tasks:
        raise DataError(
            f"{predictions}: no files of {benchmark}; expected "
            "<task>/test-<language>.tsv|json|jsonl"
        )
    complete = {
        name: task["score"]
        for name, task in tasks.items()
        if len(task["languages"]) == len(TABLES[benchmark][name].languages)
    }
    return {
        "benchmark": benchmark,
        "tasks": tasks,
        "groups": {
            group: _mean([complete[name] for name in names])
            for group, names in GROUPS[benchmark].items()
            if complete.keys() >= set(names)
        },
        "all_task": _mean_of(complete, tuple(TABLES[benchmark])) if benchmark == "xtreme" else None,
        "mean_of_present_tasks": _mean([task["score"] for task in tasks.values()]),
        "present_tasks": list(tasks),
        "retrieval_with_lareqa": _mean_of(complete, ("tatoeba", "mewslix", "lareqa")),
        "missing": missing,
    }


def _mean_of(scores: Mapping[str, float], names: Sequence[str]) -> float | None:
    """The mean over some tasks, or None if one has no score."""
    return _mean([scores[name] for name in names]) if scores.keys() >= set(names) else None


def score_language(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    """The official metrics of one language, 0..100. DataError if the two files do not match."""
    return _SCORERS[task.kind](task, predictions, labels, language)


def _value(metric: str, predicted: Sequence[Any], gold: Sequence[Any], language: str) -> float:
    definition = METRICS[metric]
    return float(definition.value(definition.counts(predicted, gold, language).sum(0)))


def _labels(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    predicted, gold = read.lines(predictions), read.lines(labels)
    _same_length(predictions, len(predicted), labels, len(gold), "line")
    return {"accuracy": _value("accuracy", predicted, gold, language)}


def _objects(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    predicted, gold = read.objects(predictions), read.objects(labels)
    _same_length(predictions, len(predicted), labels, len(gold), "line")
    return {"accuracy": _value("accuracy", predicted, gold, language)}


def _tags(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    """The official script compares only the number of sentences. DataError for a sentence with a
    different number of tags, which would shift all chunks after it.
    """
    predicted, gold = read.sentences(predictions), read.sentences(labels)
    _same_length(predictions, len(predicted), labels, len(gold), "sentence")
    line = 1  # each sentence has one line per tag and a blank line
    for number, (tags, right) in enumerate(zip(predicted, gold, strict=True), 1):
        if len(tags) != len(right):
            raise DataError(
                f"{predictions}:{line}: sentence {number} has {counted(len(tags), 'tag')}, and "
                f"{len(right)} in {labels}"
            )
        line += len(tags) + 1
    return {"f1": _value("udpos_f1", predicted, gold, language)}


def _answers(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    """Exact match and F1 over the entries of the label file. Entries with duplicate ids count
    again; entries without an answer score 0.
    """
    predicted, gold = read.answers(predictions), read.questions(labels)
    prefix = "mlqa" if task.name == "mlqa" else "squad"
    if empty := [name for name, texts in gold if not texts]:
        raise DataError(f"{labels}: the question {empty[0]} has no answer")
    if not gold:
        raise DataError(f"{labels}: has no question")
    answered = [(predicted[name], texts) for name, texts in gold if name in predicted]
    scores = {}
    for key, name in (("exact_match", f"{prefix}_em"), ("f1", f"{prefix}_f1")):
        metric = METRICS[name]
        counts = metric.counts(
            [text for text, _ in answered], [texts for _, texts in answered], language
        )
        scores[key] = 100.0 * float(metric.ratio(counts)[:, 0].sum()) / len(gold)
    return scores


def _rankings(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    """mAP@20; queries without a ranking score 0. A mention of Mewsli-X has one entity, whose id is
    stripped as in the official script; DataError for several, of which it would use the first.
    """
    predicted, gold = read.rankings(predictions), read.rankings(labels)
    if empty := [name for name, right in gold.items() if not right]:
        raise DataError(f"{labels}: {empty[0]} has no relevant candidate")
    if task.name == "mewslix":
        if several := [name for name, right in gold.items() if len(right) > 1]:
            raise DataError(
                f"{labels}: {several[0]} needs one relevant candidate, and has "
                f"{len(gold[several[0]])}"
            )
        gold = {name: [entity.strip() for entity in right] for name, right in gold.items()}
    if not gold:
        raise DataError(f"{labels}: has no query")
    ranked = [predicted.get(name, []) for name in gold]
    return {"map@20": _value("map_at_20", ranked, list(gold.values()), language)}


def _pairs(task: Official, predictions: Path, labels: Path, language: str) -> Scores:
    predicted, gold = set(read.pairs(predictions)), set(read.pairs(labels))
    if not gold:
        raise DataError(f"{labels}: has no pair")
    right = len(predicted & gold)
    return {"f1": 200.0 * right / (len(predicted) + len(gold)) if right else 0.0}


_SCORERS: Mapping[str, Callable[[Official, Path, Path, str], Scores]] = {
    "labels": _labels,
    "objects": _objects,
    "tags": _tags,
    "answers": _answers,
    "rankings": _rankings,
    "pairs": _pairs,
}


def _same_length(predictions: Path, count: int, labels: Path, right: int, what: str) -> None:
    if count != right:
        raise DataError(f"{predictions}: {counted(count, what)}, and {right} in {labels}")
    if not right:
        raise DataError(f"{labels}: has no {what}")


def _with_averages(task: Official, by_language: Mapping[str, Scores]) -> dict[str, Any]:
    names = list(next(iter(by_language.values())))
    averages = {name: _mean([scores[name] for scores in by_language.values()]) for name in names}
    score = (
        _mean([averages["exact_match"], averages["f1"]])
        if task.kind == "answers"
        else averages[names[0]]
    )
    return {"languages": dict(by_language), "averages": averages, "score": score}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
