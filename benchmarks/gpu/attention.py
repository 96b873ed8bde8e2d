"""The variable-length kernel as models use it, against a loop over segments in float32."""

import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gpu.models import DEVICE, synchronize
from xstilts.models.attention import packed_attention

#: (heads, key-value heads, channels, causal): Llama and Vicuna, Qwen2-VL, its tower, SigLIP.
SHAPES = ((32, 32, 128, True), (28, 4, 128, True), (16, 16, 80, False), (16, 16, 72, False))
LENGTHS = {"mixed": (1, 7, 130, 512, 33), "equal": (256,) * 32}
#: Largest distance from float32, relative to the norm: bfloat16 has eight significant bits.
TOLERANCE = 2e-2
_ROUNDS = 20


def looped(row: Sequence[Tensor], lengths: Sequence[int], causal: bool) -> Tensor:
    """Attention of each segment by itself. row: query, key and value."""
    parts = [
        F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
        for q, k, v in zip(*(t.split([*lengths], 2) for t in row), strict=True)
    ]
    return torch.cat(parts, 2).transpose(1, 2)


def compared(shape: tuple[int, int, int, bool], lengths: tuple[int, ...]) -> dict[str, Any]:
    heads, kv_heads, channels, causal = shape
    generator, tokens = torch.Generator().manual_seed(0), sum(lengths)
    whole = [
        torch.randn(1, count, tokens, channels, generator=generator)
        for count in (heads, kv_heads, kv_heads)
    ]
    low = [t.to(DEVICE, torch.bfloat16).requires_grad_() for t in whole]
    exact = [t.detach().float().requires_grad_() for t in low]
    module = nn.Module()
    module.is_causal = causal  # type: ignore[assignment]
    boundaries = torch.tensor([0, *lengths]).cumsum(0).to(DEVICE, torch.int32)

    def run() -> Tensor:
        query, key, value = low
        return packed_attention(
            module,
            query,
            key,
            value,
            cu_seq_lens_q=boundaries,
            max_length_q=max(lengths),
            segment_lengths=lengths,
        )[0]

    out, reference = run(), looped(exact, lengths, causal)
    weight = torch.randn(reference.shape, generator=generator).to(DEVICE)
    (out.float() * weight).sum().backward()
    (reference * weight).sum().backward()
    pairs = [(out, reference), *((a.grad, b.grad) for a, b in zip(low, exact, strict=True))]
    errors = [
        float((ours.float() - theirs).norm() / theirs.norm())
        for ours, theirs in pairs
        if ours is not None and theirs is not None
    ]
    seconds = {}
    for name, function in (
        ("kernel", run),
        ("loop", lambda: looped(low, lengths, causal)),
    ):
        synchronize()
        started = time.perf_counter()
        for _ in range(_ROUNDS):
            function()
        synchronize()
        seconds[name] = (time.perf_counter() - started) / _ROUNDS
    return {
        "heads": heads, "kv_heads": kv_heads, "channels": channels, "causal": causal,
        "tokens": tokens, "errors": errors, "seconds": seconds,
        "passed": len(errors) == 4 and max(errors) < TOLERANCE,
    }  # fmt: skip


def run() -> dict[str, Any]:
    """All shapes with segments of mixed and of equal lengths."""
    lengths = LENGTHS if DEVICE.type == "cuda" else {"mixed": (1, 7, 20)}
    rows = [compared(shape, of) for shape in SHAPES for of in lengths.values()]
    return {"shapes": rows, "passed": all(row["passed"] for row in rows)}
