"""Encoded rows and images as training reads them."""

import hashlib
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xstilts.data import encoded
from xstilts.data.encoded import EncodedRows, Images

DATA = [b"picture %d" % number * (number + 1) for number in range(200)]
NAMES = [hashlib.sha256(data).hexdigest() for data in DATA]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ab12"
    pq.write_table(pa.table({"sha256": NAMES, "bytes": pa.array(DATA, pa.binary())}), path)
    return path


@pytest.mark.parametrize("copies", [False, True])
def test_images_are_read_by_their_sha256(file: Path, tmp_path: Path, copies: bool) -> None:
    images = Images([file], tmp_path / "arrow" if copies else None)
    assert [images[name] for name in NAMES] == DATA
    again = pickle.loads(pickle.dumps(images))
    assert [again[name] for name in NAMES] == DATA
    with pytest.raises(KeyError):
        images["0" * 64]


def test_no_file_has_no_images() -> None:
    with pytest.raises(KeyError):
        Images([])["0" * 64]


def test_the_arrow_copy_is_written_once(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight workers of a node open the same images at the same time."""
    written, write = [], encoded._write_copy

    def counted(path: Path, copy: Path) -> None:
        written.append(copy)
        write(path, copy)

    monkeypatch.setattr(encoded, "_write_copy", counted)
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: Images([file], tmp_path / "arrow"), range(8)))
    assert written == [tmp_path / "arrow" / "ab12"]
    assert all(images[NAMES[7]] == DATA[7] for images in opened)


def test_a_conversion_that_fails_leaves_no_copy(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="Parquet"):
        Images([tmp_path / "bad"], tmp_path / "arrow")
    assert [path.name for path in (tmp_path / "arrow").iterdir()] == [".lock"]


def test_a_corrupt_copy_is_refused_with_what_to_do(file: Path, tmp_path: Path) -> None:
    Images([file], tmp_path / "arrow")
    copy = tmp_path / "arrow" / "ab12"
    copy.write_bytes(copy.read_bytes().replace(b"picture 7", b"picture 8", 1))
    with pytest.raises(ValueError, match=rf"{copy}: corrupt.*delete the file"):
        Images([file], tmp_path / "arrow")[NAMES[7]]


_MEMORY = """
import sys
from pathlib import Path
import pyarrow.parquet
from xstilts.data.encoded import Images

def megabytes():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return int(lines["RssAnon"].split()[0]) / 1024

before = megabytes()
images = Images([Path(sys.argv[1])], Path(sys.argv[2]))
total = sum(len(images[name]) for name in images._rows)
assert total == 40_000_000
print(megabytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_mapped_images_take_no_memory_of_their_own(tmp_path: Path) -> None:
    data = [os.urandom(400_000) for _ in range(100)]
    names = [hashlib.sha256(d).hexdigest() for d in data]
    pq.write_table(pa.table({"sha256": names, "bytes": pa.array(data)}), tmp_path / "ab12")
    Images([tmp_path / "ab12"], tmp_path / "arrow")  # writes the copy
    command = [sys.executable, "-c", _MEMORY, str(tmp_path / "ab12"), str(tmp_path / "arrow")]
    added = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert added < 8  # of 40 MB


def test_pickled_rows_read_their_file_again(tmp_path: Path) -> None:
    columns = {"row": [0, 1], "language": ["en", "en"], "segments": [[[1, 2]], [[3]]]}
    empty: dict[str, list[list[int]]] = {
        name: [[], []] for name in ("images", "grids", "labels", "span", "offsets", "words")
    }
    numbers = {"length": [2, 1], "label": [0, 1], "supervised": [1, 1]}
    pq.write_table(pa.table({**columns, **empty, **numbers}), tmp_path / "encoded.parquet")
    rows = EncodedRows(tmp_path / "encoded.parquet")
    data = pickle.dumps(rows)
    assert len(data) < 300
    again = pickle.loads(data)
    assert again.rows([1, 0]) == rows.rows([1, 0])
    assert "_all" not in vars(again)  # rows stay in Arrow
    shared = pickle.loads(pickle.dumps(rows.share(1, 2)))
    assert [row.row for row in shared.rows([0])] == [1]
