"""XLM-R: a bidirectional text encoder. Positions start after the id of the padding token."""

from collections.abc import Mapping
from typing import Any

from xstilts.models.contract import Contract, Tiny, TinyTokenizer
from xstilts.models.positions import after_padding
from xstilts.models.special_tokens import double_end


def _tiny(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    config = tf.XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings["hidden"],
        num_hidden_layers=settings["layers"],
        num_attention_heads=settings["heads"],
        intermediate_size=settings["ff"],
        max_position_embeddings=settings["max_length"] + 2,
        type_vocab_size=1,
        initializer_range=settings["init_std"],
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return tf.XLMRobertaForMaskedLM(config), tokenizer


XLM_R = Contract(
    family="xlm_r",
    model_class="XLMRobertaForMaskedLM",
    core="roberta",
    text="roberta",
    causal=False,
    pool="first",
    subtoken="first",
    layout=double_end,
    lora=r".*roberta\.encoder\.layer\.\d+\.(attention\.self\.(query|key|value)"
    r"|attention\.output\.dense|intermediate\.dense|output\.dense)",
    positions=after_padding,
    max_tokens=512,  # 514 positions; the first two are unused
    parameters={"FacebookAI/xlm-roberta-base": 0.28e9, "FacebookAI/xlm-roberta-large": 0.56e9},
    tiny=Tiny(
        tokenizer=TinyTokenizer(
            kind="words",
            special=("<s>", "<pad>", "</s>", "<unk>"),  # ids 0 to 3, as in fairseq
            names={
                "bos_token": "<s>",
                "cls_token": "<s>",
                "eos_token": "</s>",
                "sep_token": "</s>",
                "unk_token": "<unk>",
                "pad_token": "<pad>",
                "mask_token": "<mask>",
            },
            single="<s> $A </s>",
            pair="<s> $A </s> </s> $B </s>",
        ),
        model=_tiny,
        gain=3.0,
        updates=500,
        lr=6e-3,
    ),
)
