"""Generates answers as text, to score intermediate tasks on their English dev rows.

Greedy decoding of packed prompts without a cache: answers are short, all families use the same
code, and an answer does not depend on other rows of the batch. The placeholder of an image is never
generated: it stands for pixels, and answers have none. XLM-R fills in masks in place of the answer,
so it knows the length of the answer.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from xstilts.data.encoded import EncodedRow, Images
from xstilts.data.sequence import IGNORED
from xstilts.models.backbone import Backbone
from xstilts.models.batch import Segment, pack, segment_key
from xstilts.models.processor import Processor

#: The maximum number of tokens of an answer. It is the same for every row, so that answers do not
#: depend on the batch.
MAX_TOKENS = 48


def decode(
    backbone: Backbone,
    processor: Processor,
    rows: Sequence[EncodedRow],
    images: Images | None,
    device: torch.device,
) -> list[str]:
    """The text that the model generates after each row's prompt (the tokens before the first
    supervised one).

    Args:
        backbone: the model.
        processor: of the backbone.
        rows: with the prompts.
        images: of the rows, if any.
        device: to run on.
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
        masks = [
            [place for place, label in enumerate(row.labels) if label != IGNORED] for row in rows
        ]
        ends = accumulate(len(row.segments[0]) for row in rows)
        at = [
            end - len(row.labels) + place
            for end, row, places in zip(ends, rows, masks, strict=True)
            for place in places
        ]
        best = iter(_best(backbone, segments, device, at))
        return [_text(processor, [next(best) for _ in places]) for places in masks]
    prompts = [row.segments[0][: _prompt_length(row)] for row in rows]
    generated: list[list[int]] = [[] for _ in rows]
    stop = processor.tokenizer.eos_token_id
    placeholder = processor.image_token_id if processor.contract.vision else None
    active = list(range(len(rows)))
    for _ in range(MAX_TOKENS):
        segments = [Segment([*prompts[i], *generated[i]], pictures[i], keys[i]) for i in active]
        last = [end - 1 for end in accumulate(len(segment.input_ids) for segment in segments)]
        chosen = _best(backbone, segments, device, last, without=placeholder)
        for i, token in zip(active, chosen, strict=True):
            generated[i].append(token)
        active = [i for i in active if generated[i][-1] != stop]
        if not active:
            break
    return [_text(processor, [token for token in tokens if token != stop]) for tokens in generated]


def _prompt_length(row: EncodedRow) -> int:
    """The number of prompt tokens. A causal model predicts the first answer token at the last
    one.
    """
    return next(index for index, label in enumerate(row.labels) if label != IGNORED) + 1


def _best(
    backbone: Backbone,
    segments: Sequence[Segment],
    device: torch.device,
    at: Sequence[int],
    without: int | None = None,
) -> list[int]:
    """The most likely token at each of the places in the batch. Logits of all places would take
    far more memory than the model. `without` is never the most likely.
    """
    batch = pack(segments, backbone).to(device)
    states: Tensor = backbone(batch)
    logits = backbone.lm_logits(states[torch.tensor(at, dtype=torch.long, device=device)])
    if without is not None:
        logits[:, without] = -torch.inf
    best: list[int] = logits.argmax(-1).tolist()
    return best


def _text(processor: Processor, tokens: Sequence[int]) -> str:
    text: str = processor.tokenizer.decode(list(tokens), skip_special_tokens=True)
    return text.strip()
