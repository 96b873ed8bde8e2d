"""Tiny backbones with random weights: small enough to learn a generated world in seconds, and stock
in every file.

The start is mimetic (Trockman & Kolter 2023): in half of the heads keys equal queries, so that
attention begins by looking for equal words; without it a tiny encoder learns no comparison of two
sentences in the time given.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import nn

from xstilts.miniature.tokenizers import train_tokenizer
from xstilts.models.processor import image_only
from xstilts.random_streams import stream_seed

#: What `settings` may override. Sizes in numbers of channels, layers, tokens or pixels.
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "hidden": 64,
        "layers": 3,
        "heads": 4,
        "ff": 128,
        "init_std": 0.125,
        "mimetic": None,  # gain of key = query; None: 3 for the encoder, 2 for decoders; 0: off
        "vocab_size": 4096,
        "max_length": 512,
        "image_size": 16,
        "patch_size": 8,  # LLaVA resizes to image_size; Qwen-VL's patch is half of it, merged 2 × 2
        "max_image_tokens": 16,  # Qwen-VL only
        "image_mean": 0.45,
        "image_std": 1 / 3,  # drawn pictures are centred, as CLIP centres photographs
        "vision_hidden": 64,
        "vision_ff": 128,
        "vision_layers": 2,
        "vision_heads": 4,
    }
)

LLAVA_TEMPLATE = (
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>\n{% elif c['type'] == 'text' %}{{ c['text'] }}"
    "{% endif %}{% endfor %}{% endif %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_model(
    family: str, seed: int, texts: Sequence[str], settings: Mapping[str, Any] | None = None
) -> tuple[nn.Module, Any]:
    """(transformers model with its LM head, processor; for XLM-R its tokenizer). Equal arguments
    give equal bits.

    The tokenizer is trained on `texts`; the weights are drawn from the stream ('build', seed,
    family). ValueError for an unknown family or setting.
    """
    if unknown := sorted(set(settings or {}) - set(DEFAULTS)):
        raise ValueError(f"a tiny backbone has no settings {unknown}; it has {sorted(DEFAULTS)}")
    if family not in _BUILDERS:
        raise ValueError(f"family {family!r} is not one of {', '.join(_BUILDERS)}")
    chosen = {**DEFAULTS, **(settings or {})}
    tokenizer = train_tokenizer(family, texts, chosen["vocab_size"], chosen["max_length"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed("build", seed, family))
        model, processor = _BUILDERS[family](tokenizer, chosen)
        gain = chosen["mimetic"]
        _mimic(model, (3.0 if family == "xlm_r" else 2.0) if gain is None else float(gain))
    return model.eval(), processor


def build_tiny(
    family: str, seed: int, texts: Sequence[str], settings: Mapping[str, Any] | None, folder: Path
) -> Path:
    """`build_model`, saved into `folder` as save_pretrained writes it; returns the folder."""
    model, processor = build_model(family, seed, texts, settings)
    return save(model, processor, folder)


def save(model: Any, processor: Any, folder: Path) -> Path:
    """Writes a model and its processor as a flat folder that transformers' Auto classes load;
    returns the folder.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = Path(folder)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _mimic(model: nn.Module, gain: float) -> None:
    """Key = query = orthogonal × gain in the first half of each text layer's heads; quieter
    positions in XLM-R.
    """
    if not gain:
        return
    for name, module in model.named_modules():
        if (
            "vision" in name
            or "visual" in name
            or not name.endswith(("attention.self", ".self_attn"))
        ):
            continue
        names = ("query", "key") if hasattr(module, "query") else ("q_proj", "k_proj")
        query, key = (cast(nn.Linear, module.get_submodule(n)) for n in names)
        with torch.no_grad():
            half = query.weight.shape[0] // 2
            start = nn.init.orthogonal_(torch.empty_like(query.weight), gain)[:half]
            query.weight[:half] = start
            key.weight[:half] = start
    for name, parameter in model.named_parameters():
        if name.endswith("position_embeddings.weight") and "vision" not in name:
            with torch.no_grad():
                parameter.mul_(0.3)


def _xlm_r(tokenizer: Any, s: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    config = tf.XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=s["hidden"],
        num_hidden_layers=s["layers"],
        num_attention_heads=s["heads"],
        intermediate_size=s["ff"],
        max_position_embeddings=s["max_length"] + 2,
        type_vocab_size=1,
        initializer_range=s["init_std"],
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return tf.XLMRobertaForMaskedLM(config), tokenizer


def _decoder(tokenizer: Any, s: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": s["hidden"],
        "num_hidden_layers": s["layers"],
        "num_attention_heads": s["heads"],
        "num_key_value_heads": s["heads"],
        "intermediate_size": s["ff"],
        "max_position_embeddings": s["max_length"],
        "initializer_range": s["init_std"],
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _llava(tokenizer: Any, s: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    size, patch = s["image_size"], s["patch_size"]
    vision = tf.CLIPVisionConfig(
        hidden_size=s["vision_hidden"],
        intermediate_size=s["vision_ff"],
        num_hidden_layers=s["vision_layers"],
        num_attention_heads=s["vision_heads"],
        image_size=size,
        patch_size=patch,
        projection_dim=s["vision_hidden"],
    )
    config = tf.LlavaConfig(
        vision_config=vision,
        text_config=tf.LlamaConfig(**_decoder(tokenizer, s)),
        image_token_index=tokenizer.image_token_id,
        image_seq_length=(size // patch) ** 2,
        tie_word_embeddings=True,
    )
    images = tf.CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size},
        image_mean=[s["image_mean"]] * 3, image_std=[s["image_std"]] * 3,
    )  # fmt: skip
    processor = tf.LlavaProcessor(
        images,
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    return tf.LlavaForConditionalGeneration(config), processor


def _qwen(tokenizer: Any, s: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    patch, half = s["patch_size"] // 2, s["hidden"] // s["heads"] // 2
    side = half * 3 // 8
    text = _decoder(tokenizer, s) | {
        "bos_token_id": None,  # the default lies outside a small vocabulary
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [half - 2 * side, side, side],
        },
    }
    token = patch * 2
    vision = {
        "depth": s["vision_layers"],
        "hidden_size": s["vision_hidden"],
        "intermediate_size": s["vision_ff"],
        "num_heads": s["vision_heads"],
        "out_hidden_size": s["hidden"],
        "patch_size": patch,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": token * 4,
        "fullatt_block_indexes": [s["vision_layers"] - 1],
    }
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{special}|>")
        for name, special in zip(
            ("image", "video", "vision_start", "vision_end"),
            ("image_pad", "video_pad", "vision_start", "vision_end"),
            strict=True,
        )
    }
    config = tf.Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True, **ids
    )
    images = tf.Qwen2VLImageProcessorPil(
        patch_size=patch,
        merge_size=2,
        temporal_patch_size=2,
        size={
            "shortest_edge": token * token,
            "longest_edge": token * token * s["max_image_tokens"],
        },
        image_mean=[s["image_mean"]] * 3,
        image_std=[s["image_std"]] * 3,
    )
    processor = image_only(tf.Qwen2_5_VLProcessor)(
        images, tokenizer, None, chat_template=QWEN_TEMPLATE
    )
    return tf.Qwen2_5_VLForConditionalGeneration(config), processor


_BUILDERS = {"xlm_r": _xlm_r, "llava": _llava, "qwen_vl": _qwen}
