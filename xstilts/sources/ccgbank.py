"""Supertags from the user's own copy of CCGbank (LDC2005T13), which nobody may pass on: it is read
from CCGBANK_DIR and no row of it is put into a mirror. Sections 02–21 train and 00 is dev, as in
Hockenmaier and Steedman 2007.

AUTO files hold a derivation a line; a leaf is `(<L category POS POS word
predicate-argument-category>)`.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xstilts.errors import DataError

PATH = "ldc/ccgbank"
VARIABLE = "CCGBANK_DIR"
_SECTIONS = {"train": range(2, 22), "dev": range(1)}
_LEAF = re.compile(r"<L (\S+) \S+ \S+ (\S+) \S+>")
_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LCB-": "{", "-RCB-": "}", "-LSB-": "[", "-RSB-": "]"}


def files(split: str) -> list[Path]:
    """The AUTO files of a split. DataError says how to name the copy, or what it lacks."""
    given = os.environ.get(VARIABLE)
    if not given:
        raise DataError(
            f"CCGbank is licensed (LDC2005T13) and is not copied: set {VARIABLE} to your own copy"
        )
    folder = Path(given).expanduser()
    found = [
        path
        for section in _SECTIONS[split]
        for path in sorted(folder.glob(f"**/AUTO/{section:02d}/*.auto"))
    ]
    if not found:
        raise DataError(
            f"{VARIABLE}={given}: no AUTO/<section>/*.auto of the {split} sections there"
        )
    return found


def identity(paths: Sequence[Path]) -> dict[str, Any]:
    """A digest of the files; it stays in the run's own store."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return {"sha256": total.hexdigest(), "licensed": "LDC2005T13"}


def rows(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """tokens and tags of every derivation. DataError names a line without a leaf."""
    found = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.startswith("("):
                continue  # `ID=…` lines stand between the derivations
            leaves = _LEAF.findall(line)
            if not leaves:
                raise DataError(f"{path}:{number}: a derivation without a leaf")
            tokens = [_BRACKETS.get(word, word) for _, word in leaves]
            found.append({"tokens": tokens, "tags": [category for category, _ in leaves]})
    return found
