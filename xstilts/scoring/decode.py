"""Answers in words, for the scores of intermediate tasks on their own English dev rows.

Greedy decoding over packed prompts, without a cache: a few words are asked for, every family goes
the same way, and an answer depends on no neighbour. XLM-R fills in the masks that stand where the
answer does, so it is told its length.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from xstilts.data.encoded import EncodedRow, Images
from xstilts.models.backbone import Backbone
from xstilts.models.batch import Segment, pack, segment_key
from xstilts.models.processor import Processor

#: Most tokens of an answer, for every row alike: a limit that followed the batch would make answers
#: depend on it.
LONGEST = 48
_IGNORED = -100


def decode(
    backbone: Backbone,
    processor: Processor,
    rows: Sequence[EncodedRow],
    images: Images | None,
    device: torch.device,
) -> list[str]:
    """The words that the model gives after each row's prompt (the tokens before its first
    supervised one).
    """
    pictures = [
        [
            processor.image_inputs(images[sha], grid)
            for sha, grid in zip(row.images, row.grids, strict=True)
        ]
        if images
        else []
        for row in rows
    ]
    keys = [segment_key(row.row) for row in rows]
    if not backbone.contract.causal:
        segments = [Segment(row.segments[0], [], key) for row, key in zip(rows, keys, strict=True)]
        best = _best(backbone, segments, device, None)
        ends = torch.tensor([len(row.segments[0]) for row in rows]).cumsum(0).tolist()
        told = [
            [
                token
                for token, label in zip(best[end - len(row.labels) : end], row.labels, strict=True)
                if label != _IGNORED
            ]
            for end, row in zip(ends, rows, strict=True)
        ]
        return [_text(processor, tokens) for tokens in told]
    prompts = [row.segments[0][: _answer_at(row)] for row in rows]
    found: list[list[int]] = [[] for _ in rows]
    stop = processor.tokenizer.eos_token_id
    going = list(range(len(rows)))
    for _ in range(LONGEST):
        segments = [Segment([*prompts[i], *found[i]], pictures[i], keys[i]) for i in going]
        for i, token in zip(going, _best(backbone, segments, device, "last"), strict=True):
            found[i].append(token)
        going = [i for i in going if found[i][-1] != stop]
        if not going:
            break
    return [_text(processor, [token for token in tokens if token != stop]) for tokens in found]


def _answer_at(row: EncodedRow) -> int:
    """Tokens of the prompt: a causal model predicts the first of the answer at the last of
    these.
    """
    return next(place for place, label in enumerate(row.labels) if label != _IGNORED) + 1


def _best(
    backbone: Backbone, segments: Sequence[Segment], device: torch.device, which: str | None
) -> list[int]:
    """The likeliest token at every place, or at the last of each segment."""
    batch = pack(segments, backbone).to(device)
    states: Tensor = backbone(batch)
    chosen = states if which is None else states[batch.cu_seq_lens[1:].long() - 1]
    best: list[int] = backbone.lm_logits(chosen).argmax(-1).tolist()
    return best


def _text(processor: Processor, tokens: Sequence[int]) -> str:
    text: str = processor.tokenizer.decode(list(tokens), skip_special_tokens=True)
    return text.strip()
