"""Attention over a flat row of several segments, registered with transformers as "packed".

One function serves the text stacks of every family. Boundaries come in `cu_seq_lens_q`; an
implementation that the mask registry does not know gets no mask, so nothing of size tokens × tokens
is ever made.
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
    """Each token attends to its own segment only (and not ahead, where `module.is_causal`).

    query [1, heads, tokens, d], key and value [1, heads or fewer, tokens, d], cu_seq_lens_q
    [segments + 1]; returns [1, tokens, heads, d]. `dropout` on attention probabilities is not
    applied (see models/dropout.py). Raises ValueError without boundaries, or with a mask: both
    would silently be wrong.
    """
    if cu_seq_lens_q is None:
        raise ValueError(
            "packed attention needs cu_seq_lens_q: without boundaries segments would read each other"
        )
    if attention_mask is not None or query.shape[0] != 1:
        raise ValueError("packed attention takes one flat row and no attention mask")
    causal = bool(module.is_causal if is_causal is None else is_causal)
    grouped = key.shape[1] != query.shape[1]
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        out = _varlen(query, key, value, cu_seq_lens_q, max_length_q, scaling, causal, grouped)
        return out[None], None
    # A loop over segments: for tiny heads (30 tokens, 4 heads of 16) it is as fast as or faster
    # than batching equal lengths or padding, whose gathers and scatters cost more than the small
    # kernels they save; and it is exact.
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
    """PyTorch's own variable-length FlashAttention kernel (half precision only): [tokens, heads,
    d].
    """
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))
    cu = boundaries.to(torch.int32)
    longest = int(cu.diff().max()) if longest is None else longest
    window = (-1, 0) if causal else (-1, -1)
    out = varlen_attn(
        q, k, v, cu, cu, longest, longest, scale=scaling, window_size=window, enable_gqa=grouped
    )
    assert isinstance(out, Tensor)  # a pair only when auxiliary outputs are asked for
    return out


def register() -> None:
    """Makes `attn_implementation="packed"` known to transformers; calling it again changes
    nothing.
    """
    AttentionInterface.register(NAME, packed_attention)
