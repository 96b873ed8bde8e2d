"""Qwen3, text only: the text-only twin of Qwen3-VL."""

from xstilts.models.decoder import text_decoder
from xstilts.models.qwen2 import TOKENIZER

QWEN3 = text_decoder(
    "qwen3",
    "Qwen3",
    TOKENIZER,
    {
        "Qwen/Qwen3-0.6B": 0.6e9,
        "Qwen/Qwen3-1.7B": 1.7e9,
        "Qwen/Qwen3-4B": 4.0e9,
        "Qwen/Qwen3-8B": 8.2e9,
    },
)
