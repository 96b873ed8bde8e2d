"""The sentence pools of BUCC 2018, in the files of the shared task.

Each side of a pool is a text file with one sentence per line, `id<TAB>text`; a third file lists the
gold pairs. The data is not on the hub: users copy the folders `<language>-en` of the archives to
`bucc2018` in a mirror.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xstilts.errors import DataError
from xstilts.input_files import open_file

#: Part of the shared task → name of that part in XTREME and here.
PARTS = {"sample": "dev", "training": "test"}


def read_pools(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """One row {part, id, text, answers} per sentence, part by part, foreign sentences first.

    `answers` lists the ids of the English sentences that translate a foreign one. The text of a
    line without a tab is None. DataError for a file that is not UTF-8, and for gold pairs of
    unknown sentences.

    Args:
        paths: the foreign, English and gold file of each part.
    """
    rows: list[dict[str, Any]] = []
    for first in range(0, len(paths), 3):
        foreign, english, gold = paths[first : first + 3]
        part = PARTS[foreign.name.split(".")[1]]
        answers: dict[str, list[str]] = {}
        pairs = list(_lines(gold))
        for source, target in pairs:
            answers.setdefault(source, []).append(target or "")
        sides = [list(_lines(foreign)), list(_lines(english))]
        ids = [{name for name, _ in side} for side in sides]
        if unknown := [pair for pair in pairs if pair[0] not in ids[0] or pair[1] not in ids[1]]:
            raise DataError(
                f"{gold}: {len(unknown)} gold pairs with sentences that are not in the pool, such "
                f"as {unknown[0]}; copy the files of one release"
            )
        rows += [
            {
                "part": part,
                "id": name,
                "text": text,
                "answers": answers.get(name, []) if side == 0 else [],
            }
            for side in range(2)
            for name, text in sides[side]
        ]
    return rows


def _lines(path: Path) -> Iterator[tuple[str, str | None]]:
    """(text before the first tab, text after it or None) of each non-empty line."""
    try:
        # Not splitlines(): some sentences contain Unicode line separators.
        with io.TextIOWrapper(open_file(path), encoding="utf-8") as stream:
            lines = stream.read().split("\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); unpack the archive again"
        ) from error
    for line in lines:
        if line.strip():
            name, tab, text = line.rstrip("\r").partition("\t")
            yield name.strip(), text if tab else None
