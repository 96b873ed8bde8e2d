"""Builds token sequences: the special tokens around texts and images, and cutting to a length."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol

#: The label of tokens without a loss.
IGNORED = -100


class SpecialTokens(Protocol):
    """Token ids before the first text, between two texts, and after the last."""

    @property
    def start(self) -> tuple[int, ...]: ...
    @property
    def between(self) -> tuple[int, ...]: ...
    @property
    def end(self) -> tuple[int, ...]: ...


class TextImageProcessor(Protocol):
    """What encoding needs of a backbone's processor; see xstilts.models.processor."""

    @property
    def causal(self) -> bool: ...
    @property
    def layout(self) -> SpecialTokens: ...
    @property
    def tokenizer(self) -> Any: ...
    @property
    def newline(self) -> list[int]: ...
    @property
    def unknown_word(self) -> int: ...
    def text_tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]: ...
    def image_placeholder(self, data: bytes, company: int = 1) -> list[int]: ...
    def grid(self, data: bytes, company: int = 1) -> list[int]: ...
    def within(self, budget: Mapping[str, int | None]) -> "TextImageProcessor": ...


class BadRow(ValueError):
    """An example that cannot be encoded completely. It is left out, counted and reported."""


class SequenceBuilder:
    """Builds the token sequences of one backbone. `was_cut` is set when a text is truncated.

    XLM-R reads `<s> a </s></s> b </s>`, decoders `a newline b <eos>`.
    """

    def __init__(self, processor: TextImageProcessor, lengths: Mapping[str, Any]) -> None:
        self.processor, self.tokenizer = processor, processor.tokenizer
        self.layout = processor.layout
        self.is_encoder = not processor.causal  # learns text by masked tokens
        self.max_length = int(lengths["max_length"])
        self.lm_length = int(lengths.get("lm_length") or self.max_length)
        self.stride = lengths.get("stride")
        self.question_length = lengths.get("question_length")
        self.was_cut = False

    @property
    def start(self) -> list[int]:
        return list(self.layout.start)

    @property
    def between(self) -> list[int]:
        return list(self.layout.between)

    @property
    def end(self) -> list[int]:
        return list(self.layout.end)

    def ids(self, text: str) -> list[int]:
        """The tokens of a text."""
        return self.processor.text_tokens(text)[0]

    def image_tokens(self, images: Sequence[bytes]) -> list[int]:
        """The placeholder tokens of all images of an example."""
        return [
            token
            for data in images
            for token in self.processor.image_placeholder(data, len(images))
        ]

    def joined(
        self, first: list[int], second: list[int] | None, images: Sequence[int] = ()
    ) -> list[int]:
        """One sequence of one or two texts. The longer text is cut until the texts and special
        tokens fit `max_length`, to which images do not count.
        """
        special = len(self.start) + len(self.end)
        special += len(self.between) if second is not None else 0
        first, second = self.cut(first, second, self.max_length - special)
        middle = [*self.between, *second] if second is not None else []
        return [*self.start, *images, *first, *middle, *self.end]

    def single(self, text: str, max_length: int | None) -> list[int]:
        """A sequence of one text, cut to `max_length` or the builder's own limit."""
        limit = max_length or self.max_length
        kept, _ = self.cut(self.ids(text), None, limit - len(self.start) - len(self.end))
        return [*self.start, *kept, *self.end]

    def cut(
        self, first: list[int], second: list[int] | None, limit: int
    ) -> tuple[list[int], list[int] | None]:
        """One or two texts with at most `limit` tokens in all. The longer one is cut first."""
        other = len(second or ())
        if len(first) + other <= limit:
            return first, second
        self.was_cut = True
        if second is None:
            return first[: max(1, limit)], None
        half = max(1, limit // 2)
        if other <= half:
            return first[: max(1, limit - other)], second
        if len(first) <= limit - half:
            return first, second[: max(1, limit - len(first))]
        return first[: max(1, limit - half)], second[:half]

    def token_groups(self, texts: Sequence[tuple[str, bool]]) -> list[list[int]]:
        """The tokens of several texts, tokenized together with spaces between them. A token belongs
        to the text in which it ends.
        """
        joined = " ".join(text for text, _ in texts)
        ids, offsets = self.processor.text_tokens(joined)
        groups: list[list[int]] = [[] for _ in texts]
        ends = list(accumulate(len(text) + 1 for text, _ in texts))
        position = 0  # a token without characters stays with the one before
        for token, (_, end) in zip(ids, offsets, strict=True):
            position = max(position, end)
            groups[min(bisect_left(ends, position), len(groups) - 1)].append(token)
        return groups

    def shortened(
        self, groups: Sequence[list[int]], texts: Sequence[tuple[str, bool]], limit: int
    ) -> list[list[int]]:
        """The token groups of texts with at most `limit` tokens in all.

        Texts that may be cut lose their last tokens, the longer of two first. The others are kept,
        even if they alone exceed the limit.
        """
        self.was_cut = True
        cuttable = [index for index, (_, may_be_cut) in enumerate(texts) if may_be_cut]
        fixed = sum(len(group) for index, group in enumerate(groups) if index not in cuttable)
        remaining = max(0, limit - fixed)
        shorter = list(groups)
        if len(cuttable) == 2:
            first, second = self.cut(groups[cuttable[0]], groups[cuttable[1]], remaining)
            shorter[cuttable[0]], shorter[cuttable[1]] = first, second or []
        for index in cuttable if len(cuttable) == 1 else ():
            shorter[index] = groups[index][:remaining]
        return shorter
