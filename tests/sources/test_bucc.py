"""BUCC's pools are read from the files of the shared task in a mirror."""

from pathlib import Path

import pytest

from xstilts.data.records import read_rows, source_of
from xstilts.errors import DataError
from xstilts.sources import bucc
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import Mirror
from xstilts.sources.source_files import identity, missing_reason
from xstilts.tasks.registry import TASKS

TASK = TASKS["bucc_mining"]
SOURCE = TASK.splits["test"]


def pool(mirror: Path, **changed: str) -> Path:
    """A mirror with two foreign and two English sentences and one gold pair in each part."""
    folder = mirror / "bucc2018" / "fr-en"
    folder.mkdir(parents=True)
    for part in ("sample", "training"):
        texts = {
            "fr": "fr-1\tUn chat.\nfr-2\tDeux\u2028chiens.\n", "en": "en-1\tA dog.\r\nen-2\tA cat.\r\n", "gold": "fr-1\ten-2\n",
        }  # fmt: skip
        for side, text in (texts | changed).items():
            (folder / f"fr-en.{part}.{side}").write_text(text, encoding="utf-8", newline="")
    return mirror


def test_a_row_is_a_sentence_of_either_side_and_part(tmp_path: Path) -> None:
    rows = load_rows(Mirror("folder", pool(tmp_path)), SOURCE, "fr")
    examples, bad, _ = read_rows(TASK, rows, range(len(rows)), "fr", None)
    assert not bad
    assert [example.id for example in examples] == [
        f"{part}/{name}" for part in ("dev", "test") for name in ("fr-1", "fr-2", "en-1", "en-2")
    ]
    assert [example.relevant for example in examples[4:]] == [("test/en-2",), (), (), ()]


def test_a_unicode_line_separator_does_not_end_a_line(tmp_path: Path) -> None:
    rows = load_rows(Mirror("folder", pool(tmp_path)), SOURCE, "fr")
    assert rows[1]["text"] == "Deux\u2028chiens."


def test_a_line_without_a_tab_is_a_bad_row(tmp_path: Path) -> None:
    rows = load_rows(Mirror("folder", pool(tmp_path, en="en-2\tA cat.\nA dog.\n")), SOURCE, "fr")
    examples, bad, _ = read_rows(TASK, rows, range(len(rows)), "fr", None)
    assert len(examples) == 6
    assert [row["reason"] for row in bad] == ["ValueError: text is null"] * 2


def test_a_gold_pair_with_an_unknown_sentence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"1 gold pairs with sentences that are not in the pool, .*\('fr-9', 'en-2'\)",
    ):
        load_rows(Mirror("folder", pool(tmp_path, gold="fr-9\ten-2\n")), SOURCE, "fr")


def test_a_missing_file_in_the_mirror_is_named(tmp_path: Path) -> None:
    mirror = Mirror("folder", pool(tmp_path))
    assert missing_reason(mirror, SOURCE, "fr") is None
    assert "has no file de-en.sample.de" in str(missing_reason(mirror, SOURCE, "de"))


def test_the_hub_does_not_have_the_pools() -> None:
    assert "not on the hub; copy the files into a mirror" in str(
        missing_reason(Mirror("hub"), SOURCE, "fr")
    )


def test_the_identity_depends_on_the_bytes(tmp_path: Path) -> None:
    first = identity(Mirror("folder", pool(tmp_path / "a")), SOURCE, "fr")
    other = identity(
        Mirror("folder", pool(tmp_path / "b", en="en-1\tA dog!\nen-2\tA cat.\n")), SOURCE, "fr"
    )
    assert first != other


def test_a_records_step_reads_the_files_in_its_spec(tmp_path: Path) -> None:
    where = {
        "path": "bucc2018",
        "config": "fr-en",
        "split": "training",
        "files": list(SOURCE.files_for("fr")),
    }
    assert len(load_rows(Mirror("folder", pool(tmp_path)), source_of(where), "fr")) == 8


def test_sample_is_dev_and_training_is_test_as_in_xtreme() -> None:
    """download_data.sh, download_bucc18: sample → dev, training → test."""
    assert bucc.PARTS == {"sample": "dev", "training": "test"}
