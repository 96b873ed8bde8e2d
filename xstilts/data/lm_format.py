"""Encodes examples for the `lm` objective: a prompt and the answer as text, with the loss on the
answer only.

`lm_length` limits the tokens of a row; images do not count. Question, instruction and answer are
always kept: what is too long is cut from the context and counted, and an example whose question,
instruction and answer alone exceed the limit is a bad row. The image, or the caption instead of it,
does not matter for that decision, so all image conditions of a task lose the same rows. Plain text
is not cut but split into windows, one row each.
"""

import random
from collections.abc import Iterator
from typing import Any

from xstilts.data.sequence import IGNORED, BadRow, SequenceBuilder
from xstilts.data.wording import verbalize
from xstilts.tasks.task import Example, Task

#: Masked language modeling (Devlin et al. 2019 §3.1): the share of tokens that are predicted, and
#: of these the shares that are masked and replaced by a random token.
_PREDICTED, _MASKED, _REPLACED = 0.15, 0.8, 0.1
#: Tokens that question, instruction and answer of an image task must leave free, so that a row with
#: an image also has space for a caption: joining the two texts may change the first token of the
#: question.
_CAPTION_MARGIN = 2


def lm_rows(
    builder: SequenceBuilder, task: Task, example: Example, index: int
) -> Iterator[dict[str, Any]]:
    """The rows of an example: the prompt and the answer, with the loss on the answer's tokens.

    A causal model predicts each token from the one before. XLM-R sees <mask> at the answer and
    fills it in; of plain text, it predicts 15% of the tokens. BadRow if the parts that must be
    kept do not fit.

    Args:
        builder: of the backbone.
        task: of the example.
        example: to encode.
        index: of the example in the records, which seeds the masks.
    """
    words = verbalize(task, example)
    if not words.texts and task.modality == "text":
        yield from (
            _masked_text(builder, words.answer, index)
            if builder.is_encoder
            else _causal_text(builder, words.answer)
        )
        return
    images, target = builder.image_tokens(example.images), builder.ids(words.answer)
    if not builder.is_encoder:
        target.append(builder.tokenizer.eos_token_id)
    if not target:
        raise BadRow(f"the answer {words.answer!r} has no token in this tokenizer")
    special = len(builder.start) + len(builder.between) + len(builder.end)
    limit = builder.lm_length - special
    instruction = builder.ids(words.instruction) if words.instruction else []
    question = " ".join(text for text, may_be_cut in words.texts if not may_be_cut)
    fixed = len(builder.ids(question)) + len(instruction) + len(target)
    if fixed > limit - (_CAPTION_MARGIN if task.modality == "image" else 0):
        raise BadRow(
            f"question, instruction and answer have {fixed} tokens (answer: "
            f"{len(target)}); lm_length {builder.lm_length} allows {limit}"
        )
    if builder.is_encoder and not words.texts and not images:  # captioning without the image
        yield from _masked_text(builder, words.answer, index)
        return
    groups = builder.token_groups(words.texts)
    uncut = [
        group for group, (_, may_be_cut) in zip(groups, words.texts, strict=True) if not may_be_cut
    ]
    kept = [instruction, *uncut]
    remaining = limit - len(instruction) - len(target)
    if sum(map(len, groups)) > remaining:
        groups = builder.shortened(groups, words.texts, remaining)
    text = [token for group in groups for token in group]
    separator = builder.between if text or instruction else []
    prompt = [*builder.start, *images, *text, *instruction, *separator]
    if not prompt:
        prompt = list(builder.processor.newline)
    if builder.is_encoder:
        ids = [*prompt, *[builder.tokenizer.mask_token_id] * len(target), *builder.end]
        labels = [IGNORED] * len(prompt) + target + [IGNORED] * len(builder.end)
    else:
        ids = [*prompt, *target[:-1]]
        labels = [IGNORED] * (len(prompt) - 1) + target
        kept.append(target[:-1])
    yield {"segments": [ids], "labels": labels, "supervised": len(target), "kept": kept}


def _causal_text(builder: SequenceBuilder, text: str) -> Iterator[dict[str, Any]]:
    """Plain text for a decoder in windows. Each begins with a newline; the last ends the text."""
    lead = list(builder.processor.newline)
    tokens = [*builder.ids(text), builder.tokenizer.eos_token_id]
    size = max(1, builder.max_length - len(lead) + 1)
    for first in range(0, len(tokens), size):
        target = tokens[first : first + size]
        labels = [IGNORED] * (len(lead) - 1) + target
        yield {"segments": [[*lead, *target[:-1]]], "labels": labels, "supervised": len(target)}


def _masked_text(builder: SequenceBuilder, text: str, index: int) -> Iterator[dict[str, Any]]:
    """Plain text for an encoder in windows, with masked language modeling and at least one mask per
    window. BadRow for a text without tokens.
    """
    tokens = builder.ids(text)
    size = max(1, builder.max_length - len(builder.start) - len(builder.end))
    if not tokens:
        raise BadRow("the text has no token in this tokenizer")
    stream = random.Random(f"mask/{index}")
    mask = builder.tokenizer.mask_token_id
    before, after = [IGNORED] * len(builder.start), [IGNORED] * len(builder.end)
    for first in range(0, len(tokens), size):
        inputs, labels = [], []
        for token in tokens[first : first + size]:
            predicted, draw = stream.random() < _PREDICTED, stream.random()
            other = stream.randrange(len(builder.tokenizer))
            replaced = other if draw < _MASKED + _REPLACED else token
            changed = mask if draw < _MASKED else replaced
            inputs.append(changed if predicted else token)
            labels.append(token if predicted else IGNORED)
        if all(label == IGNORED for label in labels):
            position = stream.randrange(len(labels))
            labels[position], inputs[position] = tokens[first + position], mask
        yield {
            "segments": [[*builder.start, *inputs, *builder.end]],
            "labels": before + labels + after,
            "supervised": sum(label != IGNORED for label in labels),
        }
