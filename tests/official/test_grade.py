"""The official fixture, and what is said of a submission that is not one."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

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
#: What evaluate.py gives for the fixture (run with seqeval 0.0.12).
GROUP_SCORES = {
    "classification": 41.04761904761905, "tagging": 63.862698495741725, "qa": 80.37568011593986,
    "retrieval": 54.30555555555556,
}  # fmt: skip
needs_fixture = pytest.mark.skipif(
    not MOCK.is_dir(), reason=f"the official fixture is not at {MOCK}"
)


@needs_fixture
@pytest.mark.parametrize("task", EXPECTED)
def test_the_official_fixture_gives_the_official_scores(task: str) -> None:
    found = grade(MOCK / "predictions", MOCK / "labels", "xtreme")["tasks"][task]["averages"]
    for metric, value in EXPECTED[task].items():
        assert found[metric] == pytest.approx(value, abs=1e-9)


@needs_fixture
def test_the_whole_of_xtreme() -> None:
    found = grade(MOCK / "predictions", MOCK / "labels", "xtreme")
    assert (
        found["all_task"] == found["mean_of_present_tasks"] == pytest.approx(62.173198505, abs=1e-8)
    )
    assert found["missing"] == []
    assert len(found["present_tasks"]) == 9
    assert found["groups"] == pytest.approx(GROUP_SCORES, abs=1e-9)


@needs_fixture
def test_mewsli_x_of_xtreme_r_and_what_the_fixture_lacks_is_named() -> None:
    found = grade(MOCK / "predictions", MOCK / "labels", "xtreme-r")
    assert found["tasks"]["mewslix"]["averages"]["map@20"] == pytest.approx(
        14.39025156130419, abs=1e-9
    )
    assert any(line.startswith("xcopa") for line in found["missing"])
    assert any(line.startswith("panx qu") for line in found["missing"])


@needs_fixture
def test_a_group_with_a_language_missing_has_no_official_score(tmp_path: Path) -> None:
    """The official script ends at the missing file."""
    shutil.copytree(MOCK, tmp_path / "mock")
    (tmp_path / "mock/predictions/xquad/test-hi.json").unlink()
    found = grade(tmp_path / "mock/predictions", tmp_path / "mock/labels", "xtreme")
    assert {*GROUP_SCORES} - found["groups"].keys() == {"qa"}
    assert found["all_task"] is None
    assert len(found["tasks"]["xquad"]["languages"]) == 10
    assert found["missing"] == [f"xquad hi: no {tmp_path}/mock/predictions/xquad/test-hi.json"]


def whole(folder: Path, benchmark: str) -> dict[str, Any]:
    """The grades of a submission with one row a file: everything is right, but XCOPA and LAReQA."""
    squad = {"data": [{"paragraphs": [{"qas": [{"id": "a", "answers": [{"text": "cat"}]}]}]}]}
    kinds = {
        "labels": ("1\n", "1\n"), "tags": ("O\nB-PER\n\n", "O\nB-PER\n\n"), "pairs": ("a\tb\n", "a\tb\n"),
        "objects": ('{"label": 1}\n', '{"label": 0}\n'), "answers": ('{"a": "cat"}', json.dumps(squad)),
        "rankings": ('{"a": ["Q1"]}', '{"a": ["Q1"]}'),
    }  # fmt: skip
    for name, task in TABLES[benchmark].items():
        prediction, label = (
            kinds[task.kind] if name != "lareqa" else ('{"a": ["Q2"]}', '{"a": ["Q1"]}')
        )
        for language in task.languages:
            written(folder / "p", task.file(language), prediction)
            written(folder / "l", task.file(language), label)
    return grade(folder / "p", folder / "l", benchmark)


def test_the_groups_of_xtreme_r_are_the_official_ones(tmp_path: Path) -> None:
    """XCOPA is in two, LAReQA in none; there is no official whole, and the means with LAReQA
    have names of their own.
    """
    found = whole(tmp_path, "xtreme-r")
    assert found["groups"] == {
        "classification": 50.0, "tagging": 100.0, "qa": 100.0, "retrieval": 100.0, "multi_choice": 0.0,
    }  # fmt: skip
    assert found["all_task"] is None
    assert found["retrieval_with_lareqa"] == pytest.approx(200 / 3)
    assert found["mean_of_present_tasks"] == 80.0
    assert len(found["present_tasks"]) == 10


def test_the_groups_of_xtreme_are_the_official_ones(tmp_path: Path) -> None:
    found = whole(tmp_path, "xtreme")
    assert found["groups"] == {
        "classification": 100.0,
        "tagging": 100.0,
        "qa": 100.0,
        "retrieval": 100.0,
    }
    assert found["all_task"] == 100.0
    assert found["retrieval_with_lareqa"] is None


def test_a_group_without_one_of_its_tasks_has_no_score(tmp_path: Path) -> None:
    whole(tmp_path, "xtreme-r")
    shutil.rmtree(tmp_path / "p/mewslix")
    found = grade(tmp_path / "p", tmp_path / "l")
    assert [*found["groups"]] == ["classification", "tagging", "qa", "multi_choice"]
    assert found["retrieval_with_lareqa"] is None


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    labels = written(tmp_path / "l", "xnli/test-en.tsv", "neutral\n")
    (tmp_path / "p/xnli/test-en.tsv").mkdir(parents=True)
    with pytest.raises(DataError, match=r"p/xnli/test-en\.tsv: is a folder; needs a file"):
        grade(tmp_path / "p", labels)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


def test_lengths_that_differ_are_refused_with_both_files(tmp_path: Path) -> None:
    predictions = written(tmp_path / "p", "xnli/test-en.tsv", "neutral\n")
    labels = written(tmp_path / "l", "xnli/test-en.tsv", "neutral\nneutral\n")
    with pytest.raises(
        DataError, match=r"p/xnli/test-en\.tsv: 1 line, and 2 in .*l/xnli/test-en\.tsv"
    ):
        grade(predictions, labels)


def test_a_sentence_of_other_length_is_named(tmp_path: Path) -> None:
    predictions = written(tmp_path / "p", "udpos/test-en.tsv", "NOUN\n\nVERB\n\n")
    labels = written(tmp_path / "l", "udpos/test-en.tsv", "NOUN\n\nVERB\nNOUN\n\n")
    with pytest.raises(DataError, match=r"test-en\.tsv:3: sentence 2 has 1 tag, and 2"):
        grade(predictions, labels)


def test_broken_json_is_named_with_its_line(tmp_path: Path) -> None:
    predictions = written(tmp_path / "p", "xquad/test-en.json", '{\n "a": }')
    labels = written(tmp_path / "l", "xquad/test-en.json", '{"data": []}')
    with pytest.raises(DataError, match=r"test-en\.json:2: is not JSON"):
        grade(predictions, labels)


def test_several_right_answers_divide_the_average_precision(tmp_path: Path) -> None:
    predictions = written(tmp_path / "p", "lareqa/test-en.json", '{"q": ["a", "x", "b"]}')
    labels = written(tmp_path / "l", "lareqa/test-en.json", '{"q": ["a", "b", "c"]}')
    score = grade(predictions, labels)["tasks"]["lareqa"]["score"]
    assert score == pytest.approx(100 * (1 + 2 / 3) / 3)


def test_an_unanswered_question_counts_and_scores_nothing(tmp_path: Path) -> None:
    qas = ",".join(
        f'{{"id": "{i}", "answers": [{{"text": "cat", "answer_start": 0}}]}}' for i in range(2)
    )
    labels = written(
        tmp_path / "l",
        "xquad/test-en.json",
        f'{{"data": [{{"paragraphs": [{{"qas": [{qas}]}}]}}]}}',
    )
    predictions = written(tmp_path / "p", "xquad/test-en.json", '{"0": "cat"}')
    assert grade(predictions, labels)["tasks"]["xquad"]["averages"] == {
        "exact_match": 50.0,
        "f1": 50.0,
    }


def test_an_unknown_benchmark_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="allowed: xtreme, xtreme-r"):
        grade(tmp_path, tmp_path, "glue")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no files of xtreme-r"):
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
        ("mewslix/test-en.json", '{"q": ["a"]}', '{"q": []}', "q has no relevant candidate"),
        ("mewslix/test-en.json", '{"q": ["a"]}', "{}", "has no query"),
        ("mewslix/test-en.json", '{"q": 7}', '{"q": ["a"]}', "q needs a list of candidate ids, and has '7'"),
        ("mewslix/test-en.json", '{"q": "Q1"}', '{"q": ["Q1"]}', "p/mewslix/test-en.json: q needs a list of candidate ids, and has 'Q1'"),
        ("mewslix/test-en.json", '{"q": ["Q1"]}', '{"q": "Q1"}', "l/mewslix/test-en.json: q needs a list of candidate ids, and has 'Q1'"),
        ("mewslix/test-en.json", '{"q": ["Q1"]}', '{"q": ["Q1", "Q2"]}', "q needs one relevant candidate, and has 2"),
        ("xnli/test-en.tsv", "", "", "l/xnli/test-en.tsv: has no line"),
        ("udpos/test-en.tsv", "", "", "l/udpos/test-en.tsv: has no sentence"),
        ("xcopa/test-et.jsonl", '{"label": 0.7}', '{"label": 0}', "test-et.jsonl:1: needs an object with an integer label, and has 0.7"),
        ("xquad/test-en.json", '{"0": ["cat"]}', '{"data": []}', "0 needs a string, and has"),
        (
            "xquad/test-en.json", "{}", '{"data": [{"paragraphs": [{"qas": [{"id": "0", "answers": [{"text": null}]}]}]}]}',
            "the question 0 has an answer that is not a string",
        ),
        ("xquad/test-en.json", "{}", '{"data": []}', "has no question"),
        ("xquad/test-en.json", "{}", '{"data": [{"paragraphs": [{"qas": [{"id": "0", "answers": []}]}]}]}', "the question 0 has no answer"),
        ("bucc2018/test-de.tsv", "de-1 en-1\n", "de-1\ten-1\n", "test-de.tsv:1: needs two ids separated by a tab"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_named(
    tmp_path: Path, file: str, prediction: str, label: str, complaint: str
) -> None:
    predictions, labels = (
        written(tmp_path / "p", file, prediction),
        written(tmp_path / "l", file, label),
    )
    with pytest.raises(DataError, match=re.escape(complaint)):
        grade(predictions, labels, "xtreme" if file.startswith("bucc") else "xtreme-r")
