"""UD treebanks are converted as in XTREME-R."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from xstilts.data.records import read_rows
from xstilts.errors import DataError
from xstilts.mirror.probe import LOCK, probe
from xstilts.sources.conllu_rows import file_names, read_sentences
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import open_mirror
from xstilts.sources.source_files import identity, missing_reason
from xstilts.tasks.registry import TASKS

REAL = Path(__file__).resolve().parents[3] / "shared" / "raw" / "ud"
#: File → sentences, tokens, and SHA-256 of the JSON of [[[token, tag], …], …], as
#: google-research/xtreme 838c13b converts it: conllu_to_conll.py
#: --replace_subtokens_with_fused_forms, then utils_preprocess.py udpos_preprocess.
OFFICIAL = {
    "en_ewt-ud-test": (
        160,
        3286,
        "174deda08411d7a784329916bf6698c284a7e153cb6938fe256ebdd2e46edc7e",
    ),
    "fa_seraji-ud-test": (
        80,
        1912,
        "99f5504891330425da25b7dbcd7382321930f78f5ac2c815f576fcb5178895d9",
    ),
    "fr_gsd-ud-test": (
        80,
        1934,
        "e7ba4ff1a81442fe7031357e670ded48cd40c02dca6cff9390684b85938771e4",
    ),
}
needs_treebanks = pytest.mark.skipif(not REAL.is_dir(), reason=f"the treebanks are not at {REAL}")


def conllu(*sentences: str) -> str:
    """Sentences of `id form tag head [deps]` a line, as CoNLL-U."""
    lines = []
    for sentence in sentences:
        for line in sentence.strip().splitlines():
            number, form, tag, head, *deps = line.split()
            fields = [
                number,
                form.replace("~", " "),
                "_",
                tag,
                "_",
                "_",
                head,
                "_" if head == "_" else "dep",
                *(deps or "_"),
                "_",
            ]
            lines.append("\t".join(fields))
        lines.append("")
    return "\n".join(lines) + "\n"


def written(path: Path, *sentences: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(conllu(*sentences), encoding="utf-8")
    return path


def tagged(path: Path) -> list[list[tuple[str, str]]]:
    return [
        list(zip(row["tokens"], row["pos_tags"], strict=True)) for row in read_sentences([path])
    ]


@needs_treebanks
@pytest.mark.parametrize("name", OFFICIAL)
def test_real_treebanks_give_the_tokens_and_tags_of_the_official_tool(name: str) -> None:
    sentences = tagged(REAL / f"{name}.conllu")
    text = json.dumps(
        [[list(pair) for pair in sentence] for sentence in sentences], ensure_ascii=False
    )
    assert (
        len(sentences),
        sum(map(len, sentences)),
        hashlib.sha256(text.encode()).hexdigest(),
    ) == OFFICIAL[name]


FUSED = "1-2 au _ _\n1 à ADP 3\n2 le DET 3\n3 parc NOUN 0"


@pytest.mark.parametrize(
    ("language", "sentence", "expected"),
    [
        (
            "fr",
            FUSED,
            [("au", "ADP"), ("parc", "NOUN")],
        ),  # a tie, broken by the list for French
        (
            "de",
            FUSED.replace("ADP", "DET").replace("le DET", "le ADP"),
            [("au", "ADP"), ("parc", "NOUN")],
        ),
        (
            "es",
            "1-2 dalo _ _\n1 da NOUN 2\n2 lo PRON 0",
            [("dalo", "PRON")],
        ),  # the part with fewer ancestors
        (
            "en",
            "1-2 wo _ _\n1 a NOUN 3\n2 b VERB 3 3:x|4:y\n3 c NOUN 0\n4 d X 3",
            [("wo", "NOUN"), ("c", "NOUN"), ("d", "X")],
        ),
        (
            "en",
            "1 a X 0\n1.1 b X _ 1:x\n2 c X 1 1.1:x",
            [("a", "X"), ("c", "X")],
        ),  # empty nodes are not tokens
        ("fa", "1 می\u200cروم VERB 0\n2 a~b X 1", [("میروم", "VERB"), ("ab", "X")]),
    ],
)
def test_a_written_token_has_one_tag(
    tmp_path: Path, language: str, sentence: str, expected: list[tuple[str, str]]
) -> None:
    assert tagged(written(tmp_path / f"{language}_x-ud-test.conllu", sentence)) == [expected]


def test_sentences_with_withheld_text_are_skipped(tmp_path: Path) -> None:
    """All tokens, or all but one."""
    two_of_three = "1 a X 0\n2 _ X 1\n3 _ X 1"
    one_of_three = "1 a X 0\n2 b X 1\n3 _ X 1"
    path = written(tmp_path / "en_x-ud-test.conllu", "1 _ X 0\n2 _ X 1", two_of_three, one_of_three)
    assert tagged(path) == [[("a", "X"), ("b", "X"), ("_", "X")]]


def test_an_invalid_treebank_is_named(tmp_path: Path) -> None:
    path = tmp_path / "en_x-ud-test.conllu"
    path.write_text("one two three\n\n")
    with pytest.raises(
        DataError, match=r"en_x-ud-test\.conllu: cannot be read as CoNLL-U .*fetch it again"
    ):
        read_sentences([path])


def test_the_treebanks_of_a_language_are_selected_by_release_and_sorted_by_file_name() -> None:
    names = [
        "ud-treebanks-v2.5/UD_B/fr_z-ud-test.conllu", "ud-treebanks-v2.5/UD_A/fr_a-ud-test.conllu",
        "ud-treebanks-v2.7/UD_A/fr_a-ud-test.conllu", "ud-treebanks-v2.5/UD_A/fr_a-ud-dev.conllu",
        "ud-treebanks-v2.5/UD_F/fro_a-ud-test.conllu",
    ]  # fmt: skip
    assert file_names(names, "ud-treebanks-v2.5/fr", "test") == [names[1], names[0]]
    assert file_names(names, "ud-treebanks-v2.5/fr", "validation") == [names[3]]
    with pytest.raises(DataError, match=r"no file ud-treebanks-v2\.7/\*\*/ro_\*-ud-test\.conllu"):
        file_names(names, "ud-treebanks-v2.7/ro", "test")


@pytest.mark.parametrize(
    ("language", "release"), [("fr", "2.5"), ("lt", "2.7"), ("wo", "2.7"), ("en", "2.5")]
)
def test_a_mirror_with_the_treebanks_is_read_in_the_official_form(
    tmp_path: Path, language: str, release: str
) -> None:
    folder = tmp_path / f"universal-dependencies/ud-treebanks-v{release}/UD_X"
    written(folder / f"{language}_x-ud-test.conllu", FUSED)
    mirror, task = open_mirror(str(tmp_path)), TASKS["udpos"]
    source = task.splits["test"]
    assert missing_reason(mirror, source, language) is None
    (example,) = read_rows(task, load_rows(mirror, source, language), [0], language, None)[0]
    assert (example.tokens, example.tags[1:]) == (("au", "parc"), ("NOUN",))
    assert set(identity(mirror, source, language)) == {"sha256"}
    statuses = {row["language"]: row["status"] for row in probe(str(tmp_path), LOCK, ["udpos"])}
    assert statuses.pop(language) == "ok"
    assert set(statuses.values()) == {"missing"}


@needs_treebanks
def test_treebanks_are_preferred_over_the_hubs_copy(tmp_path: Path, hub: Path) -> None:
    (tmp_path / "google").symlink_to(hub / "google")
    folder = tmp_path / "universal-dependencies/ud-treebanks-v2.5/UD_French-GSD"
    folder.mkdir(parents=True)
    shutil.copy(REAL / "fr_gsd-ud-test.conllu", folder)
    paths = {
        row["language"]: row["path"]
        for row in probe(str(tmp_path), LOCK, ["udpos"])
        if row["status"] == "ok"
    }
    assert (paths["fr"], paths["de"]) == ("universal-dependencies", "google/xtreme")
