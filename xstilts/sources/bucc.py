"""BUCC 2018's pools as the shared task gives them: a sentence a line, `id<TAB>text`, on either
side, and gold pairs.

They are on no hub: a user puts the folders `<language>-en` of the archives below `bucc2018` of a
mirror.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xstilts.errors import DataError

#: What the archives' parts are called in XTREME, and here.
PARTS = {"sample": "dev", "training": "test"}


def rows(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """part, id, text and answers (ids of the English sentences that translate it) of every
    sentence, part by part, the foreign side first. paths: foreign, English, gold of each part. A
    line without a tab has no text. DataError for a file that is not UTF-8 and for a gold pair of
    sentences that are not there.
    """
    found: list[dict[str, Any]] = []
    for first in range(0, len(paths), 3):
        foreign, english, gold = paths[first : first + 3]
        part = PARTS[foreign.name.split(".")[1]]
        answers: dict[str, list[str]] = {}
        pairs = list(_lines(gold))
        for source, target in pairs:
            answers.setdefault(source, []).append(target or "")
        sides = [list(_lines(foreign)), list(_lines(english))]
        known = [{name for name, _ in side} for side in sides]
        if lost := [pair for pair in pairs if pair[0] not in known[0] or pair[1] not in known[1]]:
            raise DataError(
                f"{gold}: {len(lost)} gold pairs name sentences that the pool lacks, such as {lost[0]}"
            )
        found += [
            {
                "part": part,
                "id": name,
                "text": text,
                "answers": answers.get(name, []) if side == 0 else [],
            }
            for side in range(2)
            for name, text in sides[side]
        ]
    return found


def _lines(path: Path) -> Iterator[tuple[str, str | None]]:
    """(before the first tab, behind it or None) of each line that is not empty."""
    try:
        # Not splitlines(): sentences hold line separators of Unicode.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); unpack the archive again"
        ) from error
    for line in lines:
        if line.strip():
            name, tab, text = line.rstrip("\r").partition("\t")
            yield name.strip(), text if tab else None
