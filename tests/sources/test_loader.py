"""Loading rows from mirrors, and the errors for missing and corrupt files."""

import random
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xstilts.errors import DataError, PlanError
from xstilts.sources.concat import SampledRows
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import open_mirror
from xstilts.sources.source_files import identity, missing_reason
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
        (Source("org/set", "en", "train"), "has no split train; available: test"),
    ],
)
def test_a_missing_folder_config_or_split_is_named(
    tmp_path: Path, source: Source, reason: str
) -> None:
    write(tmp_path, "org/set/en/test-00000-of-00001.parquet")
    assert reason in str(missing_reason(open_mirror(str(tmp_path)), source, "en"))


def test_the_languages_of_a_file_are_found_by_id_prefix(tmp_path: Path) -> None:
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
    assert "no row with an id that begins with finnish-" in str(
        missing_reason(mirror, source, "fi")
    )


def test_images_and_lists_of_images_stay_encoded(tmp_path: Path) -> None:
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
    assert [image["bytes"] for image in row["images"]] == [b"two", b"two"]


def test_the_identity_depends_on_the_bytes_only(tmp_path: Path) -> None:
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


def test_a_mirror_folder_that_does_not_exist_is_refused() -> None:
    with pytest.raises(PlanError, match="no such folder"):
        open_mirror("/nowhere/at/all")


def test_the_real_slices_have_all_languages_of_xquad(hub: Path) -> None:
    mirror = open_mirror(str(hub))
    task = TASKS["xquad"]
    assert all(
        missing_reason(mirror, task.splits["test"], language) is None for language in task.languages
    )
    rows = load_rows(mirror, task.splits["test"], "de")
    assert len(rows) == 300
    assert rows[0]["id"] == "56beb4343aeaaa14008c925b"


def test_rows_of_several_sets_are_sampled_by_size_to_the_power_of_alpha() -> None:
    """Sets of 8 and 1000 rows: with alpha 0 both are equally likely until the small one is empty;
    with alpha 1 they keep their shares.
    """
    rows = SampledRows([[{"text": "small"}] * 8, [], [{"text": "large"}] * 1000])
    for alpha, at_least, at_most in ((0.0, 4, 8), (1.0, 0, 2)):
        order = list(rows.sample(random.Random("rows"), alpha))
        assert sorted(order) == list(range(1008))
        assert at_least <= sum(rows[index]["origin"] == 0 for index in order[:16]) <= at_most


def test_a_sample_is_the_same_for_the_same_stream() -> None:
    rows = SampledRows([[{}] * 30, [{}] * 300])
    first, same, other = (list(rows.sample(random.Random(name), 0.3)) for name in "aab")
    assert first == same != other
