"""Attention over a flat row of several segments, registered with transformers as "packed".

One function serves the text stacks of all families. Boundaries come in `cu_seq_lens_q`.
transformers makes no mask for an implementation that its mask registry does not have, so nothing of
size tokens × tokens is allocated.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

NAME = "packed"


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
        max_length_q: Tokens of the longest segment; None: computed.
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
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        out = _varlen(query, key, value, cu_seq_lens_q, max_length_q, scaling, causal, grouped)
        return out[None], None
    # A loop over segments is exact, and for tiny heads (30 tokens, 4 heads of 16) at least as fast
    # as batching equal lengths or padding: their gathers and scatters cost more than the small
    # kernels that they save.
    lengths = cu_seq_lens_q.diff().tolist()
    parts = [
        F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scaling, enable_gqa=grouped)
        for q, k, v in zip(
            query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True
        )
    ]
    return torch.cat(parts, 2).transpose(1, 2), None


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    boundaries: Tensor,
    longest: int | None,
    scaling: float | None,
    causal: bool,
    grouped: bool,
) -> Tensor:
    """PyTorch's variable-length FlashAttention kernel (half precision only): [tokens, heads, d]."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))
    cu = boundaries.to(torch.int32)
    longest = int(cu.diff().max()) if longest is None else longest
    window = (-1, 0) if causal else (-1, -1)
    out = varlen_attn(
        q, k, v, cu, cu, longest, longest, scale=scaling, window_size=window, enable_gqa=grouped
    )
    assert isinstance(out, Tensor)  # a pair only with auxiliary outputs
    return out


def register() -> None:
    """Registers `attn_implementation="packed"` with transformers. Idempotent."""
    AttentionInterface.register(NAME, packed_attention)
