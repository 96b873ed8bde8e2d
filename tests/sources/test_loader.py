"""Mirrors: what is there, what is missing, what cannot be read."""

import random
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xstilts.errors import DataError, PlanError
from xstilts.sources.concat import Mixed
from xstilts.sources.loader import identity, load_rows, missing_reason, open_mirror
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Source


def write(folder: Path, name: str, rows: int = 3) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": [f"row {i}" for i in range(rows)]}), path)
    return path


def test_splits_are_read_by_their_file_names_and_joined_by_plus(tmp_path: Path) -> None:
    write(tmp_path, "org/set/en/train-00000-of-00002.parquet", 2)
    write(tmp_path, "org/set/en/train-00001-of-00002.parquet", 3)
    write(tmp_path, "org/set/en/test-00000-of-00001.parquet", 1)
    mirror = open_mirror(str(tmp_path))
    assert len(load_rows(mirror, Source("org/set", "{language}", "train"), "en")) == 5
    assert len(load_rows(mirror, Source("org/set", "{language}", "train+test"), "en")) == 6


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (Source("org/other", "en", "test"), "no folder org/other"),
        (Source("org/set", "de", "test"), "no config de"),
        (Source("org/set", "en", "train"), "no split train; it has test"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, source: Source, reason: str) -> None:
    write(tmp_path, "org/set/en/test-00000-of-00001.parquet")
    assert reason in str(missing_reason(open_mirror(str(tmp_path)), source, "en"))


def test_a_file_of_many_languages_lacks_those_that_no_id_begins_with(tmp_path: Path) -> None:
    path = tmp_path / "org/set/all/test-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"id": ["english-1", "qaa-1"]}), path)
    source, mirror = (
        Source("org/set", "all", "test", id_prefixes={"en": "english", "fi": "finnish"}),
        open_mirror(str(tmp_path)),
    )
    assert [
        code for code in ("en", "fi", "qaa", "qab") if missing_reason(mirror, source, code) is None
    ] == [
        "en",
        "qaa",
    ]
    assert "no row has an id that begins with finnish-" in str(missing_reason(mirror, source, "fi"))


def test_pictures_are_read_encoded_alone_and_in_lists(tmp_path: Path) -> None:
    image = datasets.Image()
    rows = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": b"one", "path": None}],
            "images": [[{"bytes": b"two", "path": None}] * 2],
        },
        features=datasets.Features({"image": image, "images": datasets.List(image)}),
    )
    (tmp_path / "org/set/default").mkdir(parents=True)
    rows.to_parquet(tmp_path / "org/set/default/train-00000-of-00001.parquet")
    (row,) = load_rows(open_mirror(str(tmp_path)), Source("org/set", "default", "train"), "en")
    assert row["image"]["bytes"] == b"one"
    assert [one["bytes"] for one in row["images"]] == [b"two", b"two"]


def test_an_identity_is_that_of_the_bytes(tmp_path: Path) -> None:
    source, mirror = Source("org/set", "en", "test"), open_mirror(str(tmp_path))
    path = write(tmp_path, "org/set/en/test-00000-of-00001.parquet", 3)
    first = identity(mirror, source, "en")
    write(tmp_path, "org/set/en/test-00000-of-00001.parquet", 4)
    assert identity(mirror, source, "en") != first
    path.unlink()
    write(tmp_path, "org/set/en/test-00000-of-00001.parquet", 3)
    assert identity(mirror, source, "en") == first


def test_a_corrupt_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path, "org/set/en/test-00000-of-00001.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        DataError,
        match=r"test-00000-of-00001\.parquet: cannot be read as parquet.*fetch the file again",
    ):
        load_rows(open_mirror(str(tmp_path)), Source("org/set", "en", "test"), "en")


def test_a_mirror_that_is_not_there_is_refused() -> None:
    with pytest.raises(PlanError, match="no such folder"):
        open_mirror("/nowhere/at/all")


def test_the_real_slices_hold_the_languages_that_they_should(hub: Path) -> None:
    mirror = open_mirror(str(hub))
    task = TASKS["xquad"]
    assert all(
        missing_reason(mirror, task.splits["test"], language) is None for language in task.languages
    )
    rows = load_rows(mirror, task.splits["test"], "de")
    assert len(rows) == 300
    assert rows[0]["id"] == "56beb4343aeaaa14008c925b"


def test_text_of_many_languages_is_drawn_by_size_to_a_power() -> None:
    """Sizes 8 : 1000 to the power 0 are equals until the small set is used up; to the power 1
    they keep their shares.
    """
    mixed = Mixed([[{"text": "small"}] * 8, [], [{"text": "large"}] * 1000])
    for alpha, least, most in ((0.0, 4, 8), (1.0, 0, 2)):
        order = list(mixed.sample(random.Random("rows"), alpha))
        assert sorted(order) == list(range(1008))
        assert least <= sum(mixed[place]["origin"] == 0 for place in order[:16]) <= most
    assert mixed[order[0]]["text"] in ("small", "large")


def test_a_sample_is_the_same_for_the_same_stream() -> None:
    mixed = Mixed([[{}] * 30, [{}] * 300])
    one, same, other = (list(mixed.sample(random.Random(name), 0.3)) for name in "aab")
    assert one == same != other
