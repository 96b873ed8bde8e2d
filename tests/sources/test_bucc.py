"""BUCC's pools: read from the shared task's own files, in a mirror or in none."""

from pathlib import Path

import pytest

from xstilts.data.records import read_rows, source_of
from xstilts.errors import DataError
from xstilts.sources import bucc
from xstilts.sources.loader import Mirror, identity, load_rows, missing_reason
from xstilts.tasks.registry import TASKS

TASK = TASKS["bucc_mining"]
SOURCE = TASK.splits["test"]


def pool(mirror: Path, **changed: str) -> Path:
    """A mirror with two foreign and two English sentences in each part, of which one pair is
    gold.
    """
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
    assert [one.id for one in examples[:4]] == ["dev/fr-1", "dev/fr-2", "dev/en-1", "dev/en-2"]
    assert [one.id for one in examples[4:]] == ["test/fr-1", "test/fr-2", "test/en-1", "test/en-2"]
    assert [one.relevant for one in examples[4:]] == [("test/en-2",), (), (), ()]
    assert examples[1].text == "Deux\u2028chiens.", (
        "a line separator of Unicode ends no line of these files"
    )


def test_a_line_without_a_tab_is_a_bad_row(tmp_path: Path) -> None:
    rows = load_rows(Mirror("folder", pool(tmp_path, en="en-2\tA cat.\nA dog.\n")), SOURCE, "fr")
    examples, bad, _ = read_rows(TASK, rows, range(len(rows)), "fr", None)
    assert len(examples) == 6
    assert [one["reason"] for one in bad] == ["ValueError: text is null"] * 2


def test_gold_of_a_sentence_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"1 gold pairs name sentences that the pool lacks, such as \('fr-9', 'en-2'\)",
    ):
        load_rows(Mirror("folder", pool(tmp_path, gold="fr-9\ten-2\n")), SOURCE, "fr")


def test_a_mirror_without_the_files_says_which(tmp_path: Path) -> None:
    mirror = Mirror("folder", pool(tmp_path))
    assert missing_reason(mirror, SOURCE, "fr") is None
    assert "has no file de-en.sample.de" in str(missing_reason(mirror, SOURCE, "de"))


def test_the_hub_has_none_of_it() -> None:
    assert "on no hub: put your own copy into a mirror" in str(
        missing_reason(Mirror("hub"), SOURCE, "fr")
    )


def test_other_bytes_are_another_identity(tmp_path: Path) -> None:
    first = identity(Mirror("folder", pool(tmp_path / "a")), SOURCE, "fr")
    other = identity(
        Mirror("folder", pool(tmp_path / "b", en="en-1\tA dog!\nen-2\tA cat.\n")), SOURCE, "fr"
    )
    assert first != other


def test_a_records_step_reads_what_its_spec_names(tmp_path: Path) -> None:
    where = {
        "path": "bucc2018",
        "config": "fr-en",
        "split": "training",
        "files": list(SOURCE.files_for("fr")),
    }
    assert len(load_rows(Mirror("folder", pool(tmp_path)), source_of(where), "fr")) == 8


def test_parts_are_xtremes_dev_and_test() -> None:
    """download_data.sh, download_bucc18: sample → dev, training → test."""
    assert bucc.PARTS == {"sample": "dev", "training": "test"}
