"""Missing and duplicate shards of a split are refused, in mirrors and on the hub."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xstilts.sources import hub, hub_client
from xstilts.sources.mirrors import open_mirror
from xstilts.sources.shard_names import IncompleteSplit, check_shards
from xstilts.sources.source_files import data_files, missing_reason
from xstilts.tasks.task import Source


@pytest.mark.parametrize(
    "names",
    [
        ["train.parquet"],
        ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
        ["train-00001-of-00002.jsonl", "train-00002-of-00002.jsonl"],
        ["a/train-00000-of-00001.parquet", "b/train-00000-of-00001.parquet"],
        ["plain_text/train/0000.parquet", "plain_text/train/0001.parquet"],
        ["part-one.jsonl", "part-two.jsonl"],
    ],
)
def test_a_complete_split_is_accepted(names: list[str]) -> None:
    check_shards(names, "org/set")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"], "shard 00001 of 3 is missing"),
        (["train-00001-of-00003.parquet"], r"shard 00000 of 3 is missing \(and 1 more\)"),
        (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "train-00001-of-00002.jsonl"], "duplicate shard"),
        (["train-00000-of-00001.parquet", "train.parquet"], "duplicate shard"),
        (["train.jsonl", "train.jsonl.gz"], "duplicate shard"),
        (["train-00000-of-00001.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"], "versions"),
        (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "train-00007-of-00002.parquet"], "is not one of 2"),
        (["plain_text/train/0000.parquet", "plain_text/train/0002.parquet"], "shard 00001 of 2 is missing"),
    ],
)  # fmt: skip
def test_a_missing_or_duplicate_shard_is_refused(names: list[str], reason: str) -> None:
    with pytest.raises(IncompleteSplit, match=f"org/set: .*{reason}"):
        check_shards(names, "org/set")


def test_a_mirror_folder_with_a_missing_shard_is_refused_and_not_skipped(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "org/set/en"
    folder.mkdir(parents=True)
    for number in (0, 2):
        pq.write_table(pa.table({"text": ["a"]}), folder / f"test-0000{number}-of-00003.parquet")
    mirror, source = open_mirror(str(tmp_path)), Source("org/set", "en", "test")
    for function in (data_files, missing_reason):
        with pytest.raises(
            IncompleteSplit, match=r"org/set \(en\), split test: .*shard 00001 of 3 is missing"
        ):
            function(mirror, source, "en")


def test_a_split_of_the_hub_with_a_missing_shard_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("en/test-00000-of-00002.parquet",)
    repo = hub_client.Repo(
        "dataset",
        "org/set",
        "c" * 40,
        {name: hub_client.RemoteFile(name, 1, None, "0") for name in names},
    )
    monkeypatch.setattr(hub, "layout", lambda *_: {"en": {"test": names}})
    monkeypatch.setattr(hub, "repo", lambda *_: repo)
    with pytest.raises(
        IncompleteSplit,
        match=r"org/set \(en\), split test: the hub at cccc.*shard 00001 of 2 is missing",
    ):
        hub.split_files("org/set", repo.revision, "en", "test")
