"""Reports all problems of a submission at once.

Most problems can be found without labels: the registry has the labels of each task and, if a source
states it, the size of its test sets. The official script checks none of this; it scores invalid
entries as 0 or crashes.
"""

import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, NamedTuple

from xstilts.errors import DataError, PlanError
from xstilts.official import read
from xstilts.official.grade import score_language
from xstilts.official.layout import TABLES, Official
from xstilts.tasks.registry import TASKS

CANDIDATES = 20
XCOPA_CHOICES = 2
#: Digits of the number in a sentence id, such as `de-000413461` (google-research/xtreme
#: mock_test_data/labels/bucc2018).
BUCC_DIGITS = 9


def validate(
    predictions: Path, benchmark: str = "xtreme-r", labels: Path | None = None
) -> list[str]:
    """The problems of a folder of predictions; empty if it can be submitted.

    Problems are missing tasks, languages and files; files that cannot be read, have invalid or
    duplicate entries, or another number of rows than the test set; and with labels, files that do
    not match them, and duplicates in the labels.

    Args:
        predictions: the folder.
        benchmark: xtreme or xtreme-r.
        labels: a folder with labels.
    """
    if benchmark not in TABLES:
        raise PlanError(f"unknown benchmark {benchmark!r}; allowed: {', '.join(TABLES)}")
    problems = []
    for task in TABLES[benchmark].values():
        if not (predictions / task.name).is_dir():
            problems.append(f"{task.name}: no folder")
            continue
        problems += _problems(task, predictions, labels)
    return problems


def rows(task: Official, language: str) -> int | None:
    """The number of rows of a language's test set; None if no source states it."""
    definition = TASKS[task.evaluation]
    # If one file contains all languages (TyDiQA), the size of the split is that of all of them.
    shared = None if definition.splits["test"].id_prefixes else definition.sizes.get("test")
    return definition.sizes.get(f"test:{language}", shared)


def _problems(task: Official, predictions: Path, labels: Path | None) -> Iterator[str]:
    kind = _KINDS[task.kind]
    for language in task.languages:
        path = predictions / task.file(language)
        try:
            content = kind.read(path)
        except DataError as error:
            yield str(error)
            continue
        if not content:
            yield f"{path}: has no {kind.what}"
            continue
        size = rows(task, language)
        if size is not None and len(content) != size:
            plural = "s" * (len(content) != 1)
            yield f"{path}: {len(content):,} {kind.what}{plural}, and the test set has {size:,}"
        yield from _duplicate_keys(task, path)
        if faults := [*kind.faults(task, language, content)]:
            yield f"{path}:{faults[0]}{_more(faults)}"
        if labels is not None:
            yield from _against(task, path, labels / task.file(language), language)


def _duplicate_keys(task: Official, path: Path) -> Iterator[str]:
    """The official script uses the last value of a duplicate key."""
    if task.kind not in ("answers", "rankings", "objects"):
        return
    if keys := read.duplicate_keys(path, by_line=task.kind == "objects"):
        line, key = keys[0]
        yield f"{path}:{f'{line}:' if line else ''} duplicate key {key!r}{_more(keys)}"


def _against(task: Official, path: Path, labels: Path, language: str) -> Iterator[str]:
    """Problems that prevent scoring, ids that only one side has (ignored by the official script),
    and duplicates in the labels (counted by it).
    """
    try:
        score_language(task, path, labels, language)
    except DataError as error:
        yield str(error)
        return
    yield from _duplicate_keys(task, labels)
    if task.kind in ("answers", "rankings"):
        predicted = read.mapping(path).keys()
        right = (
            [name for name, _ in read.questions(labels)]
            if task.kind == "answers"
            else [*read.rankings(labels)]
        )
        if again := [name for name, count in Counter(right).items() if count > 1]:
            yield f"{labels}: duplicate question id {again[0]!r}{_more(again)}"
        for lost, where in (
            (set(right) - predicted, f"of {labels} is not answered"), (predicted - set(right),
            f"is not in {labels}"),
        ):  # fmt: skip
            if lost:
                yield f"{path}: {min(lost)} {where}{_more(lost)}"


def _more(faults: Sized) -> str:
    """The number of further problems after the one that is shown."""
    return f" (and {len(faults) - 1:,} more)" if len(faults) > 1 else ""


class _Allowed(NamedTuple):
    """The allowed values of a line, and their description for errors."""

    values: Container[str]
    words: str


def _allowed(task: Official, language: str) -> _Allowed:
    """Values are texts, since the official script compares texts: `01` is not 1."""
    if task.name == "tatoeba":
        size = rows(task, language) or 0
        return _Allowed(
            {str(place) for place in range(size)}, f"an integer between 0 and {size - 1}"
        )
    names = TASKS[task.evaluation].labels
    if task.kind == "labels" and task.name != "xnli":
        names = tuple(str(number) for number in range(len(names)))
    return _Allowed(names, f"one of {', '.join(names)}")


def _labels(task: Official, language: str, content: Sequence[str]) -> Iterator[str]:
    values, words = _allowed(task, language)
    return (
        f"{number}: {label[:60]!r} is not {words}"
        for number, label in enumerate(content, 1)
        if label not in values
    )


def _objects(task: Official, language: str, content: Sequence[int | float]) -> Iterator[str]:
    top = XCOPA_CHOICES - 1
    for number, label in enumerate(content, 1):
        if type(label) is not int:
            yield f"{number}: label {label!r} is not an integer"
        elif not 0 <= label <= top:
            yield f"{number}: label {label} is not between 0 and {top}"


def _tags(task: Official, language: str, content: Sequence[Sequence[str]]) -> Iterator[str]:
    values, words = _allowed(task, language)
    for number, sentence in enumerate(content, 1):
        if not sentence:
            yield f" sentence {number} has no tag"
        yield from (
            f" sentence {number}: {tag[:60]!r} is not {words}"
            for tag in sentence
            if tag not in values
        )


def _rankings(task: Official, language: str, content: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, ranked in content.items():
        if len(ranked) != CANDIDATES:
            yield f" {name} needs {CANDIDATES} candidates, and has {len(ranked)}"
        elif again := [candidate for candidate, count in Counter(ranked).items() if count > 1]:
            yield f" {name} has the duplicate candidate {again[0]}"
        elif padded := [candidate for candidate in ranked if candidate != candidate.strip()]:
            yield f" {name} has white space around the candidate {padded[0]!r}"


def _pairs(task: Official, language: str, content: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The ids of the shared task: the language's sentence first, then the English one."""
    first: dict[tuple[str, str], int] = {}
    for number, pair in enumerate(content, 1):
        for name, side in zip(pair, (language, "en"), strict=True):
            if not re.fullmatch(f"{side}-[0-9]{{{BUCC_DIGITS}}}", name):
                yield f"{number}: {name[:60]!r} is not an id like {side}-{1:0{BUCC_DIGITS}}"
                break
        if first.setdefault(pair, number) != number:
            yield f"{number}: duplicate of the pair on line {first[pair]}"


def _nothing(task: Official, language: str, content: Any) -> Iterator[str]:
    """The reader of answers checks everything."""
    return iter(())


class _Kind(NamedTuple):
    """The reader of a file, the name of its entries, and its invalid entries: `<line>: …` or ` <id>
    …`.
    """

    read: Callable[[Path], Any]
    what: str
    faults: Callable[[Official, str, Any], Iterator[str]]


_KINDS: Mapping[str, _Kind] = {
    "labels": _Kind(read.lines, "line", _labels),
    "objects": _Kind(read.objects, "line", _objects),
    "tags": _Kind(read.sentences, "sentence", _tags),
    "answers": _Kind(read.answers, "answer", _nothing),
    "rankings": _Kind(read.rankings, "ranking", _rankings),
    "pairs": _Kind(read.pairs, "pair", _pairs),
}
