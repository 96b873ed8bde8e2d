"""Position ids of one segment, as torch tensors."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from xstilts.models.batch import Segment


def from_zero(segment: "Segment", config: Any) -> "Tensor":
    """[n] from 0: BERT, and decoders with rotary positions. ValueError beyond the last one."""
    return _counted(segment, config, 0)


def after_padding(segment: "Segment", config: Any) -> "Tensor":
    """[n] from pad_token_id + 1: RoBERTa and XLM-R, in which no token has position 0 or 1
    (fairseq's make_positions). ValueError beyond the last position.
    """
    return _counted(segment, config, int(config.pad_token_id) + 1)


def _counted(segment: "Segment", config: Any, first: int) -> "Tensor":
    import torch

    count = len(segment.input_ids)
    available = int(config.get_text_config().max_position_embeddings) - first
    if count > available:
        raise ValueError(
            f"a segment of {count} tokens is longer than the {available} positions of the backbone"
        )
    return torch.arange(first, first + count)


def check_image_tokens(segment: "Segment", token: int) -> None:
    """ValueError unless the segment has as many image tokens as its images need."""
    count = sum(i == token for i in segment.input_ids)
    needed = sum(image.tokens for image in segment.images)
    if count != needed:
        raise ValueError(
            f"a segment has {count} image tokens, and its images need {needed}: "
            "it may have been truncated inside an image"
        )
