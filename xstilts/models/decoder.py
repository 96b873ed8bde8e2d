"""What Llama-like decoders share: LoRA targets and the configuration of a tiny text stack."""

from collections.abc import Mapping
from typing import Any


def lora_targets(stack: str) -> str:
    """Regular expression of the linear modules of a stack's layers. The name of the stack anchors
    it: vision towers have a `q_proj` too.
    """
    return rf".*{stack}\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"


def tiny_text(tokenizer: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the text configuration of a tiny decoder."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": settings["hidden"],
        "num_hidden_layers": settings["layers"],
        "num_attention_heads": settings["heads"],
        "num_key_value_heads": settings["heads"],
        "intermediate_size": settings["ff"],
        "max_position_embeddings": settings["max_length"],
        "initializer_range": settings["init_std"],
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
