"""Records → rows of token ids where characters count: windows of a context, words with tags,
control tokens in data.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.data.encoding import (
    ANSWER,
    CONTEXT,
    FAMILIES,
    SEEN,
    SPAN,
    TAGGED,
    Processors,
    encoded,
    encoder,
    frame,
    ids,
    rows,
)
from xstilts.data.sequence import IGNORED, BadRow
from xstilts.models.processor import Processor
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example

# ---- spans ----


@pytest.mark.parametrize("family", FAMILIES)
def test_the_question_comes_before_the_context(processor: Processors, family: str) -> None:
    of = processor(family)
    start, between, end = frame(of)
    (row,) = rows(of, "squad", SPAN)
    head = [*start, *ids(of, "who sees ben ?"), *between]
    assert row["segments"] == [[*head, *ids(of, CONTEXT), *end]]
    assert row["offsets"][: 2 * len(head)] == [-1, -1] * len(head)
    assert row["offsets"][-2:] == [-1, -1]
    assert len(row["offsets"]) == 2 * row["length"]


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_begin_every_stride_tokens_and_cover_the_context(
    processor: Processors, family: str
) -> None:
    of = processor(family)
    start, between, end = frame(of)
    head = len(start) + len(ids(of, "who sees ben ?")) + len(between)
    windows = [
        row["segments"][0][head : -len(end)]
        for row in rows(of, "squad", SPAN, "eval", max_length=40, stride=9, question_length=16)
    ]
    whole, limit = ids(of, CONTEXT), 40 - head - len(end)
    assert windows == [whole[9 * number : 9 * number + limit] for number in range(len(windows))]
    assert len(windows) > 2
    assert 9 * (len(windows) - 2) + limit < len(whole) <= 9 * (len(windows) - 1) + limit


def test_a_context_of_500_tokens_has_the_official_windows(processor: Processors) -> None:
    """max_seq_length 384, doc_stride 128, a question of 10 tokens: 370 of the context from 0,
    128 and 256 on.
    """
    of = processor("xlm_r")
    example = Example(id="q", text="dog " * 500, question="dog " * 10)
    encoded_rows = rows(
        of, "squad", example, "eval", max_length=384, stride=128, question_length=64
    )
    assert [row["length"] - 14 for row in encoded_rows] == [370, 370, 244]
    context = [(row["offsets"][2 * 13] // 4, row["offsets"][-4] // 4) for row in encoded_rows]
    assert context == [(0, 369), (128, 497), (256, 499)]
    # Token 248 has min(248, 121) in the first window and min(120, 249) in the second; token 377 has
    # min(249, 120) + 3.7 in the second and min(121, 122) + 2.44 in the third, which is shorter; 378
    # one less and one more.
    assert [[place - 13 for place in row["starts"]] for row in encoded_rows] == [
        [0, 249],
        [121, 250],
        [122, 244],
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_windows_span_points_at_the_answer_or_at_token_0(
    processor: Processors, family: str
) -> None:
    of = processor(family)
    held = elsewhere = 0
    for row in rows(of, "squad", SPAN, max_length=48, stride=8, question_length=16):
        first, last = row["span"]
        text = CONTEXT[row["offsets"][2 * first] : row["offsets"][2 * last + 1]] if first else ""
        assert text in ("", ANSWER[0])
        held += text == ANSWER[0]
        elsewhere += (first, last) == (0, 0)
    assert held > 1
    assert elsewhere > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_in_training_windows_without_the_answer_are_kept_and_counted(
    processor: Processors, family: str
) -> None:
    lengths = {"max_length": 40, "stride": 9, "question_length": 16}
    training, scoring = (
        encoder(processor(family), "squad", objective, **lengths) for objective in ("head", "eval")
    )
    trained, scored = (list(one.rows(SPAN)) for one in (training, scoring))
    assert [row["segments"] for row in trained] == [row["segments"] for row in scored]
    assert training.unanswerable == sum(row["span"] == [0, 0] for row in trained) > 0
    assert scoring.unanswerable == 0


def test_an_answer_without_any_token_is_a_bad_row_of_training(processor: Processors) -> None:
    of = encoder(processor("xlm_r"), "squad")
    with pytest.raises(BadRow, match="the answer ' ' has no token"):
        list(of.rows(Example(id="q", text="ben sees", question="who ?", answers=((" ", 3),))))


def test_rows_for_scoring_contain_no_answer(processor: Processors) -> None:
    assert all(
        row["span"] == []
        for row in rows(processor("xlm_r"), "squad", SPAN, "eval", max_length=40, stride=9)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unanswerable_question_points_at_the_first_token_in_all_windows(
    processor: Processors, family: str
) -> None:
    example = Example(id="q", text=CONTEXT, question="who sees carl ?")
    encoded_rows = rows(processor(family), "squad_v2", example, max_length=40, stride=9)
    assert len(encoded_rows) > 2
    assert all(row["span"] == [0, 0] for row in encoded_rows)


def test_a_long_question_is_cut(processor: Processors) -> None:
    of = processor("xlm_r")
    example = Example(id="q", text="ben sees anna", question=" ".join(SEEN), answers=(("ben", 0),))
    (row,) = rows(of, "squad", example, question_length=5)
    assert row["segments"] == [[0, *ids(of, SEEN[0])[:5], 2, 2, *ids(of, "ben sees anna"), 2]]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_predicted_answer_includes_the_marks_that_follow_it(
    processor: Processors, family: str
) -> None:
    """U+200B after a full stop and a combining accent, which XLM-R's normaliser removes or
    composes.
    """
    of = processor(family)
    context = "Milk.[6]\u200b the cafe\u0301 ."
    for answer in ("Milk.[6]\u200b", "cafe\u0301"):
        example = Example(
            id="q", text=context, question="what ?", answers=((answer, context.index(answer)),)
        )
        (row,) = rows(of, "squad", example)
        first, last = row["span"]
        assert context[row["offsets"][2 * first] : row["offsets"][2 * last + 1]].strip() == answer


# ---- text is text ----

SPELLED = "a <s> b</s> <mask> <image> <|image_pad|> <|im_end|> <unk>"
ALL_FORMATS = [
    ("snli", "head", Example(id="0", text=SPELLED, text_pair=SPELLED, label=0)),
    ("snli", "lm", Example(id="0", text=SPELLED, text_pair=SPELLED, label=0)),
    (
        "commonsense_qa",
        "head",
        Example(id="0", text=SPELLED, question=SPELLED, choices=(SPELLED, SPELLED), label=0),
    ),
    (
        "commonsense_qa",
        "lm",
        Example(id="0", text=SPELLED, question=SPELLED, choices=(SPELLED, SPELLED), label=0),
    ),
    ("squad", "head", Example(id="0", text=SPELLED, question=SPELLED, answers=(("<s>", 2),))),
    ("squad", "lm", Example(id="0", text=SPELLED, question=SPELLED, answers=(("<s>", 2),))),
    ("wikiann", "head", Example(id="0", tokens=tuple(SPELLED.split()), tags=("O",) * 8)),
    ("tatoeba", "eval", Example(id="0", text=SPELLED, text_pair=SPELLED)),
    ("lareqa", "eval", Example(id="0", text=SPELLED, relevant=("c",))),
    ("squad_dual", "head", Example(id="0", text=SPELLED, text_pair=SPELLED)),
    ("coco_captions", "lm", Example(id="0", text="", targets=(SPELLED,))),
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("task", "objective", "example"), ALL_FORMATS, ids=[f"{t}-{o}" for t, o, _ in ALL_FORMATS]
)
def test_control_tokens_spelled_out_in_data_never_reach_the_model(
    processor: Processors, family: str, task: str, objective: str, example: Example
) -> None:
    """A row has the control tokens of its frame and masks, as many as with harmless words in
    place of the spelled ones.
    """
    of = processor(family)

    def control(of_example: Example) -> list[list[int]]:
        encoded_rows = rows(of, task, of_example, objective)
        sequences = [
            ids
            for row in encoded_rows
            for ids in (*row["segments"], [i for i in row["labels"] if objective == "lm"])
        ]
        special = set(of.tokenizer.all_special_ids) - {
            of.tokenizer.mask_token_id
        }  # masks stand for the answer's tokens
        return [[token for token in ids if token in special] for ids in sequences]

    harmless = str.maketrans("<>/|", "()++")
    plain = replace(
        example,
        text=example.text.translate(harmless),
        text_pair=example.text_pair and example.text_pair.translate(harmless),
        question=example.question and example.question.translate(harmless),
        choices=tuple(choice.translate(harmless) for choice in example.choices),
        tokens=tuple(token.translate(harmless) for token in example.tokens),
        targets=tuple(target.translate(harmless) for target in example.targets),
        answers=tuple((text.translate(harmless), start) for text, start in example.answers),
    )
    assert control(example) == control(plain)


# ---- tags ----


@pytest.mark.parametrize(
    ("family", "subtoken"), [("xlm_r", "first"), ("llava", "last"), ("qwen_vl", "last")]
)
def test_a_word_is_tagged_at_the_first_token_by_encoders_and_the_last_by_decoders(
    processor: Processors, family: str, subtoken: str
) -> None:
    of = processor(family)
    (row,) = rows(of, "wikiann", TAGGED)
    before = len(frame(of)[0])
    word = (
        len(ids(of, "anna sees")),
        len(ids(of, "anna sees กรุงเทพ")),
    )  # the tokens of the third word
    assert word[1] - word[0] > 5
    expected = word[0] if subtoken == "first" else word[1] - 1
    assert row["words"].index(2) == before + expected


@pytest.mark.parametrize("family", FAMILIES)
def test_only_tagged_tokens_have_labels(processor: Processors, family: str) -> None:
    (row,) = rows(processor(family), "wikiann", TAGGED)
    names = TASKS["wikiann"].labels
    assert len(row["labels"]) == len(row["words"]) == row["length"]
    assert [names[label] for label in row["labels"] if label != IGNORED] == list(TAGGED.tags)
    assert [label == IGNORED for label in row["labels"]] == [word == -1 for word in row["words"]]


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_of_a_long_sentence_contain_every_word_once_and_in_order(
    processor: Processors, family: str
) -> None:
    words = (*" ".join(SEEN).split(), "กรุง", *" ".join(SEEN).split())
    encoded_rows = rows(
        processor(family),
        "wikiann",
        Example(id="0", tokens=words, tags=("O",) * len(words)),
        max_length=24,
    )
    assert len(encoded_rows) > 4
    assert all(row["length"] <= 24 for row in encoded_rows)
    assert [word for row in encoded_rows for word in row["words"] if word >= 0] == list(
        range(len(words))
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sentence_is_split_between_words(processor: Processors, family: str) -> None:
    of = processor(family)
    start, _, end = frame(of)
    words = ("anna", "sees", "กรุง", "ben") * 4
    encoded_rows = rows(
        of, "wikiann", Example(id="0", tokens=words, tags=("O",) * 16), max_length=24
    )
    answered = [[words[word] for word in row["words"] if word >= 0] for row in encoded_rows]
    for row, held in zip(encoded_rows, answered, strict=True):
        assert row["segments"] == [[*start, *ids(of, " ".join(held)), *end]]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_word_longer_than_a_piece_is_still_tagged_once(
    processor: Processors, family: str
) -> None:
    example = Example(id="0", tokens=("anna", "กรุงเทพมหานคร", "ben"), tags=("O",) * 3)
    encoded_rows = rows(processor(family), "wikiann", example, max_length=12)
    assert all(row["length"] <= 12 for row in encoded_rows)
    assert [word for row in encoded_rows for word in row["words"] if word >= 0] == [0, 1, 2]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "words",
    [
        ("\ufeff",),
        ("\u200b", "anna"),
        ("anna", "\u200c"),
        ("anna", "\u200f\u200f", "ben"),
        ("anna", "\ufe0f", "\u200b", "\ufeff", "ben"),
        ("\u00a0", "\u3000", "\u00a0", "ben"),
        ("anna\u200b", "\u200fben", "x\u200by"),
        ("anna", "", "ben"),
        ("e\u0301", "\u0301", "\u0301"),
        ("<s>", "</s>", "<image>", "<|im_end|>"),
    ],
)
def test_every_word_has_exactly_one_tag_also_one_without_tokens(
    processor: Processors, family: str, words: tuple[str, ...]
) -> None:
    tags = tuple(TASKS["wikiann"].labels[place % 7] for place in range(len(words)))
    (row,) = rows(processor(family), "wikiann", Example(id="0", tokens=words, tags=tags))
    assert [word for word in row["words"] if word >= 0] == list(range(len(words)))
    assert [label for label in row["labels"] if label != IGNORED] == [
        place % 7 for place in range(len(words))
    ]


def test_a_word_without_tokens_becomes_the_unknown_token_in_xlm_r() -> None:
    """nmt_nfkc removes U+FEFF and makes U+200B a space; the official preprocessing writes <unk>
    in their place.
    """
    inner = Tokenizer(
        models.Unigram(
            [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁b", -1.0)], unk_id=2
        )
    )
    inner.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    few = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    words = ("\u200b", "a", "\ufeff", "\u200c", "b", "\u200f\u200f")
    (row,) = rows(
        Processor("xlm_r", few), "wikiann", Example(id="0", tokens=words, tags=("O",) * 6)
    )
    assert row["segments"] == [[0, 2, 3, 2, 2, 4, 2, 1]]
    assert row["words"] == [-1, 0, 1, 2, 3, 4, 5, -1]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_real_tokenizers_give_words_without_tokens_one_tag(
    real_tokenizers: Path, family: str
) -> None:
    name = {
        "xlm_r": "xlm-roberta-tokenizer",
        "llava": "llama2-tokenizer",
        "qwen_vl": "qwen2-tokenizer",
    }[family]
    of = Processor(
        family, AutoTokenizer.from_pretrained(real_tokenizers / name, local_files_only=True)
    )
    odd = (
        "\ufeff",
        "\u200b",
        "\u200c",
        "\u200f\u200f",
        "\ufe0f",
        "\u00a0",
        "\u3000",
        "",
        "\u0301",
        "<s>",
        "<image>",
        "x" * 3000,
    )
    cases = [
        case
        for word in odd
        for case in ((word,), (word, "a"), ("a", word), ("a", word, "b"), ("a", word, word, "b"))
    ]
    for words in (*cases, odd):
        encoded_rows = rows(
            of, "wikiann", Example(id="0", tokens=words, tags=("O",) * len(words)), max_length=128
        )
        assert [word for row in encoded_rows for word in row["words"] if word >= 0] == list(
            range(len(words))
        ), words


def test_a_task_without_a_list_of_tags_uses_the_tags_of_its_rows(
    processor: Processors, tmp_path: Path
) -> None:
    examples = [
        Example(id=str(i), tokens=("anna", "sees"), tags=tags)
        for i, tags in enumerate((("N", "V"), ("N", "X")))
    ]
    encoded_rows, info = encoded(processor("xlm_r"), "ccg", examples, tmp_path)
    assert info["classes"] == 3
    assert [[label for label in row.labels if label >= 0] for row in encoded_rows] == [
        [0, 1],
        [0, 2],
    ]
