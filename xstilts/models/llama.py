"""Llama and models of its architecture, text only. Vicuna is the text-only twin of LLaVA-1.5, which
started from it.
"""

from xstilts.models.contract import TinyTokenizer
from xstilts.models.decoder import text_decoder

LLAMA = text_decoder(
    "llama",
    "Llama",
    TinyTokenizer(
        kind="bytes",
        special=("<unk>", "<s>", "</s>", "<pad>"),
        names={
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
        },
        single="<s> $A",
        pair="<s> $A $B",
    ),
    {
        "lmsys/vicuna-7b-v1.5": 6.74e9,
        "lmsys/vicuna-13b-v1.5": 13.0e9,
        "meta-llama/Llama-2-7b-hf": 6.74e9,
        "meta-llama/Llama-3.1-8B-Instruct": 8.03e9,
    },
    ("mistral",),
)
