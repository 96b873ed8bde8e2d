"""What BERT-like encoders share: LoRA targets and the configuration of a tiny text stack."""

from collections.abc import Mapping
from typing import Any


def lora_targets(core: str) -> str:
    """Regular expression of the linear modules of the encoder's layers in the submodule `core`."""
    return (
        rf".*{core}\.encoder\.layer\.\d+\.(attention\.self\.(query|key|value)"
        r"|attention\.output\.dense|intermediate\.dense|output\.dense)"
    )


def tiny_text(tokenizer: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a tiny encoder's configuration, without positions and token types."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": settings["hidden"],
        "num_hidden_layers": settings["layers"],
        "num_attention_heads": settings["heads"],
        "intermediate_size": settings["ff"],
        "initializer_range": settings["init_std"],
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": tokenizer.pad_token_id,
    }
