"""Records → rows of token ids: layouts, windows, sub-tokens, supervised tokens, what is cut and counted."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from xstilts.data.encode import IGNORED, BadRow, Encoder, encode, in_words
from xstilts.data.encoded import EncodedRow, EncodedRows
from xstilts.data.ladder import with_images
from xstilts.data.records import write_records
from xstilts.errors import DataError
from xstilts.models.build import build_tiny
from xstilts.models.processor import Processor, load_processor
from xstilts.plan.step import Step
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example

FAMILIES = ("xlm_r", "llava", "qwen_vl")
DECODERS = ("llava", "qwen_vl")
SEEN = [f"the {size} dog sees {name} in the park ." for size in ("big", "small") for name in ("anna", "ben", "carl")]
SEEN += ["who sees anna ?", "where is ben ?", "entailment neutral contradiction", "is it true ?", "B-PER I-PER O"]
CONTEXT = " ".join(SEEN[:6]) + " สิทธิ sees ben . " + " ".join(SEEN[:6])
ANSWER = ("สิทธิ", CONTEXT.index("สิทธิ"))  # a word that no tokenizer here has seen: many tokens, bytes among them
SPAN = Example(id="q", text=CONTEXT, question="who sees ben ?", answers=(ANSWER,))

Processors = Callable[[str], Processor]


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Processors:
    """Family → the processor of a tiny backbone, built once."""
    made: dict[str, Processor] = {}
    settings = {"hidden": 16, "ff": 16, "layers": 1, "heads": 2, "vision_hidden": 16, "vision_ff": 16}

    def build(family: str) -> Processor:
        if family not in made:
            folder = build_tiny(family, 0, SEEN, {**settings, "vocab_size": 600}, tmp_path_factory.mktemp(family))
            made[family] = load_processor(folder, family)
        return made[family]

    return build


def encoder(of: Processor, task: str, objective: str = "head", **lengths: int) -> Encoder:
    subtoken = "first" if of.family == "xlm_r" else "last"
    return Encoder(TASKS[task], of, objective, {"max_length": 512, **lengths}, subtoken)


def rows(of: Processor, task: str, example: Example, objective: str = "head", **lengths: int) -> list[dict[str, Any]]:
    return list(encoder(of, task, objective, **lengths).rows(example))


def ids(of: Processor, text: str) -> list[int]:
    found: list[int] = of.tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def frame(of: Processor) -> tuple[list[int], list[int], list[int]]:
    """What stands before the first text, between two and after the last."""
    end = of.tokenizer.eos_token_id
    return ([of.tokenizer.bos_token_id], [end] * 2, [end]) if of.family == "xlm_r" else ([], of.newline, [end])


def png(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, "PNG")
    return out.getvalue()


def encoded(
    of: Processor, task: str, examples: Sequence[Example], folder: Path, objective: str = "head", **more: Any
) -> tuple[list[EncodedRow], dict[str, Any]]:
    """The whole step: records.parquet in, encoded.parquet out."""
    keep, bad_records = more.pop("keep", None), more.pop("bad_records", 0)
    lengths = {"max_length": 64, **more}
    spec = {
        "task": task, "split": "train", "language": "en", "objective": objective, "family": of.family,
        "lengths": lengths, "subtoken": "first" if of.family == "xlm_r" else "last",
    }  # fmt: skip
    records = write_records(list(examples), folder)["records.parquet"]
    files, info = encode(Step("encode", spec), records, of, folder, keep, bad_records)
    read = EncodedRows(files["encoded.parquet"])
    return read.rows(range(len(read))), info


# ---- pairs ----


def test_xlm_r_sees_a_pair_as_in_its_pre_training(processor: Processors) -> None:
    of = processor("xlm_r")
    (row,) = rows(of, "snli", Example(id="0", text="the big dog", text_pair="the park", label=2))
    tokens = of.tokenizer.convert_ids_to_tokens(row["segments"][0])
    assert tokens == ["<s>", "▁the", "▁big", "▁dog", "</s>", "</s>", "▁the", "▁park", "</s>"]
    assert row["label"] == 2


@pytest.mark.parametrize("family", DECODERS)
def test_decoders_see_a_line_break_between_the_texts_and_an_end(processor: Processors, family: str) -> None:
    of = processor(family)
    (row,) = rows(of, "snli", Example(id="0", text="the big dog", text_pair="the park", label=1))
    assert row["segments"] == [[*ids(of, "the big dog"), *of.newline, *ids(of, "the park"), of.tokenizer.eos_token_id]]
    assert row["label"] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_one_text_has_nothing_between(processor: Processors, family: str) -> None:
    of = processor(family)
    start, _, end = frame(of)
    (row,) = rows(of, "nlvr", Example(id="0", text="the big dog", label=1))
    assert row["segments"] == [[*start, *ids(of, "the big dog"), *end]]
    assert row["length"] == len(row["segments"][0])


@pytest.mark.parametrize("family", FAMILIES)
def test_of_a_pair_that_is_too_long_the_longer_text_is_cut(processor: Processors, family: str) -> None:
    of = processor(family)
    start, between, end = frame(of)
    (row,) = rows(of, "snli", Example(id="0", text=SEEN[0], text_pair="the park", label=0), max_length=10)
    room = 10 - len(start) - len(between) - len(end) - 2
    assert row["segments"] == [[*start, *ids(of, SEEN[0])[:room], *between, *ids(of, "the park"), *end]]
    assert row["length"] == 10


# ---- spans ----


@pytest.mark.parametrize("family", FAMILIES)
def test_the_question_stands_before_the_context(processor: Processors, family: str) -> None:
    of = processor(family)
    start, between, end = frame(of)
    (row,) = rows(of, "squad", SPAN)
    head = [*start, *ids(of, "who sees ben ?"), *between]
    assert row["segments"] == [[*head, *ids(of, CONTEXT), *end]]
    assert row["offsets"][: 2 * len(head)] == [-1, -1] * len(head)
    assert row["offsets"][-2:] == [-1, -1]
    assert len(row["offsets"]) == 2 * row["length"]


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_begin_every_stride_tokens_and_lose_nothing(processor: Processors, family: str) -> None:
    of = processor(family)
    start, between, end = frame(of)
    head = len(start) + len(ids(of, "who sees ben ?")) + len(between)
    windows = [
        row["segments"][0][head : -len(end)]
        for row in rows(of, "squad", SPAN, "eval", max_length=40, stride=9, question_length=16)
    ]
    whole, room = ids(of, CONTEXT), 40 - head - len(end)
    assert windows == [whole[9 * number : 9 * number + room] for number in range(len(windows))]
    assert len(windows) > 2
    assert 9 * (len(windows) - 2) + room < len(whole) <= 9 * (len(windows) - 1) + room


def test_a_context_of_500_tokens_has_the_official_windows(processor: Processors) -> None:
    """max_seq_length 384, doc_stride 128, a question of 10 tokens: 370 of the context from 0, 128 and 256 on."""
    of = processor("xlm_r")
    example = Example(id="q", text="dog " * 500, question="dog " * 10)
    found = rows(of, "squad", example, "eval", max_length=384, stride=128, question_length=64)
    assert [row["length"] - 14 for row in found] == [370, 370, 244]
    context = [(row["offsets"][2 * 13] // 4, row["offsets"][-4] // 4) for row in found]
    assert context == [(0, 369), (128, 497), (256, 499)]
    # Token 248 has min(248, 121) in the first window and min(120, 249) in the second; token 377 has min(249, 120) + 3.7 in
    # the second and min(121, 122) + 2.44 in the third, which is shorter; 378 one less and one more.
    assert [[place - 13 for place in row["starts"]] for row in found] == [[0, 249], [121, 250], [122, 244]]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_windows_span_points_at_the_answer_or_at_token_0(processor: Processors, family: str) -> None:
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
def test_in_training_windows_without_the_answer_are_kept_and_counted(processor: Processors, family: str) -> None:
    lengths = {"max_length": 40, "stride": 9, "question_length": 16}
    training, scoring = (encoder(processor(family), "squad", objective, **lengths) for objective in ("head", "eval"))
    learnt, scored = (list(one.rows(SPAN)) for one in (training, scoring))
    assert [row["segments"] for row in learnt] == [row["segments"] for row in scored]
    assert training.unanswerable == sum(row["span"] == [0, 0] for row in learnt) > 0
    assert scoring.unanswerable == 0


def test_an_answer_without_any_token_is_left_out_of_training_and_counted(processor: Processors) -> None:
    of = encoder(processor("xlm_r"), "squad")
    assert list(of.rows(Example(id="q", text="ben sees", question="who ?", answers=((" ", 3),)))) == []
    assert of.left_out == 1


def test_rows_to_be_scored_hold_no_answer(processor: Processors) -> None:
    assert all(row["span"] == [] for row in rows(processor("xlm_r"), "squad", SPAN, "eval", max_length=40, stride=9))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_context_does_not_answer_points_at_the_first_token_in_all_windows(
    processor: Processors, family: str
) -> None:
    example = Example(id="q", text=CONTEXT, question="who sees carl ?")
    found = rows(processor(family), "squad_v2", example, max_length=40, stride=9)
    assert len(found) > 2
    assert all(row["span"] == [0, 0] for row in found)


def test_a_long_question_is_cut(processor: Processors) -> None:
    of = processor("xlm_r")
    example = Example(id="q", text="ben sees anna", question=" ".join(SEEN), answers=(("ben", 0),))
    (row,) = rows(of, "squad", example, question_length=5)
    assert row["segments"] == [[0, *ids(of, SEEN[0])[:5], 2, 2, *ids(of, "ben sees anna"), 2]]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_predicted_answer_takes_in_the_marks_that_follow_it(processor: Processors, family: str) -> None:
    """U+200B after a full stop and a combining accent, which XLM-R's normaliser removes or composes."""
    of = processor(family)
    context = "Milk.[6]\u200b the cafe\u0301 ."
    for answer in ("Milk.[6]\u200b", "cafe\u0301"):
        example = Example(id="q", text=context, question="what ?", answers=((answer, context.index(answer)),))
        (row,) = rows(of, "squad", example)
        first, last = row["span"]
        assert context[row["offsets"][2 * first] : row["offsets"][2 * last + 1]].strip() == answer


# ---- text is text ----

SPELLED = "a <s> b</s> <mask> <image> <|image_pad|> <|im_end|> <unk>"
ALL_FORMATS = [
    ("snli", "head", Example(id="0", text=SPELLED, text_pair=SPELLED, label=0)),
    ("snli", "lm", Example(id="0", text=SPELLED, text_pair=SPELLED, label=0)),
    ("commonsense_qa", "head", Example(id="0", text=SPELLED, question=SPELLED, choices=(SPELLED, SPELLED), label=0)),
    ("commonsense_qa", "lm", Example(id="0", text=SPELLED, question=SPELLED, choices=(SPELLED, SPELLED), label=0)),
    ("squad", "head", Example(id="0", text=SPELLED, question=SPELLED, answers=(("<s>", 2),))),
    ("squad", "lm", Example(id="0", text=SPELLED, question=SPELLED, answers=(("<s>", 2),))),
    ("wikiann", "head", Example(id="0", tokens=tuple(SPELLED.split()), tags=("O",) * 8)),
    ("tatoeba", "eval", Example(id="0", text=SPELLED, text_pair=SPELLED)),
    ("lareqa", "eval", Example(id="0", text=SPELLED, relevant=("c",))),
    ("squad_dual", "head", Example(id="0", text=SPELLED, text_pair=SPELLED)),
    ("coco_captions", "lm", Example(id="0", text="", targets=(SPELLED,))),
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("task", "objective", "example"), ALL_FORMATS, ids=[f"{t}-{o}" for t, o, _ in ALL_FORMATS])
def test_control_tokens_that_data_spells_out_never_reach_the_model(
    processor: Processors, family: str, task: str, objective: str, example: Example
) -> None:
    """A row has the control tokens of its frame and masks, as many as with harmless words in place of the spelled ones."""
    of = processor(family)

    def control(of_example: Example) -> list[list[int]]:
        found = rows(of, task, of_example, objective)
        sequences = [
            ids for row in found for ids in (*row["segments"], [i for i in row["labels"] if objective == "lm"])
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

TAGGED = Example(id="0", tokens=("anna", "sees", "กรุงเทพ", "ben"), tags=("B-PER", "O", "B-LOC", "B-PER"))


@pytest.mark.parametrize(("family", "subtoken"), [("xlm_r", "first"), ("llava", "last"), ("qwen_vl", "last")])
def test_a_word_is_tagged_at_the_sub_token_that_has_seen_all_it_may(
    processor: Processors, family: str, subtoken: str
) -> None:
    of = processor(family)
    (row,) = rows(of, "wikiann", TAGGED)
    before = len(frame(of)[0])
    word = len(ids(of, "anna sees")), len(ids(of, "anna sees กรุงเทพ"))  # the tokens of the third word
    assert word[1] - word[0] > 5
    expected = word[0] if subtoken == "first" else word[1] - 1
    assert row["words"].index(2) == before + expected


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_stand_where_words_answer_and_nowhere_else(processor: Processors, family: str) -> None:
    (row,) = rows(processor(family), "wikiann", TAGGED)
    names = TASKS["wikiann"].labels
    assert len(row["labels"]) == len(row["words"]) == row["length"]
    assert [names[label] for label in row["labels"] if label != IGNORED] == list(TAGGED.tags)
    assert [label == IGNORED for label in row["labels"]] == [word == -1 for word in row["words"]]


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_of_a_long_sentence_hold_every_word_once_and_in_order(processor: Processors, family: str) -> None:
    words = (*" ".join(SEEN).split(), "กรุง", *" ".join(SEEN).split())
    found = rows(processor(family), "wikiann", Example(id="0", tokens=words, tags=("O",) * len(words)), max_length=24)
    assert len(found) > 4
    assert all(row["length"] <= 24 for row in found)
    assert [word for row in found for word in row["words"] if word >= 0] == list(range(len(words)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sentence_is_cut_between_words(processor: Processors, family: str) -> None:
    of = processor(family)
    start, _, end = frame(of)
    words = ("anna", "sees", "กรุง", "ben") * 4
    found = rows(of, "wikiann", Example(id="0", tokens=words, tags=("O",) * 16), max_length=24)
    answered = [[words[word] for word in row["words"] if word >= 0] for row in found]
    for row, held in zip(found, answered, strict=True):
        assert row["segments"] == [[*start, *ids(of, " ".join(held)), *end]]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_word_longer_than_a_piece_still_answers_once(processor: Processors, family: str) -> None:
    example = Example(id="0", tokens=("anna", "กรุงเทพมหานคร", "ben"), tags=("O",) * 3)
    found = rows(processor(family), "wikiann", example, max_length=12)
    assert all(row["length"] <= 12 for row in found)
    assert [word for row in found for word in row["words"] if word >= 0] == [0, 1, 2]


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
    assert [label for label in row["labels"] if label != IGNORED] == [place % 7 for place in range(len(words))]


def test_a_word_without_tokens_is_the_unknown_token_in_xlm_r() -> None:
    """nmt_nfkc removes U+FEFF and makes U+200B a space; the official preprocessing writes <unk> in their place."""
    inner = Tokenizer(
        models.Unigram([("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁b", -1.0)], unk_id=2)
    )
    inner.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    few = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    words = ("\u200b", "a", "\ufeff", "\u200c", "b", "\u200f\u200f")
    (row,) = rows(Processor("xlm_r", few), "wikiann", Example(id="0", tokens=words, tags=("O",) * 6))
    assert row["segments"] == [[0, 2, 3, 2, 2, 4, 2, 1]]
    assert row["words"] == [-1, 0, 1, 2, 3, 4, 5, -1]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_real_tokenizers_give_words_without_tokens_one_tag(real_tokenizers: Path, family: str) -> None:
    name = {"xlm_r": "xlm-roberta-tokenizer", "llava": "llama2-tokenizer", "qwen_vl": "qwen2-tokenizer"}[family]
    of = Processor(family, AutoTokenizer.from_pretrained(real_tokenizers / name, local_files_only=True))
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
        case for word in odd for case in ((word,), (word, "a"), ("a", word), ("a", word, "b"), ("a", word, word, "b"))
    ]
    for words in (*cases, odd):
        found = rows(of, "wikiann", Example(id="0", tokens=words, tags=("O",) * len(words)), max_length=128)
        assert [word for row in found for word in row["words"] if word >= 0] == list(range(len(words))), words


def test_a_task_without_a_list_of_tags_takes_that_of_its_rows(processor: Processors, tmp_path: Path) -> None:
    examples = [
        Example(id=str(i), tokens=("anna", "sees"), tags=tags) for i, tags in enumerate((("N", "V"), ("N", "X")))
    ]
    found, info = encoded(processor("xlm_r"), "ccg", examples, tmp_path)
    assert info["classes"] == 3
    assert [[label for label in row.labels if label >= 0] for row in found] == [[0, 1], [0, 2]]


# ---- lm ----

NLI = Example(id="0", text="the big dog", text_pair="the park", label=2)
PROMPT = "the big dog the park"


@pytest.mark.parametrize("family", DECODERS)
def test_a_decoder_predicts_the_answer_and_its_end_and_nothing_else(processor: Processors, family: str) -> None:
    of = processor(family)
    (row,) = rows(of, "snli", NLI, "lm")
    prompt = [*ids(of, PROMPT), *ids(of, TASKS["snli"].instruction), *of.newline]
    answer = [*ids(of, "contradiction"), of.tokenizer.eos_token_id]
    assert row["segments"] == [[*prompt, *answer[:-1]]]
    assert row["labels"] == [*[IGNORED] * (len(prompt) - 1), *answer]  # each token is predicted by the one before


def test_xlm_r_fills_masks_in_the_answers_place(processor: Processors) -> None:
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
        ("commonsense_qa", Example(id="0", text="who is it ?", choices=("anna", "the dog"), label=1)),
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
def test_plain_text_is_predicted_whole_by_decoders(processor: Processors, family: str) -> None:
    of = processor(family)
    (row,) = rows(of, "miniature_text", Example(id="0", targets=(SEEN[0],)), "lm")
    text = ids(of, SEEN[0])
    assert row["segments"] == [[*of.newline, *text]]
    assert row["labels"][len(of.newline) - 1 :] == [*text, of.tokenizer.eos_token_id]


def test_of_plain_text_xlm_r_predicts_a_seventh_mostly_masked(processor: Processors) -> None:
    of = processor("xlm_r")
    found = rows(of, "miniature_text", Example(id="0", targets=(" ".join(SEEN * 9),)), "lm")
    assert [row["length"] for row in found][:-1] == [512] * (len(found) - 1)
    text = ids(of, " ".join(SEEN * 9))
    seen = [token for row in found for token in row["segments"][0][1:-1]]
    labels = [label for row in found for label in row["labels"][1:-1]]
    at = [place for place, label in enumerate(labels) if label != IGNORED]
    assert 0.10 < len(at) / len(text) < 0.20
    assert all(labels[place] == text[place] for place in at)
    assert all(seen[place] == text[place] for place in range(len(text)) if place not in at)
    assert 0.6 < sum(seen[place] == of.tokenizer.mask_token_id for place in at) / len(at) < 0.95


def test_masks_are_a_function_of_the_examples_place(processor: Processors) -> None:
    """Rows with one id have masks of their own; another id at the same place changes nothing."""
    made = encoder(processor("xlm_r"), "miniature_text", "lm")
    first, again, other = (
        next(made.rows(Example(id=name, targets=(CONTEXT,)), place))["labels"]
        for name, place in (("a", 0), ("b", 0), ("a", 1))
    )
    assert first == again
    assert first != other


# ---- several segments ----


@pytest.mark.parametrize("family", FAMILIES)
def test_multiple_choice_is_one_segment_a_choice(processor: Processors, family: str) -> None:
    of = processor(family)
    start, between, end = frame(of)
    example = Example(
        id="0", text="anna is in the park .", question="where is ben ?", choices=("dog", "the big park"), label=1
    )
    (row,) = rows(of, "siqa", example)
    context = ids(of, "anna is in the park . where is ben ?")
    assert row["segments"] == [[*start, *context, *between, *ids(of, one), *end] for one in example.choices]
    assert row["length"] == sum(map(len, row["segments"]))
    assert row["label"] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_retrieval_is_two_segments_the_english_one_first(processor: Processors, family: str) -> None:
    of = processor(family)
    start, _, end = frame(of)
    (row,) = rows(of, "tatoeba", Example(id="0", text="กรุง", text_pair="the park"), "eval")
    assert row["segments"] == [[*start, *ids(of, text), *end] for text in ("the park", "กรุง")]


def test_a_ranking_query_is_trained_with_its_answer_and_scored_alone(processor: Processors) -> None:
    of = processor("xlm_r")
    (pair,) = rows(of, "squad_dual", Example(id="0", text="who sees anna ?", text_pair="ben sees anna ."))
    (query,) = rows(of, "lareqa", Example(id="0", text="who sees anna ?", relevant=("en/0",)), "eval")
    texts = [[0, *ids(of, text), 2] for text in ("who sees anna ?", "ben sees anna .")]
    assert (pair["segments"], query["segments"]) == (texts, texts[:1])


# ---- pictures ----


def test_llavas_placeholder_stands_before_the_text(processor: Processors) -> None:
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
def test_a_picture_takes_no_room_from_the_text(processor: Processors, family: str, objective: str) -> None:
    """160 × 160 pixels are more tokens than `max_length`; the text is that of the row without a picture."""
    of = processor(family)
    example = Example(id="0", text=" ".join(SEEN), label=1, images=(png(160, 160),))
    (shown,) = rows(of, "nlvr", example, objective, max_length=24)
    (bare,) = rows(of, "nlvr", Example(id="0", text=" ".join(SEEN), label=1), objective, max_length=24)
    placeholder = of.image_placeholder(png(160, 160))
    assert shown["segments"][0] == [*placeholder, *bare["segments"][0]]
    assert bare["length"] <= 24


# ---- what does not fit ----


def lm_labels(row: dict[str, Any]) -> list[int]:
    return [label for label in row["labels"] if label != IGNORED]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("task", "example"),
    [
        ("nlvr", Example(id="7", text=" ".join(SEEN), label=1)),
        ("snli", Example(id="7", text=" ".join(SEEN), text_pair=" ".join(SEEN), label=1)),
        ("siqa", Example(id="7", text=" ".join(SEEN), question=SEEN[6], choices=("anna", "ben"), label=1)),
        ("squad", Example(id="7", text=" ".join(SEEN), question=SEEN[6], answers=(("ben", 30),))),
        ("vqa_v2", Example(id="7", text=" ".join(SEEN), question=SEEN[6], targets=("ben",))),  # a caption's words first
    ],
)
def test_a_context_is_cut_before_the_question_the_instruction_or_the_answer(
    processor: Processors, family: str, task: str, example: Example
) -> None:
    of = processor(family)
    of_task = TASKS[task]
    making = encoder(of, task, "lm", max_length=46)
    (row,) = making.rows(example)
    words = in_words(of_task, example)
    read = of.tokenizer.decode(row["segments"][0])
    assert making.truncated == 1
    assert row["length"] <= 46
    for text in (example.question or "", words.instruction):
        assert text.replace(" ", "") in read.replace(" ", "")
    answer = ids(of, words.answer)
    assert lm_labels(row) == (answer if of.family == "xlm_r" else [*answer, of.tokenizer.eos_token_id])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("task", "example"),
    [
        ("coco_captions", Example(id="7", targets=(CONTEXT,))),  # the answer
        ("vqa_v2", Example(id="7", text=CONTEXT, targets=("ben",))),  # the question
        ("siqa", Example(id="7", text="the park", question="who ?", choices=(CONTEXT, "ben"), label=1)),  # an option
        ("wikiann", Example(id="7", tokens=tuple(CONTEXT.split()), tags=("O",) * len(CONTEXT.split()))),  # all tags
    ],
)
def test_a_row_whose_question_or_answer_would_be_cut_is_a_bad_row(
    processor: Processors, family: str, task: str, example: Example
) -> None:
    with pytest.raises(BadRow, match=r"the limit of 64 \(lm_length\) leaves"):
        rows(processor(family), task, example, "lm", max_length=64)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_image_conditions_have_the_same_bad_rows(processor: Processors, family: str) -> None:
    """Around the limit, whatever the caption: the question and the answer decide."""
    of, bad = processor(family), []
    for words in range(1, 30):
        shown = Example(
            id="7", text=" ".join(["park"] * words), targets=("the dog",), images=(png(16, 16),), caption=CONTEXT
        )
        conditions = ["removed", "caption"] + (["real", "blank"] if of.images else [])
        fits = set()
        for condition in conditions:
            (example,) = with_images([shown], condition)
            try:
                fits.add(bool(rows(of, "vqa_v2", example, "lm", max_length=24)))
            except BadRow:
                fits.add(False)
        assert len(fits) == 1, f"{words} words"
        bad.append(fits != {True})
    assert 0 < sum(bad) < len(bad)


def test_rows_that_do_not_fit_are_named_and_counted_with_the_bad_records(processor: Processors, tmp_path: Path) -> None:
    examples = [Example(id=f"e{i}", targets=("the dog" if i else CONTEXT,)) for i in range(30)]
    _, info = encoded(processor("llava"), "coco_captions", examples, tmp_path, "lm")
    assert (info["examples"], info["rows"], info["bad_rows"]) == (30, 29, 1)
    assert info["bad"][0]["row"] == 0
    assert info["bad"][0]["reason"].startswith("e0: question, instruction and answer are")
    with pytest.raises(
        DataError, match=r"1 of 30 records do not fit and 1 source rows are bad, more than 5%; record 0, e0"
    ):
        encoded(processor("llava"), "coco_captions", examples, tmp_path, "lm", bad_records=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_text_is_learnt_whole_in_windows(processor: Processors, family: str) -> None:
    of = processor(family)
    found = rows(of, "miniature_text", Example(id="0", targets=(CONTEXT,)), "lm", max_length=24)
    assert len(found) > 2
    assert all(row["length"] <= 24 for row in found)
    if of.family == "xlm_r":
        read = [
            seen if label == IGNORED else label
            for row in found
            for seen, label in zip(row["segments"][0], row["labels"], strict=True)
        ]
        assert [token for token in read if token not in (0, 2)] == ids(of, CONTEXT)
    else:
        assert [token for row in found for token in lm_labels(row)] == [*ids(of, CONTEXT), of.tokenizer.eos_token_id]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_choice_s_question_is_kept_where_its_text_is_too_long(processor: Processors, family: str) -> None:
    of = processor(family)
    example = Example(id="0", text=" ".join(SEEN), question=SEEN[6], choices=("anna", "the dog"), label=0)
    (row,) = rows(of, "siqa", example, max_length=24)
    asked = SEEN[6].replace(" ", "")
    assert all(asked in of.tokenizer.decode(segment).replace(" ", "") for segment in row["segments"])
    assert max(map(len, row["segments"])) <= 24


def test_a_row_that_lost_a_part_stops_the_step(processor: Processors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "_shortened", lambda self, parts, texts, room: [part[:1] for part in parts])
    example = Example(id="7", text=" ".join(SEEN), question=SEEN[6], choices=("anna", "ben"), label=1)
    with pytest.raises(RuntimeError, match="siqa, example 7: encoding lost"):
        rows(processor("llava"), "siqa", example, "lm", max_length=46)


@pytest.mark.parametrize("family", DECODERS)
def test_every_choice_is_shown_the_picture(processor: Processors, family: str) -> None:
    of = processor(family)
    example = Example(id="0", text="who is it ?", choices=("anna", "ben"), label=0, images=(png(16, 16),))
    (row,) = rows(of, "a_okvqa", example)
    assert [segment.count(of.image_token_id) for segment in row["segments"]] == [4, 4]


# ---- the step ----


def test_rows_that_were_cut_are_counted(processor: Processors, tmp_path: Path) -> None:
    short, long = "the park", " ".join(SEEN)
    pairs = [Example(id=str(i), text=one, text_pair=short, label=0) for i, one in enumerate((short, long, long))]
    found, info = encoded(processor("llava"), "snli", pairs, tmp_path, max_length=16)
    assert [row.length == 16 for row in found] == [False, True, True]
    assert (info["rows"], info["examples"], info["truncated"]) == (3, 3, 2)
    assert info["tokens"] == sum(row.length for row in found)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_of_several_segments_is_cut_once(processor: Processors, family: str, tmp_path: Path) -> None:
    example = Example(id="0", text=" ".join(SEEN), question="who ?", choices=("anna", "ben", "carl"), label=0)
    _, info = encoded(processor(family), "siqa", [example], tmp_path, max_length=16)
    assert info["truncated"] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_where_every_byte_has_a_token_no_token_is_unknown(processor: Processors, family: str, tmp_path: Path) -> None:
    _, info = encoded(processor(family), "snli", [Example(id="0", text="กรุงเทพ", text_pair="☃", label=0)], tmp_path)
    assert info["unknown_share"] == 0


def test_the_share_of_unknown_tokens_is_of_all_tokens(tmp_path: Path) -> None:
    inner = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "dog": 3}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    few = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    example = Example(id="0", text="dog cat", text_pair="dog dog", label=0)
    _, info = encoded(Processor("xlm_r", few), "snli", [example], tmp_path)
    assert info["unknown_share"] == 1 / 8  # <s> dog cat </s></s> dog dog </s>


def test_only_the_examples_to_be_kept_are_encoded(processor: Processors, tmp_path: Path) -> None:
    pairs = [Example(id=name, text="dog", text_pair="park", label=0) for name in "abc"]
    found, info = encoded(processor("xlm_r"), "snli", pairs, tmp_path, keep=[True, False, True])
    assert [row.row for row in found] == [0, 2]
    assert info["examples"] == 2


def test_pictures_are_named_by_their_digest(processor: Processors, tmp_path: Path) -> None:
    from hashlib import sha256

    example = Example(id="0", text="the dog", label=1, images=(png(16, 16),))
    (row,), _ = encoded(processor("qwen_vl"), "nlvr", [example], tmp_path)
    assert row.images == [sha256(png(16, 16)).hexdigest()]
    assert row.grids == [[1, 4, 4]]


def test_a_split_of_which_nothing_is_left_stops_the_step(processor: Processors, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="squad train en: no row is left after encoding"):
        encoded(processor("xlm_r"), "squad", [replace(SPAN, answers=((" ", CONTEXT.index(" ")),))], tmp_path)


def test_a_ranking_query_has_a_length_of_its_own(processor: Processors) -> None:
    """LAReQA's are 96 of 352 tokens (XTREME-R scripts/train_lareqa.sh); a candidate has the rest."""
    of = processor("xlm_r")
    long = "the cat sees the dog " * 20
    pair = Example(id="1", text=long, text_pair=long)
    (row,) = rows(of, "squad_dual", pair, max_length=24, question_length=10)
    assert [len(segment) for segment in row["segments"]] == [10, 24]
    query, candidate = Example(id="q", text=long, relevant=("c",)), Example(id="c", text=long)
    lengths = [
        rows(of, "lareqa", one, "eval", max_length=24, question_length=10)[0]["length"] for one in (query, candidate)
    ]
    assert lengths == [10, 24]
