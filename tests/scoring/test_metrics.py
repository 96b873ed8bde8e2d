"""Metrics: exact small cases, properties against reference libraries, and the official fixture."""

import os
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from sklearn.metrics import accuracy_score
from sklearn.metrics import f1_score as f1_macro

from xstilts.scoring import mlqa, vqa
from xstilts.scoring.metrics import CORPUS, METRICS, task_metrics
from xstilts.scoring.squad import best_threshold

MOCK = Path(__file__).resolve().parents[3] / "shared" / "xtreme_mock"
TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])


def value(name: str, predictions: list[object], golds: list[object]) -> float:
    metric = METRICS[name]
    return float(metric.value(metric.counts(predictions, golds, "en").sum(0)))


def test_accuracy() -> None:
    assert value("accuracy", [1, 0, 2, 2], [1, 1, 2, 0]) == 50.0


def test_squad_takes_the_best_of_several_golds_and_normalises() -> None:
    assert value("squad_em", ["The cat!"], [["dog", "cat"]]) == 100.0
    assert value("squad_f1", ["a black cat"], [["the cat"]]) == pytest.approx(200 / 3)
    assert value("qa", ["a black cat"], [["the cat"]]) == pytest.approx(100 / 3)


def test_average_precision_counts_a_candidate_once_and_needs_a_right_one() -> None:
    """As xtreme's utils_lareqa.average_precision_at_k: a candidate that is named again keeps its
    place.
    """
    assert value("map_at_20", [["a", "a", "b"]], [["a", "b"]]) == pytest.approx(
        100 * (1 + 2 / 3) / 2
    )
    with pytest.raises(ValueError, match="no relevant candidate"):
        value("map_at_20", [["a"]], [[]])


def normalised(answer: str) -> list[str]:
    """SQuAD's official normalisation in its own order: lower case, punctuation out, articles
    out, split at spaces.
    """
    kept = "".join(character for character in answer.lower() if character not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def official_answer(prediction: str, golds: list[str]) -> tuple[float, float]:
    """(exact match, F1) of SQuAD v1.1's official script, 0..1: the best over the gold answers of
    each.
    """
    exact, best = 0.0, 0.0
    for gold in golds:
        told, true = normalised(prediction), normalised(gold)
        exact = max(exact, float(told == true))
        left, same = list(true), 0
        for word in told:
            if word in left:
                left.remove(word)
                same += 1
        if same:
            precision, recall = same / len(told), same / len(true)
            best = max(best, 2 * precision * recall / (precision + recall))
    return exact, best


ANSWERS = st.lists(
    st.sampled_from(
        ["the", "a", "An", "cat", "Cat!", "cat,", "北京", "北京市", "un'", "-", "Ä", "theatre"]
    )
).map(" ".join)


@given(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=3))
def test_question_answering_is_the_official_scripts(prediction: str, golds: list[str]) -> None:
    exact, f1 = official_answer(prediction, golds)
    assert value("squad_em", [prediction], [golds]) == pytest.approx(100 * exact)
    assert value("squad_f1", [prediction], [golds]) == pytest.approx(100 * f1)
    assert value("qa", [prediction], [golds]) == pytest.approx(50 * (exact + f1))


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
    assert value("accuracy", predictions, golds) == pytest.approx(
        100 * accuracy_score(golds, predictions)
    )


def test_tags_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="1 predicted tags for 2 gold"):
        value("token_accuracy", [["NOUN"]], [["NOUN", "VERB"]])


def test_question_answering_is_scored_by_the_mean_of_both_first() -> None:
    assert task_metrics(("squad_f1", "squad_em")) == ("qa", "squad_f1", "squad_em", "char_f1")


def sentences(path: Path) -> list[list[str]]:
    blocks = path.read_text().strip("\n").split("\n\n")
    return [[line.split("\t")[-1] for line in block.split("\n")] for block in blocks]


@pytest.mark.parametrize(
    ("task", "metric", "official"),
    [("udpos", "udpos_f1", 70.21746048354693), ("panx", "ner_f1", 57.50793650793652)],
)
def test_the_official_fixture(task: str, metric: str, official: float) -> None:
    """google-research/xtreme, evaluate_test.py: the values that its own scorer gives under
    seqeval 0.0.12.
    """
    if not MOCK.is_dir():
        pytest.skip(f"no official fixture: {MOCK} is absent")
    folders = {side: MOCK / side / task for side in ("predictions", "labels")}
    languages = sorted(path.name for path in folders["labels"].iterdir())
    scores = [
        value(metric, sentences(folders["predictions"] / n), sentences(folders["labels"] / n))
        for n in languages
    ]  # type: ignore[arg-type]
    assert sum(scores) / len(scores) == pytest.approx(official, abs=1e-9)


def test_mlqa_drops_the_articles_and_punctuation_of_the_language() -> None:
    assert mlqa.normalise("Die «Häuser» der Stadt", "de") == ["häuser", "stadt"]
    assert mlqa.normalise("the houses", "de") == ["the", "houses"]
    assert mlqa.normalise("北京2008年", "zh") == ["北", "京", "2008", "年"]
    assert mlqa.normalise("Las casas, ¿de la Ñ?", "es") == ["casas", "de", "ñ"]
    assert mlqa.normalise("những cái của nhà", "vi") == ["nhà"]
    assert mlqa.normalise("في البيت", "ar") == ["في", "بيت"]
    assert mlqa.normalise("the घर।", "hi") == [
        "the",
        "घर",
    ]  # no articles in Hindi, and its full stop is punctuation


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("ABC")), min_size=1), min_size=1
    )
)
def test_macro_f1_is_scikit_learns(sentences: list[list[tuple[str, str]]]) -> None:
    predictions, golds = ([[pair[k] for pair in s] for s in sentences] for k in (0, 1))
    flat = [[tag for s in tags for tag in s] for tags in (golds, predictions)]
    assert CORPUS["macro_f1"](predictions, golds) == pytest.approx(
        100 * f1_macro(*flat, average="macro", zero_division=0)
    )


def test_unanswerable_questions_are_right_when_left_unanswered() -> None:
    assert value("squad_v2_em", ["", "x", ""], [[], [], ["x"]]) == pytest.approx(100 / 3)


def test_the_threshold_of_squad_v2_is_the_best_on_dev() -> None:
    """Answering the two surest gives 2 + 1 for the third left empty."""
    score, threshold = best_threshold([1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [3.0, 2.0, -1.0])
    assert (score, threshold) == (100.0, 2.0)
    assert best_threshold([0.0], [1.0], [5.0]) == (100.0, float("inf"))


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans(), st.integers(-3, 3)),
        min_size=1,
        max_size=9,
    )
)
def test_no_other_threshold_of_squad_v2_does_better(
    questions: list[tuple[float, bool, int]],
) -> None:
    answered, empty = ([float(one[k]) for one in questions] for k in (0, 1))
    margins = [float(margin) for *_, margin in questions]

    def at(threshold: float) -> float:
        scores = [
            a if m >= threshold else e for a, e, m in zip(answered, empty, margins, strict=True)
        ]
        return 100 * sum(scores) / len(scores)

    score, threshold = best_threshold(answered, empty, margins)
    assert score == pytest.approx(at(threshold))
    assert score == pytest.approx(max(at(other) for other in (*margins, float("inf"))))


def test_vqa_accuracy_counts_the_other_annotators() -> None:
    """Two of ten agree: for the eight others min(1, 2/3), for the two themselves 1/3."""
    answers = ["cat", *["cat"] * 2, *["dog"] * 8]
    assert value("vqa_accuracy", ["A cat."], [answers]) == pytest.approx(
        100 * (8 * 2 / 3 + 2 / 3) / 10
    )
    assert vqa.normalise("Two, 1,000 dogs!") == "2 1000 dogs"
    assert vqa.normalise("It is 2.5 or 3.") == "it is 2.5 or 3"


def test_a_box_is_right_from_half_overlap_on() -> None:
    assert vqa.box_overlap("[0.0, 0.0, 1.0, 1.0]", "[0.0, 0.0, 1.0, 0.5]") == 0.5
    assert (
        value("box_iou50", ["[0, 0, 1, 1]", "no box"], [["[0, 0, 1, 0.5]"], ["[0, 0, 1, 1]"]])
        == 50.0
    )


def test_a_caption_equal_to_its_references_has_the_highest_cider() -> None:
    texts = ["a red cup on a table", "two dogs run in the snow", "a man rides his old bicycle"]
    assert CORPUS["cider"](texts, [[text] for text in texts]) == pytest.approx(1000.0)
    assert CORPUS["cider"](
        ["nothing alike here now", *texts[1:]], [[text] for text in texts]
    ) == pytest.approx(2000 / 3)


def test_characters_give_credit_where_spaces_do_not_part_words() -> None:
    assert value("squad_f1", ["北京市"], [["北京"]]) == 0.0
    assert value("char_f1", ["北京市"], [["北京"]]) == pytest.approx(80.0)


def test_macro_f1_does_not_depend_on_the_process_that_computes_it() -> None:
    code = (
        "from xstilts.scoring.metrics import macro_f1;"
        "tags = [f'T{i % 7}' for i in range(60)];"
        "print(macro_f1([tags], [[f'T{i % 11}' for i in range(60)]]).hex())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            text=True,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(seen) == 1
