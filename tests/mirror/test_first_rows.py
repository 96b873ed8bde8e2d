"""The first rows of a file for the probe: whatever is wrong with the file is a DataError."""

import gzip
import io
import json

import pytest

from xstilts.errors import DataError
from xstilts.mirror.first_rows import decompressed, first_rows

LINES = b"".join(json.dumps({"text": f"row {number}"}).encode() + b"\n" for number in range(2000))


def test_the_first_rows_and_the_types_of_their_columns_are_read() -> None:
    rows, columns = first_rows(io.BytesIO(LINES), "json", 2)
    assert rows == [{"text": "row 0"}, {"text": "row 1"}]
    assert columns == {"text": "string"}


def test_a_truncated_gzip_file_is_refused() -> None:
    stream = decompressed(io.BytesIO(gzip.compress(LINES)[:-2000]), "rows.jsonl.gz")
    with pytest.raises(DataError, match=r"cannot be read as json \(EOFError"):
        first_rows(stream, "json", 2000)


@pytest.mark.parametrize(
    ("data", "field", "reason"),
    [
        (b'{"rows": []}', "data", "KeyError: 'data'"),
        (b'{"data": 3}', "data", "TypeError"),
        (b"[1, 2]", None, "a row must be a JSON object, not a number"),
        (b"\xff\n", None, "UnicodeDecodeError"),
        (b"[" * 100_000, None, "nested too deeply"),
    ],
)
def test_json_that_does_not_hold_rows_is_refused(data: bytes, field: str, reason: str) -> None:
    with pytest.raises(DataError, match=f"cannot be read as json .*{reason}"):
        first_rows(io.BytesIO(data), "json", 2, field)
