"""The official fixture, and what is said of a submission that is not one."""

import json
import re
from pathlib import Path

import pytest

from xstilts.errors import DataError, PlanError
from xstilts.official.grade import grade
from xstilts.official.layout import TABLES

MOCK = Path(__file__).resolve().parents[3] / "shared" / "xtreme_mock"
#: google-research/xtreme evaluate_test.py, commit 838c13b.
EXPECTED = {
    "xnli": {"accuracy": 30.666666666666668}, "pawsx": {"accuracy": 51.42857142857143},
    "udpos": {"f1": 70.21746048354693}, "panx": {"f1": 57.50793650793652},
    "xquad": {"exact_match": 77.27272727272727, "f1": 79.9586776859504},
    "mlqa": {"exact_match": 57.142857142857146, "f1": 81.76870748299321},
    "tydiqa": {"exact_match": 88.88888888888889, "f1": 97.22222222222223},
    "bucc2018": {"f1": 55.0}, "tatoeba": {"accuracy": 53.611111111111114},
}  # fmt: skip
needs_fixture = pytest.mark.skipif(not MOCK.is_dir(), reason=f"the official fixture is not at {MOCK}")


@needs_fixture
@pytest.mark.parametrize("task", EXPECTED)
def test_the_official_fixture_gives_the_official_scores(task: str) -> None:
    found = grade(MOCK / "predictions", MOCK / "labels", "xtreme")["tasks"][task]["averages"]
    for metric, value in EXPECTED[task].items():
        assert found[metric] == pytest.approx(value, abs=1e-9)


@needs_fixture
def test_the_whole_of_xtreme() -> None:
    found = grade(MOCK / "predictions", MOCK / "labels", "xtreme")
    assert found["overall"] == pytest.approx(62.173198505, abs=1e-8)
    assert found["missing"] == []
    assert len(found["over"]) == 9


@needs_fixture
def test_mewsli_x_of_xtreme_r_and_what_the_fixture_lacks_is_named() -> None:
    found = grade(MOCK / "predictions", MOCK / "labels", "xtreme-r")
    assert found["tasks"]["mewslix"]["averages"]["map@20"] == pytest.approx(14.39025156130419, abs=1e-9)
    assert any(line.startswith("xcopa") for line in found["missing"])
    assert any(line.startswith("panx qu") for line in found["missing"])


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


def test_lengths_that_differ_are_refused_with_both_files(tmp_path: Path) -> None:
    predictions = written(tmp_path / "p", "xnli/test-en.tsv", "neutral\n")
    labels = written(tmp_path / "l", "xnli/test-en.tsv", "neutral\nneutral\n")
    with pytest.raises(DataError, match=r"p/xnli/test-en\.tsv: 1 line, and 2 in .*l/xnli/test-en\.tsv"):
        grade(predictions, labels)


def test_a_sentence_of_other_length_is_named(tmp_path: Path) -> None:
    predictions = written(tmp_path / "p", "udpos/test-en.tsv", "NOUN\n\nVERB\n\n")
    labels = written(tmp_path / "l", "udpos/test-en.tsv", "NOUN\n\nVERB\nNOUN\n\n")
    with pytest.raises(DataError, match="sentence 2 has 1 tags, and 2"):
        grade(predictions, labels)


def test_broken_json_is_named_with_its_line(tmp_path: Path) -> None:
    predictions = written(tmp_path / "p", "xquad/test-en.json", '{\n "a": }')
    labels = written(tmp_path / "l", "xquad/test-en.json", '{"data": []}')
    with pytest.raises(DataError, match=r"test-en\.json:2: is no JSON"):
        grade(predictions, labels)


def test_several_right_answers_divide_the_average_precision(tmp_path: Path) -> None:
    predictions = written(tmp_path / "p", "lareqa/test-en.json", '{"q": ["a", "x", "b"]}')
    labels = written(tmp_path / "l", "lareqa/test-en.json", '{"q": ["a", "b", "c"]}')
    score = grade(predictions, labels)["tasks"]["lareqa"]["score"]
    assert score == pytest.approx(100 * (1 + 2 / 3) / 3)


def test_an_unanswered_question_counts_and_scores_nothing(tmp_path: Path) -> None:
    qas = ",".join(f'{{"id": "{i}", "answers": [{{"text": "cat", "answer_start": 0}}]}}' for i in range(2))
    labels = written(tmp_path / "l", "xquad/test-en.json", f'{{"data": [{{"paragraphs": [{{"qas": [{qas}]}}]}}]}}')
    predictions = written(tmp_path / "p", "xquad/test-en.json", '{"0": "cat"}')
    assert grade(predictions, labels)["tasks"]["xquad"]["averages"] == {"exact_match": 50.0, "f1": 50.0}


def test_an_unknown_benchmark_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="allowed: xtreme, xtreme-r"):
        grade(tmp_path, tmp_path, "glue")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing of xtreme-r is there"):
        grade(tmp_path, tmp_path)


def test_the_tables_have_nine_and_ten_tasks() -> None:
    assert {name: len(table) for name, table in TABLES.items()} == {"xtreme": 9, "xtreme-r": 10}
    counts = {name: len(row.languages) for name, row in TABLES["xtreme"].items()}
    assert counts == {
        "pawsx": 7, "xnli": 15, "udpos": 33, "panx": 40, "xquad": 11, "mlqa": 7, "tydiqa": 9, "tatoeba": 36, "bucc2018": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("task", "ranked", "right", "score"),
    [
        ("mewslix", ["Q1", "Q1", "Q1"], ["Q1"], 100.0),
        ("mewslix", ["Q2", "Q2", "Q1"], ["Q1"], 100 / 3),
        ("lareqa", ["a", "a", "b"], ["a", "b"], 100 * (1 + 2 / 3) / 2),
    ],
)
def test_a_candidate_that_is_named_again_takes_a_place_and_is_no_further_hit(
    tmp_path: Path, task: str, ranked: list[str], right: list[str], score: float
) -> None:
    """As utils_lareqa.average_precision_at_k and utils_mewslix.mean_reciprocal_rank count."""
    predictions = written(tmp_path / "p", f"{task}/test-en.json", json.dumps({"q": ranked}))
    labels = written(tmp_path / "l", f"{task}/test-en.json", json.dumps({"q": right}))
    assert grade(predictions, labels)["tasks"][task]["score"] == pytest.approx(score)


@pytest.mark.parametrize(
    ("file", "prediction", "label", "complaint"),
    [
        ("mewslix/test-en.json", '{"q": ["a"]}', '{"q": []}', "q has no right candidate"),
        ("mewslix/test-en.json", '{"q": ["a"]}', "{}", "has no query"),
        ("mewslix/test-en.json", '{"q": 7}', '{"q": ["a"]}', "q needs a list of candidate ids, and has '7'"),
        ("mewslix/test-en.json", '{"q": "Q1"}', '{"q": ["Q1"]}', "p/mewslix/test-en.json: q needs a list of candidate ids, and has 'Q1'"),
        ("mewslix/test-en.json", '{"q": ["Q1"]}', '{"q": "Q1"}', "l/mewslix/test-en.json: q needs a list of candidate ids, and has 'Q1'"),
        ("mewslix/test-en.json", '{"q": ["Q1"]}', '{"q": ["Q1", "Q2"]}', "q needs one right candidate, and has 2"),
        ("xnli/test-en.tsv", "", "", "l/xnli/test-en.tsv: has no line"),
        ("udpos/test-en.tsv", "", "", "l/udpos/test-en.tsv: has no sentence"),
        ("xcopa/test-et.jsonl", '{"label": 0.7}', '{"label": 0}', "test-et.jsonl:1: needs an object with an integer label, and has 0.7"),
        ("xquad/test-en.json", '{"0": ["cat"]}', '{"data": []}', "0 needs a text, and has"),
        (
            "xquad/test-en.json", "{}", '{"data": [{"paragraphs": [{"qas": [{"id": "0", "answers": [{"text": null}]}]}]}]}',
            "the question 0 has an answer that is no text",
        ),
        ("xquad/test-en.json", "{}", '{"data": []}', "has no question"),
        ("xquad/test-en.json", "{}", '{"data": [{"paragraphs": [{"qas": [{"id": "0", "answers": []}]}]}]}', "the question 0 has no answer"),
        ("bucc2018/test-de.tsv", "de-1 en-1\n", "de-1\ten-1\n", "test-de.tsv:1: needs two ids parted by a tab"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_named(tmp_path: Path, file: str, prediction: str, label: str, complaint: str) -> None:
    predictions, labels = written(tmp_path / "p", file, prediction), written(tmp_path / "l", file, label)
    with pytest.raises(DataError, match=re.escape(complaint)):
        grade(predictions, labels, "xtreme" if file.startswith("bucc") else "xtreme-r")
