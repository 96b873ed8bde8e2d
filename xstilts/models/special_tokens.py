"""Special tokens around one text, or around two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Layout:
    """Token ids of a sequence: `start` text `end`, or `start` text `between` text `end`.

    second_type: token type id of the second text and of the end after it; all else has 0.
    """

    start: tuple[int, ...]
    between: tuple[int, ...]
    end: tuple[int, ...]
    second_type: int = 0

    def token_types(self, ids: Sequence[int]) -> list[int]:
        """Token type ids of a sequence. Text never contains control tokens, so the first
        `between` after the start is the boundary of a pair. The end of a single text is not one.
        """
        size = len(self.between)
        for at in range(len(self.start), len(ids) - size):
            if tuple(ids[at : at + size]) == self.between:
                first = at + size
                return [0] * first + [self.second_type] * (len(ids) - first)
        return [0] * len(ids)


def from_template(tokenizer: Any) -> Layout:
    """The layout that the tokenizer's own template gives: BERT and other encoders.

    Raises:
        ValueError: The template has no special tokens around a pair of texts.
    """

    def encoded(*texts: str) -> tuple[list[int], list[int], list[bool]]:
        made = tokenizer(
            *texts,
            padding=False,
            truncation=False,
            return_special_tokens_mask=True,
            return_token_type_ids=True,
        )
        special = [bool(flag) for flag in made["special_tokens_mask"]]
        return made["input_ids"], made["token_type_ids"], special

    single, _, special = encoded("a")
    if all(special) or special[0] is False or special[-1] is False:
        raise ValueError(
            f"the template of {type(tokenizer).__name__} puts no special tokens around a text; "
            "add a post-processor to tokenizer.json"
        )
    first = special.index(False)
    last = len(special) - special[::-1].index(False)
    start, end = tuple(single[:first]), tuple(single[last:])
    pair, types, special = encoded("a", "a")
    inner = [place for place, flag in enumerate(special) if flag][len(start) : -len(end)]
    between = tuple(pair[place] for place in inner)
    if not between:
        raise ValueError(
            f"the template of {type(tokenizer).__name__} puts no special tokens between two texts; "
            "add a post-processor to tokenizer.json"
        )
    return Layout(start, between, end, types[-1])


def double_end(tokenizer: Any) -> Layout:
    """RoBERTa's and XLM-R's layout: <s> text </s></s> second text </s>."""
    start, end = int(tokenizer.bos_token_id), int(tokenizer.eos_token_id)
    return Layout((start,), (end, end), (end,))


def line_break(tokenizer: Any) -> Layout:
    """The layout of decoders: a line break between two texts, the end-of-text token at the end."""
    between = tokenizer.encode("\n", add_special_tokens=False)
    return Layout((), tuple(between), (int(tokenizer.eos_token_id),))
