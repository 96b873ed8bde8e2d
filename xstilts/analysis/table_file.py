"""Reads the tables of a report, `results.parquet` and `effects.parquet`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from xstilts.errors import DataError, in_a_line
from xstilts.input_files import open_file

#: Columns that the commands read; others may be missing in reports of earlier versions.
READ: Mapping[str, Sequence[str]] = {
    "results.parquet": (
        "backbone", "arm", "seed_intermediate", "seed_target", "trained_target", "checkpoint",
        "evaluation", "metric", "language", "value",
    ),
    "effects.parquet": ("contrast", "backbone", "evaluation", "metric", "language", "effect"),
}  # fmt: skip


def read_table(path: Path) -> pd.DataFrame:
    """A table of a report. DataError for another file."""
    with open_file(path) as stream:
        return parse_table(stream, path.name, str(path))


def parse_table(stream: BinaryIO, name: str, where: str) -> pd.DataFrame:
    """A table of a report from a stream.

    Args:
        stream: the Parquet file.
        name: results.parquet or effects.parquet.
        where: what an error calls the file.

    Raises:
        DataError: it is another file.
    """
    try:
        table = pd.read_parquet(stream)
    except (ValueError, OSError, LookupError) as error:  # pyarrow's errors are of these types
        raise DataError(
            f"{where}: cannot be read as a table ({type(error).__name__}: "
            f"{in_a_line(str(error))[:200]}); download the report again"
        ) from error
    lacking = [column for column in READ[name] if column not in table.columns]
    if lacking:
        raise DataError(f"{where}: no column {', '.join(lacking)}; download the report again")
    return table
