"""Encoding for the `lm` objective: supervised tokens, what is cut, and what does not fit."""

from pathlib import Path
from typing import Any

import pytest

from tests.data.encoding import (
    CONTEXT,
    DECODERS,
    FAMILIES,
    SEEN,
    SPAN,
    TAGGED,
    Processors,
    encoded,
    encoder,
    frame,
    ids,
    png,
    rows,
)
from xstilts.data.image_conditions import apply_condition
from xstilts.data.sequence import IGNORED, BadRow, SequenceBuilder
from xstilts.data.wording import verbalize
from xstilts.errors import DataError
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example

# ---- lm ----

NLI = Example(id="0", text="the big dog", text_pair="the park", label=2)
PROMPT = "the big dog the park"


@pytest.mark.parametrize("family", DECODERS)
def test_a_decoder_predicts_the_answer_and_its_end_and_nothing_else(
    processor: Processors, family: str
) -> None:
    of = processor(family)
    (row,) = rows(of, "snli", NLI, "lm")
    prompt = [*ids(of, PROMPT), *ids(of, TASKS["snli"].instruction), *of.newline]
    answer = [*ids(of, "contradiction"), of.tokenizer.eos_token_id]
    assert row["segments"] == [[*prompt, *answer[:-1]]]
    assert row["labels"] == [
        *[IGNORED] * (len(prompt) - 1),
        *answer,
    ]  # each token is predicted by the one before


def test_xlm_r_fills_masks_at_the_answer(processor: Processors) -> None:
    of = processor("xlm_r")
    (row,) = rows(of, "snli", NLI, "lm")
    answer = ids(of, "contradiction")
    lead = [0, *ids(of, PROMPT), *ids(of, TASKS["snli"].instruction), 2, 2]
    assert row["segments"] == [[*lead, *[of.tokenizer.mask_token_id] * len(answer), 2]]
    assert row["labels"] == [*[IGNORED] * len(lead), *answer, IGNORED]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("task", "example"),
    [
        ("snli", NLI),
        ("squad", SPAN),
        (
            "commonsense_qa",
            Example(id="0", text="who is it ?", choices=("anna", "the dog"), label=1),
        ),
        ("wikiann", TAGGED),
        ("miniature_text", Example(id="0", targets=(CONTEXT,))),
    ],
)
def test_supervised_counts_the_tokens_with_a_loss(
    processor: Processors, family: str, task: str, example: Example
) -> None:
    (row,) = rows(processor(family), task, example, "lm")
    assert row["supervised"] == sum(label != IGNORED for label in row["labels"]) > 0
    assert len(row["labels"]) == row["length"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_prompt_is_cut_before_its_instruction(processor: Processors, family: str) -> None:
    of = processor(family)
    start, between, _ = frame(of)
    (row,) = rows(of, "squad", SPAN, "lm", max_length=48)
    instruction = ids(of, "Answer:")
    answered = [place for place, label in enumerate(row["labels"]) if label != IGNORED]
    lead = row["segments"][0][: answered[0] if of.family == "xlm_r" else answered[0] + 1]
    assert row["length"] <= 48
    assert lead[-len(between) - len(instruction) :] == [*instruction, *between]
    assert lead[len(start) :][:4] == ids(of, "who sees ben ?")


@pytest.mark.parametrize("family", DECODERS)
def test_decoders_predict_all_tokens_of_plain_text(processor: Processors, family: str) -> None:
    of = processor(family)
    (row,) = rows(of, "miniature_text", Example(id="0", targets=(SEEN[0],)), "lm")
    text = ids(of, SEEN[0])
    assert row["segments"] == [[*of.newline, *text]]
    assert row["labels"][len(of.newline) - 1 :] == [*text, of.tokenizer.eos_token_id]


def test_xlm_r_predicts_a_seventh_of_plain_text_mostly_from_masks(processor: Processors) -> None:
    of = processor("xlm_r")
    encoded_rows = rows(of, "miniature_text", Example(id="0", targets=(" ".join(SEEN * 9),)), "lm")
    assert [row["length"] for row in encoded_rows][:-1] == [512] * (len(encoded_rows) - 1)
    text = ids(of, " ".join(SEEN * 9))
    seen = [token for row in encoded_rows for token in row["segments"][0][1:-1]]
    labels = [label for row in encoded_rows for label in row["labels"][1:-1]]
    at = [place for place, label in enumerate(labels) if label != IGNORED]
    assert 0.10 < len(at) / len(text) < 0.20
    assert all(labels[place] == text[place] for place in at)
    assert all(seen[place] == text[place] for place in range(len(text)) if place not in at)
    assert 0.6 < sum(seen[place] == of.tokenizer.mask_token_id for place in at) / len(at) < 0.95


@pytest.mark.parametrize("text", ["ben", "who sees", "carl is in the park ."])
def test_every_window_of_plain_text_has_a_masked_token(processor: Processors, text: str) -> None:
    """Otherwise short captions would lose their row, and a score its prediction."""
    of = encoder(processor("xlm_r"), "miniature_text", "lm")
    for place in range(30):
        (row,) = of.rows(Example(id="0", targets=(text,)), place)
        masked = [label for label in row["labels"] if label != IGNORED]
        assert row["supervised"] == len(masked) > 0


@pytest.mark.parametrize(
    ("task", "more"), [("miniature_text", {}), ("coco_captions", {}), ("vqa_v2", {"text": "who ?"})]
)
def test_an_answer_without_any_token_is_a_bad_row(
    processor: Processors, task: str, more: dict[str, Any]
) -> None:
    with pytest.raises(BadRow, match="has no token in this tokenizer"):
        rows(processor("xlm_r"), task, Example(id="0", targets=(" ",), **more), "lm")


def test_masks_depend_on_the_index_of_the_example(processor: Processors) -> None:
    """Rows with equal ids have different masks; another id at the same index changes nothing."""
    of_masks = encoder(processor("xlm_r"), "miniature_text", "lm")
    first, again, other = (
        next(of_masks.rows(Example(id=name, targets=(CONTEXT,)), place))["labels"]
        for name, place in (("a", 0), ("b", 0), ("a", 1))
    )
    assert first == again
    assert first != other


# ---- what does not fit ----


def lm_labels(row: dict[str, Any]) -> list[int]:
    return [label for label in row["labels"] if label != IGNORED]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("task", "example"),
    [
        ("nlvr", Example(id="7", text=" ".join(SEEN), label=1)),
        ("snli", Example(id="7", text=" ".join(SEEN), text_pair=" ".join(SEEN), label=1)),
        (
            "siqa",
            Example(
                id="7", text=" ".join(SEEN), question=SEEN[6], choices=("anna", "ben"), label=1
            ),
        ),
        ("squad", Example(id="7", text=" ".join(SEEN), question=SEEN[6], answers=(("ben", 30),))),
        (
            "vqa_v2",
            Example(id="7", text=" ".join(SEEN), question=SEEN[6], targets=("ben",)),
        ),  # the caption first
    ],
)
def test_a_context_is_cut_before_the_question_the_instruction_or_the_answer(
    processor: Processors, family: str, task: str, example: Example
) -> None:
    of = processor(family)
    of_task = TASKS[task]
    making = encoder(of, task, "lm", max_length=46)
    (row,) = making.rows(example)
    words = verbalize(of_task, example)
    read = of.tokenizer.decode(row["segments"][0])
    assert making.truncated == 1
    assert row["length"] <= 46
    for text in (example.question or "", words.instruction):
        assert text.replace(" ", "") in read.replace(" ", "")
    answer = ids(of, words.answer)
    assert lm_labels(row) == (
        answer if of.family == "xlm_r" else [*answer, of.tokenizer.eos_token_id]
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("task", "example"),
    [
        ("coco_captions", Example(id="7", targets=(CONTEXT,))),  # the answer
        ("vqa_v2", Example(id="7", text=CONTEXT, targets=("ben",))),  # the question
        (
            "siqa",
            Example(id="7", text="the park", question="who ?", choices=(CONTEXT, "ben"), label=1),
        ),  # an option
        (
            "wikiann",
            Example(id="7", tokens=tuple(CONTEXT.split()), tags=("O",) * len(CONTEXT.split())),
        ),  # all tags
    ],
)
def test_a_row_whose_question_or_answer_would_be_cut_is_a_bad_row(
    processor: Processors, family: str, task: str, example: Example
) -> None:
    with pytest.raises(BadRow, match="lm_length 64 allows"):
        rows(processor(family), task, example, "lm", max_length=64)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_image_conditions_have_the_same_bad_rows(processor: Processors, family: str) -> None:
    """Near the limit, only question and answer decide, whatever the caption."""
    of, bad = processor(family), []
    for words in range(1, 30):
        shown = Example(
            id="7",
            text=" ".join(["park"] * words),
            targets=("the dog",),
            images=(png(16, 16),),
            caption=CONTEXT,
        )
        conditions = ["removed", "caption"] + (["real", "blank"] if of.pictures else [])
        fits = set()
        for condition in conditions:
            (example,) = apply_condition([shown], condition)
            try:
                fits.add(bool(rows(of, "vqa_v2", example, "lm", max_length=24)))
            except BadRow:
                fits.add(False)
        assert len(fits) == 1, f"{words} words"
        bad.append(fits != {True})
    assert 0 < sum(bad) < len(bad)


def test_rows_that_do_not_fit_are_named_and_counted_with_the_bad_records(
    processor: Processors, tmp_path: Path
) -> None:
    examples = [Example(id=f"e{i}", targets=("the dog" if i else CONTEXT,)) for i in range(30)]
    _, info = encoded(processor("llava"), "coco_captions", examples, tmp_path, "lm")
    assert (info["examples"], info["rows"], info["bad_rows"]) == (30, 29, 1)
    assert info["bad"][0]["row"] == 0
    assert info["bad"][0]["reason"].startswith("e0: question, instruction and answer have")
    with pytest.raises(
        DataError,
        match=r"1 of 30 records do not fit and 1 source rows are bad, more than 5%; record 0, e0",
    ):
        encoded(processor("llava"), "coco_captions", examples, tmp_path, "lm", bad_records=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_text_is_trained_on_completely_in_windows(processor: Processors, family: str) -> None:
    of = processor(family)
    encoded_rows = rows(
        of, "miniature_text", Example(id="0", targets=(CONTEXT,)), "lm", max_length=24
    )
    assert len(encoded_rows) > 2
    assert all(row["length"] <= 24 for row in encoded_rows)
    if of.family == "xlm_r":
        read = [
            seen if label == IGNORED else label
            for row in encoded_rows
            for seen, label in zip(row["segments"][0], row["labels"], strict=True)
        ]
        assert [token for token in read if token not in (0, 2)] == ids(of, CONTEXT)
    else:
        assert [token for row in encoded_rows for token in lm_labels(row)] == [
            *ids(of, CONTEXT),
            of.tokenizer.eos_token_id,
        ]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_question_of_a_choice_is_kept_if_its_text_is_too_long(
    processor: Processors, family: str
) -> None:
    of = processor(family)
    example = Example(
        id="0", text=" ".join(SEEN), question=SEEN[6], choices=("anna", "the dog"), label=0
    )
    (row,) = rows(of, "siqa", example, max_length=24)
    question = SEEN[6].replace(" ", "")
    assert all(
        question in of.tokenizer.decode(segment).replace(" ", "") for segment in row["segments"]
    )
    assert max(map(len, row["segments"])) <= 24


def test_a_row_that_lost_a_required_part_is_an_error(
    processor: Processors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        SequenceBuilder,
        "shortened",
        lambda self, groups, texts, limit: [group[:1] for group in groups],
    )
    example = Example(
        id="7", text=" ".join(SEEN), question=SEEN[6], choices=("anna", "ben"), label=1
    )
    with pytest.raises(RuntimeError, match="siqa, example 7: encoding lost"):
        rows(processor("llava"), "siqa", example, "lm", max_length=46)


@pytest.mark.parametrize("family", DECODERS)
def test_every_choice_has_the_image(processor: Processors, family: str) -> None:
    of = processor(family)
    example = Example(
        id="0", text="who is it ?", choices=("anna", "ben"), label=0, images=(png(16, 16),)
    )
    (row,) = rows(of, "a_okvqa", example)
    assert [segment.count(of.image_token_id) for segment in row["segments"]] == [4, 4]
