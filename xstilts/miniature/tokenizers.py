"""Tokenizers of tiny backbones, trained on a few texts. Every byte has a token, so nothing is ever
unknown.

XLM-R's kind: BPE over words marked with ▁, a character outside the vocabulary becoming its UTF-8
bytes <0x00>…<0xFF>. LLaVA's and Qwen-VL's kind: BPE over bytes. Words are merged down to a
frequency of one, so with a few hundred word types and room in the vocabulary each word is one
token; a text's first word is marked like the others.
"""

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
XLM_R_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
LLAVA_SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<image>")
QWEN_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


def train_tokenizer(
    family: str, texts: Sequence[str], vocab_size: int, max_length: int = 512
) -> Any:
    """A PreTrainedTokenizerFast of a family's kind with at most `vocab_size` tokens, special ones
    and bytes included.

    Equal texts give equal files. ValueError when the vocabulary has no room for specials and bytes.
    """
    if vocab_size < 320:
        raise ValueError(
            f"vocab_size {vocab_size} has no room for 256 bytes and special tokens: give at least 320"
        )
    if family == "xlm_r":
        return _xlm_r(texts, vocab_size, max_length)
    if family == "llava":
        return _llava(texts, vocab_size, max_length)
    if family == "qwen_vl":
        return _qwen(texts, vocab_size, max_length)
    raise ValueError(f"family {family!r} has no tokenizer")


def _xlm_r(texts: Sequence[str], vocab_size: int, max_length: int) -> Any:
    inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(),
            pre_tokenizers.Split(
                Regex(r"▁?\p{P}"), "isolated"
            ),  # "word." is a word and a full stop
        ]
    )
    # the mask is last, as in XLM-R; it must not shift the ids 0 to 3 that fairseq fixed
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        min_frequency=1,
        special_tokens=[*XLM_R_SPECIAL, *BYTES],
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=_without_special_bytes(inner),
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=max_length,
    )


def _without_special_bytes(trained: Tokenizer) -> Tokenizer:
    """Bytes as plain pieces: the trainer reserves special tokens only, and "<0x41>" in a text
    must not be one.
    """
    state = json.loads(trained.to_str())
    state["added_tokens"] = [
        token for token in state["added_tokens"] if token["content"] in XLM_R_SPECIAL
    ]
    return Tokenizer.from_str(json.dumps(state))


def _byte_level(texts: Sequence[str], vocab_size: int, special: Sequence[str]) -> Tokenizer:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=1, special_tokens=list(special), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    inner.train_from_iterator(texts, trainer)
    return inner


def _llava(texts: Sequence[str], vocab_size: int, max_length: int) -> Any:
    inner = _byte_level(texts, vocab_size, LLAVA_SPECIAL)
    bos = inner.token_to_id("<s>")
    inner.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", bos)]
            ),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=max_length,
    )


def _qwen(texts: Sequence[str], vocab_size: int, max_length: int) -> Any:
    inner = _byte_level(texts, vocab_size, QWEN_SPECIAL)
    inner.post_processor = processors.ByteLevel(trim_offsets=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=max_length,
        extra_special_tokens={
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "vision_bos_token": "<|vision_start|>",
            "vision_eos_token": "<|vision_end|>",
        },
    )
