"""Refuses a model whose attention ignores segment boundaries.

transformers accepts `attn_implementation="packed"` for models with attention of their own
(DeBERTa-v2), which then ignore `cu_seq_lens`: segments of one batch read each other, and results
are silently wrong.

The probe runs once per loaded model: four forward passes of at most nine tokens.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xstilts.errors import DataError
from xstilts.models.batch import Segment

#: dtype → largest difference, as a share of the largest state, that rounding explains: a batch of
#: another size is summed in another order.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
#: Batches of one size are summed in one order, whatever the dtype, so a segment must not change at
#: all with its neighbor. Experts are the exception: their order depends on how many tokens of the
#: batch share an expert.
LEAK = 1e-6


def check_packing(
    states: Callable[[Sequence[Segment]], Tensor],
    vocabulary: int,
    family: str,
    model: str,
    *,
    experts: bool = False,
) -> None:
    """Compares two packed segments with the same segments alone, and the second one beside
    another first one.

    Args:
        states: Segments → hidden states [T, width] of one batch.
        vocabulary: Number of tokens.
        family: Name of the family, for the error.
        model: Name of the model, for the error.
        experts: Whether the text stack has experts.

    Raises:
        DataError: They differ.
    """
    # From the middle of the vocabulary: special tokens are at its ends.
    ids = [vocabulary // 4 + place * (vocabulary // 64) for place in range(14)]
    first, other, second = (Segment(part) for part in (ids[:5], ids[5:10], ids[10:]))
    with torch.no_grad():
        packed, beside = states([first, second]), states([other, second])
        alone = torch.cat([states([first]), states([second])])
    scale = float(packed.abs().max())
    leak = float((packed[5:] - beside[5:]).abs().max())
    difference = float((packed - alone).abs().max())
    # `not … <=` also refuses NaN.
    most = TOLERANCE.get(packed.dtype, 1e-4)
    if not (leak <= (most if experts else LEAK) * scale and difference <= most * scale):
        raise DataError(
            f"{model}: attention of family {family} ignores segment boundaries. A packed segment "
            f"differs by {max(leak, difference):.2g} from the same segment alone (states up to "
            f"{scale:.2g}), so results would be wrong. Use a family whose transformers attention "
            "goes through AttentionInterface"
        )
