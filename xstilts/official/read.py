"""Reads one file of a submission or of its labels. Every fault is a DataError that names file and line."""

import json
from pathlib import Path
from typing import Any

from xstilts.errors import DataError


def lines(path: Path) -> list[str]:
    """A label, an index or a tab-separated pair a line, as the official `read_label` strips them."""
    return [line.strip() for line in _text(path).splitlines()]


def sentences(path: Path) -> list[list[str]]:
    """Tags, a sentence's end by a blank line (official `read_tag`)."""
    found: list[list[str]] = []
    own: list[str] = []
    for line in _text(path).splitlines():
        if line.strip():
            own.append(line.strip())
        else:
            found.append(own)
            own = []
    return [*found, own] if own else found


def document(path: Path) -> Any:
    """A JSON document."""
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: is no JSON ({error.msg})") from error


def objects(path: Path) -> list[int]:
    """The `label` of a JSON object a line (official `read_xcopa`)."""
    found = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        try:
            label = json.loads(line)["label"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: needs an object with an integer label ({error})") from error
        if type(label) is not int:  # "1" is not 1 for the official script
            raise DataError(f"{path}:{number}: needs an object with an integer label, and has {label!r}")
        found.append(label)
    return found


def questions(path: Path) -> dict[str, list[str]]:
    """question id → gold answers, of a SQuAD document or its `data`."""
    read = document(path)
    articles = read["data"] if isinstance(read, dict) and "data" in read else read
    found: dict[str, list[str]] = {}
    try:
        for article in articles:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    found[str(question["id"])] = [answer["text"] for answer in question["answers"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: is no SQuAD document ({type(error).__name__}: {error})") from error
    for name, texts in found.items():
        if not all(isinstance(text, str) for text in texts):
            raise DataError(f"{path}: the question {name} has an answer that is no text: {str(texts)[:60]}")
    return found


def answers(path: Path) -> dict[str, str]:
    """question id → answer."""
    found = mapping(path)
    for name, answer in found.items():
        if not isinstance(answer, str):
            raise DataError(f"{path}: {name} needs a text, and has {str(answer)[:60]!r}")
    return found


def mapping(path: Path) -> dict[str, Any]:
    """A JSON object by id: answers, or ranked and right candidates."""
    read = document(path)
    if not isinstance(read, dict):
        raise DataError(f"{path}: needs a JSON object by id, and is a {type(read).__name__}")
    return read


def rankings(path: Path) -> dict[str, list[str]]:
    """Query → candidates, best first, or the right ones. A single id is no list of one: of a text the official script
    takes the first letter, which no candidate is named."""
    found = mapping(path)
    for name, ids in found.items():
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise DataError(f"{path}: {name} needs a list of candidate ids, and has {str(ids)[:60]!r}")
    return found


def pairs(path: Path) -> set[tuple[str, str]]:
    """Pairs of sentence ids, parted by a tab."""
    found = set()
    for number, line in enumerate(lines(path), 1):
        source, tab, target = line.partition("\t")
        if not (source and tab and target) or "\t" in target:
            raise DataError(f"{path}:{number}: needs two ids parted by a tab, and is {line[:60]!r}")
        found.add((source, target))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 (byte {error.start})") from error
