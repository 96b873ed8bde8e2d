"""Everything that is wrong with a submission, at once.

What a file may say is known without its labels: the registry has each task's labels and, where a source states them, the
rows of its test set. The official script looks at none of this; it scores what is wrong as 0, or ends.
"""

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


def validate(predictions: Path, benchmark: str = "xtreme-r", labels: Path | None = None) -> list[str]:
    """The problems of a folder of predictions: tasks, languages and files that are missing, files that cannot be read,
    whose rows say what the task has no place for or are not as many as the test set's, and, with labels, those that do
    not fit them. Empty for a submission that can be sent in."""
    if benchmark not in TABLES:
        raise PlanError(f"no benchmark {benchmark!r}; allowed: {', '.join(TABLES)}")
    problems = []
    for task in TABLES[benchmark].values():
        if not (predictions / task.name).is_dir():
            problems.append(f"{task.name}: no folder")
            continue
        problems += _problems(task, predictions, labels)
    return problems


def rows(task: Official, language: str) -> int | None:
    """The rows of a language's test set; None where no source states them."""
    one = TASKS[task.evaluation]
    # Where one file holds all languages (TyDiQA), the size of the split is that of all together.
    if task.name == "udpos":  # the official preprocessing drops some sentences that the hub's copy has
        return None
    shared = None if one.splits["test"].id_prefixes else one.sizes.get("test")
    return one.sizes.get(f"test:{language}", shared)


def _problems(task: Official, predictions: Path, labels: Path | None) -> Iterator[str]:
    kind = _KINDS[task.kind]
    for language in task.languages:
        path = predictions / task.file(language)
        try:
            found = kind.read(path)
        except DataError as error:
            yield str(error)
            continue
        if not found:
            yield f"{path}: has no {kind.what}"
            continue
        wanted = rows(task, language)
        if wanted is not None and len(found) != wanted:
            yield f"{path}: {len(found):,} {kind.what}{'s' * (len(found) != 1)}, and the test set has {wanted:,}"
        if faults := [*kind.faults(task, language, found)]:
            yield f"{path}:{faults[0]}{_more(faults)}"
        if labels is not None:
            yield from _against(task, path, labels / task.file(language), language)


def _against(task: Official, path: Path, labels: Path, language: str) -> Iterator[str]:
    """What keeps a file from being scored, and the ids that only one side has: the official script passes over them."""
    try:
        score_language(task, path, labels, language)
    except DataError as error:
        yield str(error)
        return
    if task.kind in ("answers", "rankings"):
        told = read.mapping(path).keys()
        asked = (read.questions(labels) if task.kind == "answers" else read.rankings(labels)).keys()
        for lost, where in ((asked - told, f"of {labels} is not answered"), (told - asked, f"is not in {labels}")):
            if lost:
                yield f"{path}: {min(lost)} {where}{_more(lost)}"


def _more(faults: Sized) -> str:
    """How many there are besides the one that is named."""
    return f" (and {len(faults) - 1:,} more)" if len(faults) > 1 else ""


class _Allowed(NamedTuple):
    """What a line may say, and how a message puts it."""

    values: Container[str]
    words: str


def _allowed(task: Official, language: str) -> _Allowed:
    """Texts, since the official script compares them as such: `01` is not 1."""
    if task.name == "tatoeba":
        size = rows(task, language) or 0
        return _Allowed({str(place) for place in range(size)}, f"an integer between 0 and {size - 1}")
    names = TASKS[task.evaluation].labels
    if task.kind == "labels" and task.name != "xnli":
        names = tuple(str(number) for number in range(len(names)))
    return _Allowed(names, f"one of {', '.join(names)}")


def _labels(task: Official, language: str, found: Sequence[str]) -> Iterator[str]:
    values, words = _allowed(task, language)
    return (f"{n}: {one[:60]!r} is not {words}" for n, one in enumerate(found, 1) if one not in values)


def _objects(task: Official, language: str, found: Sequence[int]) -> Iterator[str]:
    top = XCOPA_CHOICES - 1
    return (f"{n}: label {one} is not between 0 and {top}" for n, one in enumerate(found, 1) if not 0 <= one <= top)


def _tags(task: Official, language: str, found: Sequence[Sequence[str]]) -> Iterator[str]:
    values, words = _allowed(task, language)
    for number, sentence in enumerate(found, 1):
        if not sentence:
            yield f" sentence {number} has no tag"
        yield from (f" sentence {number}: {tag[:60]!r} is not {words}" for tag in sentence if tag not in values)


def _rankings(task: Official, language: str, found: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, ranked in found.items():
        if len(ranked) != CANDIDATES:
            yield f" {name} needs {CANDIDATES} candidates, and has {len(ranked)}"
        elif again := [one for one, count in Counter(ranked).items() if count > 1]:
            yield f" {name} names the candidate {again[0]} again"


def _nothing(task: Official, language: str, found: Any) -> Iterator[str]:
    """Their reader has said it all."""
    return iter(())


class _Kind(NamedTuple):
    """How a file is read, what it is counted in, and what is wrong with what it says: `<line>: …`, or ` <id> …`."""

    read: Callable[[Path], Any]
    what: str
    faults: Callable[[Official, str, Any], Iterator[str]]


_KINDS: Mapping[str, _Kind] = {
    "labels": _Kind(read.lines, "line", _labels),
    "objects": _Kind(read.objects, "line", _objects),
    "tags": _Kind(read.sentences, "sentence", _tags),
    "answers": _Kind(read.answers, "answer", _nothing),
    "rankings": _Kind(read.rankings, "ranking", _rankings),
    "pairs": _Kind(read.pairs, "pair", _nothing),
}
