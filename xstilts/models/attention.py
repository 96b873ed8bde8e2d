"""Attention over a flat row of several segments, registered with transformers as "packed".

One function serves the text stacks of all families, and vision towers that take all images of a
batch as one row. Boundaries come in `cu_seq_lens_q`. transformers makes no mask for an
implementation that its mask registry does not have, so nothing of size tokens × tokens is
allocated.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

NAME = "packed"
#: The same function for vision towers. transformers passes boundaries to implementations with
#: "flash" in their name only; others get one image at a time.
VISION_NAME = "packed_flash"


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    segment_lengths: Sequence[int] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Each token attends to its own segment only, and not ahead if `module.is_causal`.

    Args:
        module: The attention layer.
        query: [1, heads, tokens, d].
        key: [1, heads or fewer, tokens, d].
        value: Like key.
        attention_mask: Must be None.
        dropout: Ignored: see models/dropout.py.
        scaling: Scale of the scores; None: 1/√d.
        is_causal: None: that of the module.
        cu_seq_lens_q: [segments + 1] boundaries.
        max_length_q: Tokens of the longest segment; None: read from the boundaries.
        segment_lengths: Tokens of each segment; None: read from the boundaries. Reading boundaries
            that are on a GPU waits for it.
        kwargs: Other arguments that transformers passes.

    Returns:
        [1, tokens, heads, d], and None for attention weights.

    Raises:
        ValueError: Boundaries are missing, or there is a mask. Results would be silently wrong.
    """
    if cu_seq_lens_q is None:
        raise ValueError(
            "packed attention needs cu_seq_lens_q: without it segments would read each other"
        )
    if attention_mask is not None or query.shape[0] != 1:
        raise ValueError("packed attention takes one flat row and no attention mask")
    causal = bool(module.is_causal if is_causal is None else is_causal)
    grouped = key.shape[1] != query.shape[1]
    if torch.is_autocast_enabled(query.device.type):
        # Rotary embeddings and norms return float32 there, and the kernels take one dtype.
        low = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(low), key.to(low), value.to(low)
    if has_kernel(query):
        out = varlen(query, key, value, cu_seq_lens_q, max_length_q, scaling, causal, grouped)
        return out[None], None
    # A loop over segments is exact, and for tiny heads (30 tokens, 4 heads of 16) at least as fast
    # as batching equal lengths or padding: their gathers and scatters cost more than the small
    # kernels that they save.
    lengths = cu_seq_lens_q.diff().tolist() if segment_lengths is None else list(segment_lengths)
    parts = [
        F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scaling, enable_gqa=grouped)
        for q, k, v in zip(
            query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True
        )
    ]
    return torch.cat(parts, 2).transpose(1, 2), None


def has_kernel(query: Tensor) -> bool:
    """Whether the variable-length kernel takes this query."""
    return query.is_cuda and query.dtype in (torch.bfloat16, torch.float16)


def varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    boundaries: Tensor,
    longest: int | None,
    scaling: float | None,
    causal: bool,
    grouped: bool,
) -> Tensor:
    """PyTorch's variable-length FlashAttention kernel: [tokens, heads, d].

    The kernel takes half precision only, int32 boundaries on the device of the query, and heads of
    up to 256 channels. PyTorch pads channels to a multiple of 8 only for its own scaled dot product
    attention, so other widths are padded here; zeros change neither scores nor outputs.
    """
    from torch.nn.attention.varlen import varlen_attn

    width = query.shape[-1]
    scaling = width**-0.5 if scaling is None else scaling
    q, k, v = (F.pad(t[0].transpose(0, 1), (0, -width % 8)) for t in (query, key, value))
    cu = boundaries.to(device=query.device, dtype=torch.int32)
    longest = int(cu.diff().max()) if longest is None else int(longest)
    window = (-1, 0) if causal else (-1, -1)
    out = varlen_attn(
        q, k, v, cu, cu, longest, longest, scale=scaling, window_size=window, enable_gqa=grouped
    )
    assert isinstance(out, Tensor)  # a pair only with auxiliary outputs
    return out[..., :width]


def register() -> None:
    """Registers packed attention with transformers. Idempotent."""
    AttentionInterface.register(NAME, packed_attention)
    AttentionInterface.register(VISION_NAME, packed_attention)
