"""Reads submission and label files like google-research/xtreme evaluate.py (commit 838c13b).

Lines are those of a Python text file: they end at `\\n`, `\\r\\n` or `\\r` only. VT, FF, FS to RS,
NEL, U+2028 and U+2029 are text within a line, and white space at its ends, which is stripped. A
byte order mark is text. Of duplicate JSON keys the last one counts. Every error is a DataError with
the file, and the line or key.
"""

import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from xstilts.errors import DataError
from xstilts.input_files import InvalidDocument, named, open_file, parse_row


def lines(path: Path) -> list[str]:
    """The stripped lines of a file, including blank ones (official `read_label`)."""
    return [line.strip() for line in _lines(path)]


def sentences(path: Path) -> list[list[str]]:
    """Tags by sentence (official `read_tag`). A blank line ends a sentence; a second one is an
    empty sentence.
    """
    read: list[list[str]] = []
    tags: list[str] = []
    for line in lines(path):
        if line:
            tags.append(line)
        else:
            read.append(tags)
            tags = []
    return [*read, tags] if tags else read


def objects(path: Path) -> list[int | float]:
    """The `label` of the JSON object on each line (official `read_xcopa`).

    The official script compares JSON values, so that `1.0` and `true` equal 1, but `"1"` does not.
    DataError for labels that are not whole numbers.
    """
    labels = []
    for number, line in enumerate(_lines(path), 1):
        try:
            label = parse_row(line)["label"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}:{number}: needs an object with an integer label ({error})"
            ) from error
        if not (isinstance(label, int) or (isinstance(label, float) and label.is_integer())):
            raise DataError(
                f"{path}:{number}: needs an object with an integer label, and has {label!r}"
            )
        labels.append(label)
    return labels


def questions(path: Path) -> list[tuple[str, list[str]]]:
    """(question id, gold answers) of every entry of a SQuAD document in order, including duplicate
    ids: the official script counts every entry.
    """
    entries = []
    for place, question in _question_entries(path):
        try:
            name, texts = question["id"], [answer["text"] for answer in question["answers"]]
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{path}: {place} is not a SQuAD question ({type(error).__name__}: {error})"
            ) from error
        if not isinstance(name, str):
            raise DataError(f"{path}: {place} needs a string as its id, and has {name!r}")
        if not all(isinstance(text, str) for text in texts):
            raise DataError(
                f"{path}: the question {name} has an answer that is not a string: {str(texts)[:60]}"
            )
        entries.append((name, texts))
    return entries


def _question_entries(path: Path) -> Iterator[tuple[str, Any]]:
    """(position in the document, entry) of each question."""
    place = "the document"
    try:
        for i, article in enumerate(_content(path)):
            place = f"data[{i}]"
            for j, paragraph in enumerate(article["paragraphs"]):
                place = f"data[{i}].paragraphs[{j}]"
                for k, question in enumerate(paragraph["qas"]):
                    yield f"{place}.qas[{k}]", question
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: {place} is not SQuAD format ({type(error).__name__}: {error})"
        ) from error


def answers(path: Path) -> dict[str, str]:
    """Question id → answer."""
    read = mapping(path)
    for name, answer in read.items():
        if not isinstance(answer, str):
            raise DataError(f"{path}: {name} needs a string, and has {str(answer)[:60]!r}")
    return read


def rankings(path: Path) -> dict[str, list[str]]:
    """Query → candidates, best first, or the relevant ones. DataError for a single id instead of a
    list: the official script would use its first letter.
    """
    read = mapping(path)
    for name, ids in read.items():
        if not isinstance(ids, list) or not all(isinstance(candidate, str) for candidate in ids):
            raise DataError(
                f"{path}: {name} needs a list of candidate ids, and has {str(ids)[:60]!r}"
            )
    return read


def mapping(path: Path) -> dict[str, Any]:
    """A JSON object by id: answers, or ranked or relevant candidates."""
    read = _content(path)
    if not isinstance(read, dict):
        where = (
            " (the value of its key `data`, which the official script reads instead of the file)"
        )
        unwrapped = where if isinstance(document(path), dict) else ""
        raise DataError(f"{path}: expected a JSON object by id, not {named(read)}{unwrapped}")
    return read


def pairs(path: Path) -> list[tuple[str, str]]:
    """Pairs of sentence ids, separated by a tab, one per line. DataError for a blank line, which
    the official script would count as a pair.
    """
    read = []
    for number, line in enumerate(lines(path), 1):
        source, tab, target = line.partition("\t")
        if not (source and tab and target) or "\t" in target:
            raise DataError(
                f"{path}:{number}: needs two ids separated by a tab, and is {line[:60]!r}"
            )
        read.append((source, target))
    return read


def document(path: Path) -> Any:
    """A JSON document."""
    try:
        return parse_row(_text(path))
    except InvalidDocument as error:
        if isinstance(cause := error.__cause__, json.JSONDecodeError):
            raise DataError(f"{path}:{cause.lineno}: is not JSON ({cause.msg})") from error
        raise DataError(f"{path}: is not JSON that Python can read ({error})") from error


def _content(path: Path) -> Any:
    """A document, or the value of its `data` key (official `read_squad`)."""
    read = document(path)
    return read["data"] if isinstance(read, dict) and "data" in read else read


def duplicate_keys(path: Path, by_line: bool = False) -> list[tuple[int, str]]:
    """(line, key) of each duplicate key in a valid file. by_line: every line is a JSON document;
    else the line is 0.
    """
    duplicates: list[tuple[int, str]] = []

    def remember(number: int, items: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(key for key, _ in items)
        duplicates.extend((number, key) for key, count in counts.items() if count > 1)
        return dict(items)

    for number, text in enumerate(_lines(path), 1) if by_line else [(0, _text(path))]:
        parse_row(text, partial(remember, number))
    return duplicates


def _lines(path: Path) -> list[str]:
    """The lines as in iterating over the file, without line ends."""
    text = _text(path)
    return text.removesuffix("\n").split("\n") if text else []


def _text(path: Path) -> str:
    if path.is_dir():
        raise DataError(f"{path}: is a folder; needs a file")
    if not os.path.lexists(path):
        raise DataError(f"{path}: is missing")
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8") as stream:  # any line end as \n
            return stream.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: is not UTF-8 (byte {error.start})") from error
