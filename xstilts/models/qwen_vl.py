"""What all Qwen-VL families share: images of any size, and rotary positions of time, height and
width.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xstilts.models.contract import TinyTokenizer, UsualPicture, Vision
from xstilts.models.decoder import tiny_text
from xstilts.models.positions import check_image_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from xstilts.models.batch import PackedBatch, Segment
    from xstilts.models.picture_inputs import GridPictures

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def positions(segment: "Segment", config: Any) -> "Tensor":
    """[4, n]: the token's place, then time, height and width (the numpy twin of transformers'
    get_rope_index, which treats images alike in all Qwen-VL families).

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


def pictures(folder: Path) -> "GridPictures":
    """The image preparation of a model folder."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from xstilts.models.picture_inputs import GridPictures

    return GridPictures(Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True))


def features(core: Any, batch: "PackedBatch") -> Any:
    """States of all image tokens. Qwen3-VL's come with those of deeper vision layers, which its
    first text layers add at the same tokens.
    """
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


def tiny_decoder(
    tokenizer: Any, settings: Mapping[str, Any], mrope_section: tuple[int, int, int]
) -> dict[str, Any]:
    """Arguments of the text configuration of a tiny model."""
    return tiny_text(tokenizer, settings) | {
        "bos_token_id": None,  # the default is outside a small vocabulary
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": list(mrope_section),
        },
    }


def tiny_token_ids(tokenizer: Any) -> dict[str, int]:
    """Arguments of a tiny model's configuration: the ids of its special tokens."""
    return {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{special}|>")
        for name, special in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }


def tiny_patch(settings: Mapping[str, Any]) -> int:
    """Pixels along the side of a tiny model's patch. Two by two become one token."""
    return int(settings["patch_size"]) // 2


def tiny_processor(kind: str, tokenizer: Any, settings: Mapping[str, Any]) -> Any:
    """The processor of a tiny model. kind: the transformers class."""
    import transformers as tf

    patch = tiny_patch(settings)
    token = patch * 2
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
    return image_only(getattr(tf, kind))(images, tokenizer, None, chat_template=CHAT_TEMPLATE)


VISION = Vision(
    frozen=("model.visual.",),
    token="<|image_pad|>",
    before="<|vision_start|>",
    after="<|vision_end|>",
    pictures=pictures,
    features=features,
    usual=UsualPicture(tokens=391),
)

TINY_TOKENIZER = TinyTokenizer(
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
)
