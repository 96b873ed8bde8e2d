"""Supertags from the user's copy of CCGbank (LDC2005T13).

The license forbids copies, so the data is read from the folder in CCGBANK_DIR and never put into a
mirror. Sections 02–21 are the training set and 00 is dev, as in Hockenmaier and Steedman 2007.

AUTO files hold one derivation per line; a leaf is `(<L category POS POS word
predicate-argument-category>)`.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xstilts.errors import DataError
from xstilts.input_files import read_bytes, read_text, resolved

PATH = "ldc/ccgbank"
VARIABLE = "CCGBANK_DIR"
_SECTIONS = {"train": range(2, 22), "dev": range(1)}
_LEAF = re.compile(r"<L (\S+) \S+ \S+ (\S+) \S+>")
_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LCB-": "{", "-RCB-": "}", "-LSB-": "[", "-RSB-": "]"}


def auto_files(split: str) -> list[Path]:
    """The AUTO files of a split. DataError if CCGBANK_DIR is not set or lacks the sections."""
    folder_name = os.environ.get(VARIABLE)
    if not folder_name:
        raise DataError(
            f"CCGbank is licensed (LDC2005T13) and cannot be downloaded; set {VARIABLE} to the "
            "folder of your copy"
        )
    folder = resolved(folder_name)
    paths = [
        path
        for section in _SECTIONS[split]
        for path in sorted(folder.glob(f"**/AUTO/{section:02d}/*.auto"))
    ]
    if not paths:
        raise DataError(
            f"{VARIABLE}={folder_name}: no AUTO/<section>/*.auto files of the {split} sections; "
            "set it to the root of your copy"
        )
    return paths


def identity(paths: Sequence[Path]) -> dict[str, Any]:
    """A digest of the files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode() + b"\0" + hashlib.sha256(read_bytes(path)).digest())
    return {"sha256": total.hexdigest(), "licensed": "LDC2005T13"}


def read_derivations(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """One row {tokens, tags} per derivation. DataError for a line without a leaf."""
    rows = []
    for path in paths:
        for number, line in enumerate(read_text(path).splitlines(), 1):
            if not line.startswith("("):
                continue  # `ID=…` lines separate the derivations
            leaves = _LEAF.findall(line)
            if not leaves:
                raise DataError(
                    f"{path}:{number}: a derivation without a leaf; copy the file again"
                )
            tokens = [_BRACKETS.get(word, word) for _, word in leaves]
            rows.append({"tokens": tokens, "tags": [category for category, _ in leaves]})
    return rows
