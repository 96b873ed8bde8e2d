"""Text from data never becomes a control token."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from xstilts.miniature.tokenizers import train_tokenizer
from xstilts.models.literal_text import plain_tokenizer
from xstilts.models.processor import Processor

REAL = {"xlm-roberta-tokenizer": "xlm_r", "qwen2-tokenizer": "qwen_vl", "llama2-tokenizer": "llava"}
SPELLED = (
    "<s>", "</s>", "<pad>", "<unk>", "<mask>", "<image>", "<|image_pad|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>",
    "<|vision_start|>", "<|video_pad|>", "<0x41>",
)  # fmt: skip
ORDINARY = (
    "", " ", "the dog", "  two  spaces ", "Grüße, Ελλάδα 3,5 %", "नमस्ते दुनिया", "你好，世界", "กรุงเทพ", "a\nb\tc", "e\u0301 \u200b x",
    "\U0001f600 x < y > z | w", "العربية \u200f",
)  # fmt: skip


def unigram(pieces: str = "▁ a b d g o t h e < > / s m k u n p i c f é") -> PreTrainedTokenizerFast:
    """A Unigram model with nmt_nfkc's normalisation and XLM-R's first pieces."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = (
        [(piece, 0.0) for piece in special]
        + [(p, -2.0) for p in pieces.split()]
        + [("▁dog", -1.0), ("<mask>", 0.0)]
    )
    inner = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    inner.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
    )


@pytest.fixture(scope="module")
def tokenizer(request: pytest.FixtureRequest) -> Callable[[str], PreTrainedTokenizerFast]:
    @cache
    def load(name: str) -> PreTrainedTokenizerFast:
        if name in REAL:
            folder: Path = request.getfixturevalue("real_tokenizers")
            return AutoTokenizer.from_pretrained(folder / name, local_files_only=True)
        return (
            unigram()
            if name == "unigram"
            else train_tokenizer(name, [*ORDINARY, "<s> <s> <image> <s>"] * 3, 700)
        )

    return load


NAMES = [
    "unigram",
    "xlm_r",
    "llava",
    "qwen_vl",
    *(pytest.param(name, marks=pytest.mark.slow) for name in REAL),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_control_token_that_a_text_spells_out_is_ordinary_text(
    tokenizer: Callable[[str], PreTrainedTokenizerFast], name: str
) -> None:
    of = tokenizer(name)
    plain = plain_tokenizer(of)
    unknown = {of.unk_token_id} if name == "unigram" else set()  # it lacks most letters
    control = set(of.all_special_ids) - unknown
    for token in dict.fromkeys([*SPELLED, *of.all_special_tokens, *of.get_added_vocab()]):
        for text in (token, f"a {token} b", f"a{token}{token}b"):
            encoded = plain.encode(text, add_special_tokens=False)
            assert encoded.ids
            assert not control & set(encoded.ids), text
            covered = {place for start, end in encoded.offsets for place in range(start, end)}
            assert covered >= {place for place, character in enumerate(text) if character != " "}, (
                text
            )


@pytest.mark.parametrize("name", NAMES)
def test_ordinary_text_has_the_ids_and_offsets_of_the_tokenizer_itself(
    tokenizer: Callable[[str], PreTrainedTokenizerFast], name: str
) -> None:
    of = tokenizer(name)
    plain = plain_tokenizer(of)
    for text in (*ORDINARY, " ".join(ORDINARY)):
        expected = of(text, add_special_tokens=False, return_offsets_mapping=True)
        encoded = plain.encode(text, add_special_tokens=False)
        assert (encoded.ids, encoded.offsets) == (expected["input_ids"], expected["offset_mapping"])


def test_markup_is_text_without_the_flag_and_added_words_stay_tokens() -> None:
    of = train_tokenizer("qwen_vl", ["the dog sees a cat"], 600)
    of.add_tokens(["<tool_call>", "zebra"])
    call, zebra = of.convert_tokens_to_ids(["<tool_call>", "zebra"])
    ids = plain_tokenizer(of).encode("the <tool_call> sees a zebra", add_special_tokens=False).ids
    assert call not in ids
    assert zebra in ids


def test_merges_that_form_control_tokens_are_removed() -> None:
    inner = Tokenizer(
        models.BPE({"<": 0, "s": 1, ">": 2, "<s": 3, "<s>": 4}, [("<", "s"), ("<s", ">")])
    )
    of = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>")
    assert plain_tokenizer(of).encode("<s><s", add_special_tokens=False).ids == [3, 2, 3]


def test_a_word_without_tokens_becomes_the_unknown_token_or_a_space() -> None:
    assert Processor("xlm_r", unigram()).unknown_word == 3
    qwen = train_tokenizer("qwen_vl", ["the dog"], 600)
    assert qwen.convert_ids_to_tokens(Processor("qwen_vl", qwen).unknown_word) == "Ġ"
