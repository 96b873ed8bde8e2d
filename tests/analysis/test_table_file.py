"""The tables of a report are read, or named with what is wrong."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from xstilts.analysis.table_file import READ, read_table
from xstilts.errors import DataError


def write(path: Path, *without: str) -> Path:
    """A table of one row, without some columns."""
    columns = [column for column in READ[path.name] if column not in without]
    pd.DataFrame([dict.fromkeys(columns, 1)]).to_parquet(path)
    return path


@pytest.mark.parametrize("name", READ)
def test_a_table_is_read(tmp_path: Path, name: str) -> None:
    assert list(read_table(write(tmp_path / name)).columns) == list(READ[name])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "cannot be read as a table"),
        (lambda path: path.write_bytes(b"<!doctype html>"), "cannot be read as a table"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "cannot be read as a table"),
        (lambda path: write(path, "value", "metric"), "no column metric, value; download"),
    ],
    ids=["empty", "a web page", "truncated", "another table"],
)
def test_another_file_is_named_with_what_to_do(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    path = write(tmp_path / "results.parquet")
    damage(path)
    with pytest.raises(DataError, match=rf"^{path}: .*; download the report again$") as error:
        read_table(path)
    assert message in str(error.value)


def test_a_folder_in_place_of_a_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.parquet").mkdir()
    with pytest.raises(DataError, match="a folder, not a file"):
        read_table(tmp_path / "results.parquet")
