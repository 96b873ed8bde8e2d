"""Vision towers that take all images of a batch as one row (Qwen-VL), on a GPU.

Their forward pass makes lengths, positions and window indices from the grids of the images. Here
they are made on the host, where the grids are, and moved to the GPU, which then never waits. Text
and images are merged without the check of transformers, which reads a number from the GPU.
"""

import inspect
from typing import Any

import torch
from torch import Tensor

from xstilts.models.attention import VISION_NAME
from xstilts.models.batch import PackedBatch


def prepare(core: Any) -> None:
    """Makes the vision tower and the merging of images of a core (`Contract.core`) run without
    waiting for the GPU.
    """
    for tower in core.children():
        if "grid_thw" in inspect.signature(tower.forward).parameters:
            for module in tower.modules():
                if hasattr(module, "config"):
                    module.config._attn_implementation = VISION_NAME
            tower.register_forward_pre_hook(_add_arguments, with_kwargs=True)
    pair = "video_features" in inspect.signature(core.get_placeholder_mask).parameters

    def image_mask(input_ids: Tensor, inputs_embeds: Tensor, image_features: Any = None) -> Any:
        """[1, T, 1], where images are. Others count tokens and features here; we do in `check`."""
        mask = (input_ids == core.config.image_token_id).unsqueeze(-1)
        return (mask, None) if pair else mask

    core.get_placeholder_mask = image_mask


def check(features: Any, batch: PackedBatch, width: int) -> None:
    """ValueError unless the features of all images are as many as their tokens."""
    parts = features.pooler_output
    parts = [parts] if isinstance(parts, Tensor) else parts
    if (states := sum(part.numel() for part in parts) // width) != batch.image_tokens:
        raise ValueError(
            f"the images of a batch have {batch.image_tokens} tokens and {states} states"
        )


def _add_arguments(tower: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    pixels: Tensor = args[0]
    return args, kwargs | row_arguments(tower, kwargs["grid_thw"].cpu(), pixels.device)


def row_arguments(tower: Any, grids: Tensor, device: torch.device) -> dict[str, Any]:
    """What a tower's forward pass computes unless it is given (transformers.vision_utils). grids:
    [images, 3] on the host.
    """
    from transformers import vision_utils

    merge = int(tower.spatial_merge_size)
    boundaries = vision_utils.get_vision_cu_seqlens(grids)
    made: dict[str, Any] = {
        "position_ids": vision_utils.get_vision_position_ids(grids, merge),
        "cu_seqlens": boundaries,
        "max_seqlen": _longest(boundaries),
    }
    if hasattr(tower, "window_size"):
        made["window_index"], windows = vision_utils.get_vision_window_index(
            grids, merge, tower.window_size, tower.patch_size
        )
        made |= {"cu_window_seqlens": windows, "max_window_seqlen": _longest(windows)}
    if hasattr(tower, "num_grid_per_side"):
        made["interp_indices"], made["interp_weights"] = (
            vision_utils.get_vision_interpolation_indices_and_weights(
                grids,
                tower.num_grid_per_side,
                tower.interpolation_mode,
                tower.interpolation_align_corners,
                merge,
            )
        )
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in made.items()
    }


def _longest(boundaries: Tensor) -> int:
    return int(boundaries.diff().max())
