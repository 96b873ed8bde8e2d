"""Qwen2-VL and Qwen2.5-VL: images of any size, rotary positions of time, height and width."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xstilts.models.contract import Contract, Tiny, TinyTokenizer, Vision
from xstilts.models.decoder import lora_targets, tiny_text
from xstilts.models.positions import check_image_tokens
from xstilts.models.special_tokens import line_break

if TYPE_CHECKING:
    from torch import Tensor

    from xstilts.models.batch import PackedBatch, Segment
    from xstilts.models.picture_inputs import GridPictures

_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _positions(segment: "Segment", config: Any) -> "Tensor":
    """[4, n]: the token's place, then time, height and width (the numpy twin of transformers'
    get_rope_index).

    The first row is not rotary. With it transformers 5 treats the row as packed; without it the
    others are misread.
    """
    import numpy as np
    import torch

    check_image_tokens(segment, int(config.image_token_id))
    merge, ids = int(config.vision_config.spatial_merge_size), np.asarray(segment.input_ids)
    rows = np.zeros((4, len(ids)), dtype=np.int64)
    rows[0] = np.arange(len(ids))
    at = start = 0  # next token, next position
    pictures = np.flatnonzero(ids == config.image_token_id).tolist()
    for image in segment.images:
        first = pictures[0]
        rows[1:, at:first] = np.arange(start, start + first - at)
        start += first - at
        time, height, width = image.grid[0], image.grid[1] // merge, image.grid[2] // merge
        grid = np.indices((time, height, width)).reshape(3, -1)
        rows[1:, first : first + image.tokens] = grid + start
        at, start = first + image.tokens, start + max(height, width)
        del pictures[: image.tokens]
    rows[1:, at:] = np.arange(start, start + len(ids) - at)
    return torch.from_numpy(rows)


def _pictures(folder: Path) -> "GridPictures":
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from xstilts.models.picture_inputs import GridPictures

    return GridPictures(Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True))


def _features(core: Any, batch: "PackedBatch") -> Any:
    assert batch.pixel_values is not None
    return core.get_image_features(batch.pixel_values, batch.image_grids, return_dict=True)


def image_only(kind: Any) -> Any:
    """The subclass of a stock processor class without a video processor, which would need
    torchvision. Saved files keep the stock class's name.
    """

    def get_attributes(cls: type) -> list[str]:
        return ["image_processor", "tokenizer"]

    return type(
        kind.__name__,
        (kind,),
        {"get_attributes": classmethod(get_attributes), "__module__": kind.__module__},
    )


def _tiny(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    patch, half = settings["patch_size"] // 2, settings["hidden"] // settings["heads"] // 2
    side = half * 3 // 8
    text = tiny_text(tokenizer, settings) | {
        "bos_token_id": None,  # the default is outside a small vocabulary
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [half - 2 * side, side, side],
        },
    }
    token = patch * 2
    vision = {
        "depth": settings["vision_layers"],
        "hidden_size": settings["vision_hidden"],
        "intermediate_size": settings["vision_ff"],
        "num_heads": settings["vision_heads"],
        "out_hidden_size": settings["hidden"],
        "patch_size": patch,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": token * 4,
        "fullatt_block_indexes": [settings["vision_layers"] - 1],
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
            "longest_edge": token * token * settings["max_image_tokens"],
        },
        image_mean=[settings["image_mean"]] * 3,
        image_std=[settings["image_std"]] * 3,
    )
    processor = image_only(tf.Qwen2_5_VLProcessor)(
        images, tokenizer, None, chat_template=_CHAT_TEMPLATE
    )
    return tf.Qwen2_5_VLForConditionalGeneration(config), processor


QWEN_VL = Contract(
    family="qwen_vl",
    model_class="AutoModelForImageTextToText",
    core="model",
    text="model.language_model",
    causal=True,
    pool="last",
    subtoken="last",
    layout=line_break,
    lora=lora_targets("language_model"),
    positions=_positions,
    vision=Vision(
        frozen=("model.visual.",),
        token="<|image_pad|>",
        before="<|vision_start|>",
        after="<|vision_end|>",
        pictures=_pictures,
        features=_features,
    ),
    parameters={
        "Qwen/Qwen2-VL-2B-Instruct": 2.2e9,
        "Qwen/Qwen2-VL-7B-Instruct": 8.3e9,
        "Qwen/Qwen2.5-VL-3B-Instruct": 3.8e9,
        "Qwen/Qwen2.5-VL-7B-Instruct": 8.3e9,
        "Qwen/Qwen3-VL-4B-Instruct": 4.4e9,
        "Qwen/Qwen3-VL-8B-Instruct": 8.8e9,
    },
    tiny=Tiny(
        tokenizer=TinyTokenizer(
            kind="bytes",
            special=(
                "<|endoftext|>",
                "<|im_start|>",
                "<|im_end|>",
                "<|vision_start|>",
                "<|vision_end|>",
                "<|vision_pad|>",
                "<|image_pad|>",
                "<|video_pad|>",
            ),
            names={
                "eos_token": "<|im_end|>",
                "pad_token": "<|endoftext|>",
                "extra_special_tokens": {
                    "image_token": "<|image_pad|>",
                    "video_token": "<|video_pad|>",
                    "vision_bos_token": "<|vision_start|>",
                    "vision_eos_token": "<|vision_end|>",
                },
            },
        ),
        model=_tiny,
        gain=2.0,
        updates=250,
        lr=5e-3,
    ),
)
