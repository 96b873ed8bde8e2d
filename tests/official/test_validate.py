"""What is said of a submission before it is sent in."""

import json
from pathlib import Path
from typing import Any

import pytest

from xstilts.errors import PlanError
from xstilts.official.layout import TABLES, Official
from xstilts.official.validate import rows, validate

RANKED = [f"Q{place}" for place in range(20)]


def right(task: Official, language: str) -> str:
    """A file that can be sent in, whatever it would score."""
    count = rows(task, language) or 1
    line: dict[str, str] = {
        "xnli": "neutral\n", "pawsx": "1\n", "tatoeba": "0\n", "xcopa": '{"label": 1}\n', "udpos": "NOUN\n\n",
        "panx": "O\n\n", "bucc2018": f"{language}-000000001\ten-000000002\n",
    }  # fmt: skip
    if task.name in line:
        return line[task.name] * count
    value: Any = RANKED if task.kind == "rankings" else ""
    return json.dumps({f"q{number}": value for number in range(count)})


def written(folder: Path, task: Official, language: str, text: str) -> Path:
    path = folder / task.file(language)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


@pytest.mark.parametrize("benchmark", TABLES)
def test_a_submission_as_it_should_be_has_no_problem(tmp_path: Path, benchmark: str) -> None:
    for task in TABLES[benchmark].values():
        for language in task.languages:
            written(tmp_path, task, language, right(task, language))
    assert validate(tmp_path, benchmark) == []


def one_of(name: str, language: str) -> tuple[str, Official]:
    """A task in the benchmark that has it in the language."""
    return next(
        (b, table[name])
        for b, table in TABLES.items()
        if name in table and language in table[name].languages
    )


def said(
    folder: Path, name: str, language: str, text: str, labels: Path | None = None
) -> list[str]:
    """What is said of one file, without its path."""
    benchmark, task = one_of(name, language)
    path = written(folder, task, language, text) / task.file(language)
    lines = validate(folder, benchmark, labels)
    return [line.removeprefix(f"{path}:") for line in lines if line.startswith(f"{path}:")]


@pytest.mark.parametrize(
    ("name", "language", "old", "new", "complaint"),
    [
        ("xnli", "sw", "neutral", "foo", "1: 'foo' is not one of entailment, neutral, contradiction"),
        ("xnli", "sw", "neutral\n", "", " 5,009 lines, and the test set has 5,010"),
        ("pawsx", "ko", "1", "paraphrase", "1: 'paraphrase' is not one of 0, 1"),
        ("pawsx", "ko", "1\n", "1\n1\n", " 2,001 lines, and the test set has 2,000"),
        ("tatoeba", "ta", "0", "hello", "1: 'hello' is not an integer between 0 and 306"),
        ("tatoeba", "ta", "0", "307", "1: '307' is not an integer between 0 and 306"),
        ("xcopa", "qu", "1", "2", "1: label 2 is not between 0 and 1"),
        ("xcopa", "qu", "1", '"1"', "1: needs an object with an integer label, and has '1'"),
        ("xcopa", "qu", '{"label": 1}\n', "", " 499 lines, and the test set has 500"),
        ("udpos", "wo", "NOUN", "NOON\nNOUN", " sentence 1: 'NOON' is not one of ADJ, ADP, ADV, AUX, CCONJ, DET, INTJ, NOUN, "
         "NUM, PART, PRON, PROPN, PUNCT, SCONJ, SYM, VERB, X"),
        ("udpos", "wo", "NOUN\n", "", " sentence 1 has no tag"),
        ("panx", "yo", "O", "B-MISC", " sentence 1: 'B-MISC' is not one of O, B-PER, I-PER, B-ORG, I-ORG, B-LOC, I-LOC"),
        ("xquad", "ro", '"q0": ""', '"q0": 7', " q0 needs a string, and has '7'"),
        ("xquad", "ro", '"q0": "", ', "", " 1,189 answers, and the test set has 1,190"),
        ("mewslix", "fa", json.dumps(RANKED), '["Q1"]', " q0 needs 20 candidates, and has 1"),
        ("mewslix", "fa", '"Q19"', '"Q1"', " q0 has the duplicate candidate Q1"),
        ("mewslix", "fa", '"Q19"', "19", f" q0 needs a list of candidate ids, and has {str([*RANKED[:19], 19])[:60]!r}"),
        ("mewslix", "fa", f'"q0": {json.dumps(RANKED)}, ', "", " 457 rankings, and the test set has 458"),
        ("lareqa", "el", json.dumps(RANKED), json.dumps([*RANKED, "Q20"]), " q0 needs 20 candidates, and has 21"),
        ("mewslix", "fa", '"Q19"', '" Q19"', " q0 has white space around the candidate ' Q19'"),
        ("xcopa", "qu", "1", "1.0", "1: label 1.0 is not an integer"),
        ("xcopa", "qu", "1", "true", "1: label True is not an integer"),
        ("xcopa", "qu", '"label": 1', '"label": 0, "label": 1', "1: duplicate key 'label'"),
        ("xquad", "ro", '"q0": ""', '"q0": "", "q0": "a", "q1": "b"', " duplicate key 'q0' (and 1 more)"),
        ("lareqa", "el", '{"q0"', '{"q0": [], "q0"', " duplicate key 'q0'"),
        ("xquad", "ro", '{"q0": ""', '{"data": {}, "q0": ""', " has no answer"),
        ("udpos", "fr", "NOUN\n\n", "", " 5,008 sentences, and the test set has 5,009"),
        ("bucc2018", "zh", "\t", " ", "1: needs two ids separated by a tab, and is 'zh-000000001 en-000000002'"),
        ("bucc2018", "zh", "zh-000000001\ten-000000002\n", "", " has no pair"),
        ("bucc2018", "zh", "zh-000000001\ten-000000002", "en-000000002\tzh-000000001", "1: 'en-000000002' is not an id like zh-000000001"),
        ("bucc2018", "zh", "zh", "ZH", "1: 'ZH-000000001' is not an id like zh-000000001"),
        ("bucc2018", "zh", "en", "EN", "1: 'EN-000000002' is not an id like en-000000001"),
        ("bucc2018", "zh", "\t", " \t", "1: 'zh-000000001 ' is not an id like zh-000000001"),
        ("bucc2018", "zh", "en-", "en-0", "1: 'en-0000000002' is not an id like en-000000001"),
        ("bucc2018", "zh", "\n", "\nzh-000000001\ten-000000002\n", "2: duplicate of the pair on line 1"),
    ],
)  # fmt: skip
def test_what_a_file_must_not_say_is_named_without_its_labels(
    tmp_path: Path, name: str, language: str, old: str, new: str, complaint: str
) -> None:
    _, task = one_of(name, language)
    text = right(task, language).replace(old, new, 1)
    assert said(tmp_path, name, language, text) == [complaint]


def test_further_faults_of_a_file_are_counted(tmp_path: Path) -> None:
    text = "foo\n" * 3 + "neutral\n" * 5_007
    assert said(tmp_path, "xnli", "sw", text) == [
        "1: 'foo' is not one of entailment, neutral, contradiction (and 2 more)"
    ]


def test_with_labels_questions_that_only_one_side_has_are_named(tmp_path: Path) -> None:
    """The official script scores the one as 0 and passes over the other."""
    _, task = one_of("xquad", "ro")
    questions = [{"id": f"q{number}", "answers": [{"text": "a"}]} for number in range(1, 1_191)]
    gold = json.dumps({"data": [{"paragraphs": [{"qas": questions}]}]})
    labels = written(tmp_path / "labels", task, "ro", gold)
    file = labels / task.file("ro")
    assert said(tmp_path / "predictions", "xquad", "ro", right(task, "ro"), labels) == [
        f" q1190 of {file} is not answered", f" q0 is not in {file}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("gold", "complaint"),
    [
        (["q0", "q1", "q0"], " duplicate question id 'q0'"),
        (["q0", "q1", "q1", "q0"], " duplicate question id 'q0' (and 1 more)"),
    ],
)
def test_duplicate_questions_of_the_labels_are_named(
    tmp_path: Path, gold: list[str], complaint: str
) -> None:
    """The official script counts every entry."""
    _, task = one_of("xquad", "ro")
    questions = [{"id": name, "answers": [{"text": "a"}]} for name in gold]
    labels = written(
        tmp_path / "labels",
        task,
        "ro",
        json.dumps({"data": [{"paragraphs": [{"qas": questions}]}]}),
    )
    path = written(tmp_path / "predictions", task, "ro", '{"q0": "", "q1": ""}') / task.file("ro")
    lines = validate(path.parents[1], labels=labels)
    assert [line for line in lines if ": duplicate " in line] == [
        f"{labels / task.file('ro')}:{complaint}"
    ]


def test_duplicate_keys_of_the_labels_are_named(tmp_path: Path) -> None:
    _, task = one_of("mewslix", "fa")
    labels = written(tmp_path / "labels", task, "fa", '{"q0": ["Q1"], "q0": ["Q2"]}')
    path = written(tmp_path / "predictions", task, "fa", json.dumps({"q0": RANKED})) / task.file(
        "fa"
    )
    lines = validate(path.parents[1], labels=labels)
    assert [line for line in lines if ": duplicate " in line] == [
        f"{labels / task.file('fa')}: duplicate key 'q0'"
    ]


def test_wrapped_predictions_are_no_problem(tmp_path: Path) -> None:
    """The official script reads the value of `data` instead of the file."""
    _, task = one_of("xquad", "ro")
    assert said(tmp_path, "xquad", "ro", f'{{"version": "1.1", "data": {right(task, "ro")}}}') == []


MOCK = Path(__file__).resolve().parents[3] / "shared" / "xtreme_mock"


@pytest.mark.skipif(not MOCK.is_dir(), reason=f"the official fixture is not at {MOCK}")
def test_the_official_fixture_has_no_problem_but_its_size() -> None:
    lines = validate(MOCK / "predictions", "xtreme", MOCK / "labels")
    assert [line for line in lines if "and the test set has" not in line] == []


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "xnli/test-sw.tsv").mkdir(parents=True)
    lines = validate(tmp_path)
    assert f"{tmp_path}/xnli/test-sw.tsv: is a folder; needs a file" in lines


def test_the_official_sizes_of_ud_pos_are_not_the_hubs() -> None:
    """XTREME-R's own scripts take other treebanks than the hub's copy, which has 9,465 French
    and 2,809 Greek sentences.
    """
    _, task = one_of("udpos", "wo")
    sizes = {language: rows(task, language) for language in task.languages}
    assert (sizes["fr"], sizes["el"], sizes["mr"], len(sizes)) == (5_009, 456, 47, 38)


def test_with_labels_a_file_that_cannot_be_scored_is_named(tmp_path: Path) -> None:
    _, task = one_of("xnli", "sw")
    labels = written(tmp_path / "labels", task, "sw", "neutral\n")
    (found,) = said(tmp_path / "predictions", "xnli", "sw", right(task, "sw"), labels)
    assert found == f" 5,010 lines, and 1 in {labels / task.file('sw')}"


def test_an_unknown_benchmark_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="allowed: xtreme, xtreme-r"):
        validate(tmp_path, "glue")
