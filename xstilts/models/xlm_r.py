"""XLM-R: a bidirectional text encoder. Positions start after the id of the padding token."""

from collections.abc import Mapping
from typing import Any

from xstilts.models.contract import Contract, Tiny, TinyTokenizer
from xstilts.models.encoder import lora_targets, tiny_text
from xstilts.models.positions import after_padding
from xstilts.models.special_tokens import double_end


def tiny_arguments(tokenizer: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the configuration of a tiny backbone."""
    return {
        **tiny_text(tokenizer, settings),
        "max_position_embeddings": settings["max_length"] + 2,
        "type_vocab_size": 1,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _tiny(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    config = tf.XLMRobertaConfig(**tiny_arguments(tokenizer, settings))
    return tf.XLMRobertaForMaskedLM(config), tokenizer


XLM_R = Contract(
    family="xlm_r",
    model_class="XLMRobertaForMaskedLM",
    model_types=("xlm-roberta", "roberta", "camembert"),
    core="roberta",
    text="roberta",
    causal=False,
    pool="first",
    subtoken="first",
    layout=double_end,
    lora=lora_targets("roberta"),
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
