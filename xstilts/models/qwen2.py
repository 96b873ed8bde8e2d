"""Qwen2 and Qwen2.5, text only: the text-only twins of Qwen2-VL, Qwen2.5-VL, LLaVA-OneVision and
llava-interleave.
"""

from xstilts.models.contract import TinyTokenizer
from xstilts.models.decoder import text_decoder

#: Special tokens of the text models of the Qwen family.
TOKENIZER = TinyTokenizer(
    kind="bytes",
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    names={"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
)

QWEN2 = text_decoder(
    "qwen2",
    "Qwen2",
    TOKENIZER,
    {
        "Qwen/Qwen2-0.5B-Instruct": 0.49e9,
        "Qwen/Qwen2-7B-Instruct": 7.62e9,
        "Qwen/Qwen2.5-0.5B-Instruct": 0.49e9,
        "Qwen/Qwen2.5-1.5B-Instruct": 1.54e9,
        "Qwen/Qwen2.5-3B-Instruct": 3.09e9,
        "Qwen/Qwen2.5-7B-Instruct": 7.62e9,
    },
)
