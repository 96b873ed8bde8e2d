"""Tokenizers of tiny backbones, trained on a few texts. Every byte has a token, so nothing is
unknown.

Encoders have BPE over words marked with ▁, in which a character outside the vocabulary becomes its
UTF-8 bytes <0x00>…<0xFF>. Decoders have BPE over bytes. Words are merged down to a frequency of
one, so with a few hundred word types and room in the vocabulary each word is one token. The first
word of a text is marked like the others.
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

from xstilts.models.contract import TinyTokenizer
from xstilts.models.families import contract

BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


def train_tokenizer(
    family: str, texts: Sequence[str], vocab_size: int, max_length: int = 512
) -> Any:
    """A PreTrainedTokenizerFast as the family's contract describes it, with at most `vocab_size`
    tokens, special ones and bytes included. Equal texts give equal files.

    Raises:
        ValueError: The vocabulary has no room for special tokens and bytes, or the family is
            unknown.
    """
    if vocab_size < 320:
        raise ValueError(
            f"vocab_size {vocab_size} has no room for 256 bytes and special tokens; "
            "set it to at least 320"
        )
    kind = contract(family).tiny.tokenizer
    train = {"words": _words, "bytes": _bytes}[kind.kind]
    return PreTrainedTokenizerFast(
        tokenizer_object=train(kind, texts, vocab_size),
        **kind.names,
        model_max_length=max_length,
    )


def _words(kind: TinyTokenizer, texts: Sequence[str], vocab_size: int) -> Tokenizer:
    unknown = kind.names["unk_token"]
    inner = Tokenizer(models.BPE(unk_token=unknown, byte_fallback=True, fuse_unk=True))
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
    # Special tokens that only `names` has are added last, as XLM-R's mask: it must not shift the
    # ids 0 to 3 that fairseq fixed.
    added_later = {name for name in kind.names.values() if name not in kind.special}
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(added_later),
        min_frequency=1,
        special_tokens=[*kind.special, *BYTES],
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
    inner.post_processor = _template(kind)
    return _without_special_bytes(inner, kind.special)


def _without_special_bytes(trained: Tokenizer, special: Sequence[str]) -> Tokenizer:
    """Bytes as plain pieces: the trainer reserves special tokens only, and "<0x41>" in a text must
    not become one.
    """
    state = json.loads(trained.to_str())
    state["added_tokens"] = [
        token for token in state["added_tokens"] if token["content"] in special
    ]
    return Tokenizer.from_str(json.dumps(state))


def _bytes(kind: TinyTokenizer, texts: Sequence[str], vocab_size: int) -> Tokenizer:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=1,
        special_tokens=list(kind.special),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    inner.train_from_iterator(texts, trainer)
    offsets = processors.ByteLevel(trim_offsets=True)
    inner.post_processor = (
        processors.Sequence([offsets, _template(kind)]) if kind.single else offsets
    )
    return inner


def _template(kind: TinyTokenizer) -> processors.TemplateProcessing:
    used = [name for name in kind.special if name in f"{kind.single} {kind.pair}"]
    return processors.TemplateProcessing(
        single=kind.single,
        pair=kind.pair,
        special_tokens=[(name, kind.special.index(name)) for name in used],
    )
