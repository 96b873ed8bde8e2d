"""BERT, monolingual or multilingual (mBERT): a bidirectional text encoder with token types.

The special tokens come from the tokenizer: multilingual-e5, for example, is a BERT with XLM-R's
tokenizer, whose two texts have one token type.
"""

from collections.abc import Mapping
from typing import Any

from xstilts.models.contract import Contract, Tiny, TinyTokenizer
from xstilts.models.encoder import lora_targets, tiny_text
from xstilts.models.positions import from_zero
from xstilts.models.special_tokens import from_template


def _tiny(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    config = tf.BertConfig(
        **tiny_text(tokenizer, settings),
        max_position_embeddings=settings["max_length"],
        type_vocab_size=2,
    )
    return tf.BertForMaskedLM(config), tokenizer


BERT = Contract(
    family="bert",
    model_class="BertForMaskedLM",
    model_types=("bert",),
    core="bert",
    text="bert",
    lm_head="cls",
    causal=False,
    pool="first",
    subtoken="first",
    layout=from_template,
    token_types=True,
    lora=lora_targets("bert"),
    positions=from_zero,
    max_tokens=512,
    recipes="xlm_r",
    parameters={
        "google-bert/bert-base-multilingual-cased": 0.18e9,
        "google-bert/bert-base-cased": 0.11e9,
        "google-bert/bert-base-uncased": 0.11e9,
        "intfloat/multilingual-e5-small": 0.12e9,
    },
    tiny=Tiny(
        tokenizer=TinyTokenizer(
            kind="words",
            special=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
            names={
                "cls_token": "[CLS]",
                "sep_token": "[SEP]",
                "unk_token": "[UNK]",
                "pad_token": "[PAD]",
                "mask_token": "[MASK]",
            },
            single="[CLS] $A [SEP]",
            pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        ),
        model=_tiny,
        gain=3.0,
        updates=500,
        lr=6e-3,
    ),
)
