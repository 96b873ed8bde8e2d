"""The right answers of an evaluation, as heads give them and as words."""

from pathlib import Path

import pytest

from xstilts.data.records import write_records
from xstilts.plan.step_factory import scored_by
from xstilts.scoring.gold import answers_in_words, gold_answers
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example


def alone(examples: list[Example], folder: Path) -> Path:
    """records.parquet without the pictures beside it, as a score step fetches it."""
    files = write_records(examples, folder)
    if "images.parquet" in files:
        files["images.parquet"].unlink()
    return files["records.parquet"]


def test_captions_are_compared_with_all_references_and_need_no_picture(tmp_path: Path) -> None:
    told = alone([Example(id="a", images=(b"png",), targets=("a dog", "one dog"))], tmp_path)
    assert [gold.gold for gold in answers_in_words(told, TASKS["coco_captions"])] == [
        ["a dog", "one dog"]
    ]


def test_a_label_in_words_is_its_verbaliser(tmp_path: Path) -> None:
    told = alone([Example(id="a", text="a dog", text_pair="an animal", label=0)], tmp_path)
    assert [gold.gold for gold in answers_in_words(told, TASKS["snli"])] == [
        [TASKS["snli"].verbalised[0]]
    ]


def test_a_span_has_every_annotators_answer(tmp_path: Path) -> None:
    answers = (("Rome", 3), ("in Rome", 0))
    told = alone([Example(id="a", text="in Rome", question="where?", answers=answers)], tmp_path)
    assert [gold.gold for gold in answers_in_words(told, TASKS["squad"])] == [["Rome", "in Rome"]]
    assert [(gold.gold, gold.context) for gold in gold_answers(told, "span")] == [
        (["Rome", "in Rome"], "in Rome")
    ]


def test_what_is_not_scored_has_no_answers(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="generation"):
        gold_answers(alone([Example(id="a", text="x")], tmp_path), "generation")


@pytest.mark.parametrize(
    ("task", "objective", "metrics"),
    [
        ("snli", "lm", ("squad_em",)),
        ("snli", "head", ("accuracy",)),
        ("squad", "lm", TASKS["squad"].metrics),
        ("vqa_v2", "lm", TASKS["vqa_v2"].metrics),
    ],
)
def test_words_are_scored_as_words(task: str, objective: str, metrics: tuple[str, ...]) -> None:
    assert scored_by(TASKS[task], objective) == metrics
