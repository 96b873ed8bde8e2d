"""Rows of several data sets read as one: concatenated, sampled by size, or joined with images from
another set.
"""

import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any


class ConcatRows:
    """The rows of several sets in sequence. `origin`, the index of the set, keeps equal ids of
    different sets apart.
    """

    def __init__(self, sets: Sequence[Any]) -> None:
        self.sets = sets
        self.firsts = list(accumulate((len(rows) for rows in sets), initial=0))

    def __len__(self) -> int:
        return self.firsts[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = bisect_right(self.firsts, index) - 1
        return {**self.sets[number][index - self.firsts[number]], "origin": number}


class SampledRows(ConcatRows):
    """The rows of several sets, to be sampled by the sizes of the sets."""

    #: The most rows of one set in a sample.
    PER_SET = 100_000

    def sample(self, stream: random.Random, alpha: float) -> Iterator[int]:
        """Row indices without repetition. The next set is drawn by size to the power of alpha among
        the sets with rows left (Conneau and Lample 2019, section 3.1), its row uniformly.
        """
        spans = [range(first, end) for first, end in pairwise(self.firsts) if end > first]
        remaining = [stream.sample(span, min(len(span), self.PER_SET)) for span in spans]
        weights = {number: len(span) ** alpha for number, span in enumerate(spans)}
        while weights:
            number = stream.choices(list(weights), list(weights.values()))[0]
            yield remaining[number].pop()
            if not remaining[number]:
                del weights[number]


class JoinedImages:
    """Rows joined with the image from another set whose `id` they name in a key column."""

    def __init__(self, rows: Any, images: Any, key: str) -> None:
        self.rows, self.images, self.key = rows, images, key
        self.index_of = {str(name): index for index, name in enumerate(images["id"])}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        name = str(row[self.key])
        if name not in self.index_of:
            raise ValueError(f"{self.key} {name!r} is not among the images")
        return {**row, "image": self.images[self.index_of[name]]["image"]}
