"""What Llama-like decoders share: LoRA targets, the configuration of a tiny text stack, and the
contract of those without images.
"""

from collections.abc import Mapping
from typing import Any

from xstilts.models.contract import Contract, Tiny, TinyTokenizer
from xstilts.models.positions import from_zero
from xstilts.models.special_tokens import line_break


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


def text_decoder(
    family: str,
    name: str,
    tokenizer: TinyTokenizer,
    parameters: Mapping[str, float],
    others: tuple[str, ...] = (),
) -> Contract:
    """The contract of a text-only decoder with the layout of texts of LLaVA and Qwen-VL, so that a
    vision-language model and its text-only twin read the same texts alike.

    Args:
        family: Its name in plans, and the `model_type` of its models.
        name: The start of the names of its transformers classes, such as `Llama`.
        tokenizer: The tokenizer of tiny backbones.
        parameters: Hub id → number of parameters.
        others: `model_type` of other models with the same weights.
    """

    def tiny(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
        import transformers as tf

        head = {"head_dim": settings["hidden"] // settings["heads"]}  # Qwen3's default is 128
        config = getattr(tf, f"{name}Config")(**tiny_text(tokenizer, settings), **head)
        return getattr(tf, f"{name}ForCausalLM")(config), tokenizer

    return Contract(
        family=family,
        model_class=f"{name}ForCausalLM",
        model_types=(family, *others),
        core="model",
        text="model",
        causal=True,
        pool="last",
        subtoken="last",
        layout=line_break,
        lora=lora_targets("model"),
        positions=from_zero,
        recipes="llava",
        parameters=parameters,
        tiny=Tiny(tokenizer=tokenizer, model=tiny, gain=2.0, updates=250, lr=5e-3),
    )
