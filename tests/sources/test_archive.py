"""Reading the data file of a tar archive in memory."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from xstilts.data.records import read_rows
from xstilts.errors import DataError
from xstilts.mirror.probe import LOCK, probe
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import open_mirror
from xstilts.tasks.registry import TASKS

LINES = b"".join(
    json.dumps({"entity_id": f"Q{number}", "description": f"Entity {number}."}).encode() + b"\n"
    for number in range(30)
)


def archive(path: Path, *members: tuple[str, bytes], link: str = "", target: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path


def pool(mirror: Path) -> Path:
    return mirror / "izhx/mewsli-x/candidate_entities/test.jsonl.tar.gz"


def entities(mirror: Path) -> list[str]:
    task = TASKS["mewsli_candidates"]
    rows = load_rows(open_mirror(str(mirror)), task.splits["text"], "en")
    return [example.id for example in read_rows(task, rows, range(len(rows)), "en", None)[0]]


def test_the_one_data_file_of_an_archive_is_read(tmp_path: Path) -> None:
    archive(
        pool(tmp_path),
        ("./README.md", b"read me"),
        ("./._test.jsonl", b"attributes"),
        ("./data/test.jsonl", LINES),
    )
    assert entities(tmp_path) == [f"Q{number}" for number in range(30)]
    assert [row["status"] for row in probe(str(tmp_path), LOCK, ["mewsli_candidates"])] == ["ok"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["test.jsonl.tar.gz"]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ((("a.jsonl", LINES), ("b.jsonl", LINES)), "contains more than one data file"),
        ((("README.md", LINES),), "contains no .jsonl or .json file"),
        ((("../a.jsonl", LINES),), "'../a.jsonl' points outside the archive"),
        ((("/etc/a.jsonl", LINES),), "'/etc/a.jsonl' points outside the archive"),
    ],
)
def test_an_archive_with_other_members_is_refused(
    tmp_path: Path, members: tuple[tuple[str, bytes], ...], reason: str
) -> None:
    archive(pool(tmp_path), *members)
    with pytest.raises(DataError, match=f"test.jsonl.tar.gz: .*{reason}"):
        entities(tmp_path)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret", "a.jsonl"])
def test_a_link_in_an_archive_is_refused(tmp_path: Path, target: str) -> None:
    archive(pool(tmp_path), ("a.jsonl", LINES), link="b.jsonl", target=target)
    with pytest.raises(DataError, match=r"'b\.jsonl' is neither a file nor a folder"):
        entities(tmp_path)


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    path = archive(pool(tmp_path), ("a.jsonl", LINES * 100))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(
        DataError, match=r"test\.jsonl\.tar\.gz: cannot be read as json .*fetch the file again"
    ):
        entities(tmp_path)


def test_compressed_lines_can_be_probed(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "izhx/mewsli-x/candidate_entities/test.jsonl.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(LINES))
    assert [row["status"] for row in probe(str(tmp_path), LOCK, ["mewsli_candidates"])] == ["ok"]
