"""Metrics: exact small cases, properties against reference libraries, and the official fixture."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from sklearn.metrics import accuracy_score

from xstilts.scoring.metrics import METRICS, task_metrics

MOCK = Path(__file__).resolve().parents[3] / "shared" / "xtreme_mock"
TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])


def value(name: str, predictions: list[object], golds: list[object]) -> float:
    metric = METRICS[name]
    return float(metric.value(metric.counts(predictions, golds).sum(0)))


def test_accuracy() -> None:
    assert value("accuracy", [1, 0, 2, 2], [1, 1, 2, 0]) == 50.0


def test_squad_takes_the_best_of_several_golds_and_normalises() -> None:
    assert value("squad_em", ["The cat!"], [["dog", "cat"]]) == 100.0
    assert value("squad_f1", ["a black cat"], [["the cat"]]) == pytest.approx(200 / 3)
    assert value("qa", ["a black cat"], [["the cat"]]) == pytest.approx(100 / 3)


def test_runs_of_one_bare_tag_are_one_chunk_as_in_seqeval_0_0_12() -> None:
    """NOUN NOUN is one chunk, so getting half of it right gives nothing."""
    assert value("udpos_f1", [["NOUN", "VERB"]], [["NOUN", "NOUN"]]) == 0.0
    assert value("udpos_f1", [["NOUN", "NOUN", "VERB"]], [["NOUN", "NOUN", "VERB"]]) == 100.0
    assert value("udpos_f1", [["NOUN", "VERB"]], [["DET", "VERB"]]) == 50.0


@given(st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8), min_size=1, max_size=8))
def test_entity_f1_is_seqevals(sentences: list[list[tuple[str, str]]]) -> None:
    predictions = [[p for p, _ in sentence] for sentence in sentences]
    golds = [[g for _, g in sentence] for sentence in sentences]
    expected = 100 * f1_score(golds, predictions, zero_division=0)
    assert value("ner_f1", predictions, golds) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_accuracy_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    predictions, golds = [p for p, _ in pairs], [g for _, g in pairs]
    assert value("accuracy", predictions, golds) == pytest.approx(100 * accuracy_score(golds, predictions))


def test_tags_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="1 predicted tags for 2 gold"):
        value("token_accuracy", [["NOUN"]], [["NOUN", "VERB"]])


def test_question_answering_is_scored_by_the_mean_of_both_first() -> None:
    assert task_metrics(("squad_f1", "squad_em")) == ("qa", "squad_f1", "squad_em")


def sentences(path: Path) -> list[list[str]]:
    blocks = path.read_text().strip("\n").split("\n\n")
    return [[line.split("\t")[-1] for line in block.split("\n")] for block in blocks]


@pytest.mark.parametrize(
    ("task", "metric", "official"), [("udpos", "udpos_f1", 70.21746048354693), ("panx", "ner_f1", 57.50793650793652)]
)
def test_the_official_fixture(task: str, metric: str, official: float) -> None:
    """google-research/xtreme, evaluate_test.py: the values that its own scorer gives under seqeval 0.0.12."""
    if not MOCK.is_dir():
        pytest.skip(f"no official fixture: {MOCK} is absent")
    folders = {side: MOCK / side / task for side in ("predictions", "labels")}
    languages = sorted(path.name for path in folders["labels"].iterdir())
    scores = [value(metric, sentences(folders["predictions"] / n), sentences(folders["labels"] / n)) for n in languages]  # type: ignore[arg-type]
    assert sum(scores) / len(scores) == pytest.approx(official, abs=1e-9)
