"""Encoding pairs, choices and images, and the whole encode step."""

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.data.encoding import (
    CONTEXT,
    DECODERS,
    FAMILIES,
    SEEN,
    SPAN,
    Processors,
    encoded,
    frame,
    ids,
    png,
    rows,
)
from xstilts.errors import DataError
from xstilts.models.processor import Processor
from xstilts.tasks.task import Example

# ---- pairs ----


def test_xlm_r_sees_a_pair_as_in_its_pre_training(processor: Processors) -> None:
    of = processor("xlm_r")
    (row,) = rows(of, "snli", Example(id="0", text="the big dog", text_pair="the park", label=2))
    tokens = of.tokenizer.convert_ids_to_tokens(row["segments"][0])
    assert tokens == ["<s>", "▁the", "▁big", "▁dog", "</s>", "</s>", "▁the", "▁park", "</s>"]
    assert row["label"] == 2


@pytest.mark.parametrize("family", DECODERS)
def test_decoders_read_a_newline_between_the_texts_and_an_end_token(
    processor: Processors, family: str
) -> None:
    of = processor(family)
    (row,) = rows(of, "snli", Example(id="0", text="the big dog", text_pair="the park", label=1))
    assert row["segments"] == [
        [*ids(of, "the big dog"), *of.newline, *ids(of, "the park"), of.tokenizer.eos_token_id]
    ]
    assert row["label"] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_text_has_no_separator(processor: Processors, family: str) -> None:
    of = processor(family)
    start, _, end = frame(of)
    (row,) = rows(of, "nlvr", Example(id="0", text="the big dog", label=1))
    assert row["segments"] == [[*start, *ids(of, "the big dog"), *end]]
    assert row["length"] == len(row["segments"][0])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_longer_text_of_a_long_pair_is_cut(processor: Processors, family: str) -> None:
    of = processor(family)
    start, between, end = frame(of)
    (row,) = rows(
        of, "snli", Example(id="0", text=SEEN[0], text_pair="the park", label=0), max_length=10
    )
    limit = 10 - len(start) - len(between) - len(end) - 2
    assert row["segments"] == [
        [*start, *ids(of, SEEN[0])[:limit], *between, *ids(of, "the park"), *end]
    ]
    assert row["length"] == 10


# ---- several segments ----


@pytest.mark.parametrize("family", FAMILIES)
def test_multiple_choice_has_one_segment_per_choice(processor: Processors, family: str) -> None:
    of = processor(family)
    start, between, end = frame(of)
    example = Example(
        id="0",
        text="anna is in the park .",
        question="where is ben ?",
        choices=("dog", "the big park"),
        label=1,
    )
    (row,) = rows(of, "siqa", example)
    context = ids(of, "anna is in the park . where is ben ?")
    assert row["segments"] == [
        [*start, *context, *between, *ids(of, one), *end] for one in example.choices
    ]
    assert row["length"] == sum(map(len, row["segments"]))
    assert row["label"] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_retrieval_has_two_segments_english_first(processor: Processors, family: str) -> None:
    of = processor(family)
    start, _, end = frame(of)
    (row,) = rows(of, "tatoeba", Example(id="0", text="กรุง", text_pair="the park"), "eval")
    assert row["segments"] == [[*start, *ids(of, text), *end] for text in ("the park", "กรุง")]


def test_a_ranking_query_is_trained_with_its_answer_and_scored_alone(processor: Processors) -> None:
    of = processor("xlm_r")
    (pair,) = rows(
        of, "squad_dual", Example(id="0", text="who sees anna ?", text_pair="ben sees anna .")
    )
    (query,) = rows(
        of, "lareqa", Example(id="0", text="who sees anna ?", relevant=("en/0",)), "eval"
    )
    texts = [[0, *ids(of, text), 2] for text in ("who sees anna ?", "ben sees anna .")]
    assert (pair["segments"], query["segments"]) == (texts, texts[:1])


# ---- pictures ----


def test_llavas_placeholder_is_before_the_text(processor: Processors) -> None:
    of = processor("llava")
    (row,) = rows(of, "nlvr", Example(id="0", text="the big dog", label=1, images=(png(40, 24),)))
    placeholder = [*[of.image_token_id] * 4, *of.newline]  # 16 × 16 pixels in patches of 8
    assert row["segments"] == [[*placeholder, *ids(of, "the big dog"), of.tokenizer.eos_token_id]]
    assert row["grids"] == [[]]


def test_qwens_placeholder_is_as_long_as_its_grid_says(processor: Processors) -> None:
    of = processor("qwen_vl")
    pictures = (png(40, 24), png(16, 32))
    (row,) = rows(of, "nlvr", Example(id="0", text="the big dog", label=1, images=pictures))
    assert row["grids"] == [[1, 6, 10], [1, 8, 4]]  # patches of 4 pixels, merged 2 × 2
    tokens = of.tokenizer.convert_ids_to_tokens(row["segments"][0])
    shown = ["<|vision_start|>", *["<|image_pad|>"] * 15, "<|vision_end|>"]
    assert tokens[: len(shown)] == shown
    assert tokens.count("<|image_pad|>") == 15 + 8


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("objective", ["head", "lm"])
def test_an_image_does_not_count_towards_the_length_of_the_text(
    processor: Processors, family: str, objective: str
) -> None:
    """160 × 160 pixels are more tokens than `max_length`; the text is that of the row without a
    picture.
    """
    of = processor(family)
    example = Example(id="0", text=" ".join(SEEN), label=1, images=(png(160, 160),))
    (shown,) = rows(of, "nlvr", example, objective, max_length=24)
    (bare,) = rows(
        of, "nlvr", Example(id="0", text=" ".join(SEEN), label=1), objective, max_length=24
    )
    placeholder = of.image_placeholder(png(160, 160))
    assert shown["segments"][0] == [*placeholder, *bare["segments"][0]]
    assert bare["length"] <= 24


# ---- the step ----


def test_truncated_rows_are_counted(processor: Processors, tmp_path: Path) -> None:
    short, long = "the park", " ".join(SEEN)
    pairs = [
        Example(id=str(i), text=one, text_pair=short, label=0)
        for i, one in enumerate((short, long, long))
    ]
    encoded_rows, info = encoded(processor("llava"), "snli", pairs, tmp_path, max_length=16)
    assert [row.length == 16 for row in encoded_rows] == [False, True, True]
    assert (info["rows"], info["examples"], info["truncated"]) == (3, 3, 2)
    assert info["tokens"] == sum(row.length for row in encoded_rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_truncated_row_of_several_segments_counts_once(
    processor: Processors, family: str, tmp_path: Path
) -> None:
    example = Example(
        id="0", text=" ".join(SEEN), question="who ?", choices=("anna", "ben", "carl"), label=0
    )
    _, info = encoded(processor(family), "siqa", [example], tmp_path, max_length=16)
    assert info["truncated"] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_where_every_byte_has_a_token_no_token_is_unknown(
    processor: Processors, family: str, tmp_path: Path
) -> None:
    _, info = encoded(
        processor(family),
        "snli",
        [Example(id="0", text="กรุงเทพ", text_pair="☃", label=0)],
        tmp_path,
    )
    assert info["unknown_share"] == 0


def test_the_share_of_unknown_tokens_is_relative_to_all_tokens(tmp_path: Path) -> None:
    inner = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "dog": 3}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    few = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    example = Example(id="0", text="dog cat", text_pair="dog dog", label=0)
    _, info = encoded(Processor("xlm_r", few), "snli", [example], tmp_path)
    assert info["unknown_share"] == 1 / 8  # <s> dog cat </s></s> dog dog </s>


def test_only_kept_examples_are_encoded(processor: Processors, tmp_path: Path) -> None:
    pairs = [Example(id=name, text="dog", text_pair="park", label=0) for name in "abc"]
    encoded_rows, info = encoded(
        processor("xlm_r"), "snli", pairs, tmp_path, keep=[True, False, True]
    )
    assert [row.row for row in encoded_rows] == [0, 2]
    assert info["examples"] == 2


def test_images_are_referenced_by_their_digest(processor: Processors, tmp_path: Path) -> None:
    from hashlib import sha256

    example = Example(id="0", text="the dog", label=1, images=(png(16, 16),))
    (row,), _ = encoded(processor("qwen_vl"), "nlvr", [example], tmp_path)
    assert row.images == [sha256(png(16, 16)).hexdigest()]
    assert row.grids == [[1, 4, 4]]


def test_a_split_without_any_row_left_fails_the_step(processor: Processors, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="squad train en: 1 of 1 records do not fit, more than 5%"):
        encoded(
            processor("xlm_r"),
            "squad",
            [replace(SPAN, answers=((" ", CONTEXT.index(" ")),))],
            tmp_path,
        )


def test_ranking_queries_have_their_own_length_limit(processor: Processors) -> None:
    """LAReQA's are 96 of 352 tokens (XTREME-R scripts/train_lareqa.sh); a candidate has the
    rest.
    """
    of = processor("xlm_r")
    long = "the cat sees the dog " * 20
    pair = Example(id="1", text=long, text_pair=long)
    (row,) = rows(of, "squad_dual", pair, max_length=24, question_length=10)
    assert [len(segment) for segment in row["segments"]] == [10, 24]
    query, candidate = Example(id="q", text=long, relevant=("c",)), Example(id="c", text=long)
    lengths = [
        rows(of, "lareqa", one, "eval", max_length=24, question_length=10)[0]["length"]
        for one in (query, candidate)
    ]
    assert lengths == [10, 24]
