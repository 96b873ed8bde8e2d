"""Rows of several sets read as one: behind one another, mixed by size, or with pictures that
stand in another set.
"""

import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any


class Chained:
    """Rows of several sets behind one another. Ids of the sets are told apart by `origin`, the
    set's number.
    """

    def __init__(self, sets: Sequence[Any]) -> None:
        self.sets = sets
        self.firsts = list(accumulate((len(one) for one in sets), initial=0))

    def __len__(self) -> int:
        return self.firsts[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = bisect_right(self.firsts, index) - 1
        return {**self.sets[number][index - self.firsts[number]], "origin": number}


class Mixed(Chained):
    """Rows of several sets that are read as one, each set by its share."""

    #: Most rows of one set that a sample can hold.
    PER_SET = 100_000

    def sample(self, stream: random.Random, alpha: float) -> Iterator[int]:
        """Places of rows, each once: which set comes next is drawn by the sets' sizes to the
        power of alpha among those that have rows left (Conneau and Lample 2019, section 3.1),
        and its row without regard to order.
        """
        spans = [range(first, end) for first, end in pairwise(self.firsts) if end > first]
        left = [stream.sample(span, min(len(span), self.PER_SET)) for span in spans]
        weights = {number: len(span) ** alpha for number, span in enumerate(spans)}
        while weights:
            number = stream.choices(list(weights), list(weights.values()))[0]
            yield left[number].pop()
            if not left[number]:
                del weights[number]


class Pictured:
    """Rows whose picture stands in another set under the id that they name."""

    def __init__(self, rows: Any, pictures: Any, key: str) -> None:
        self.rows, self.pictures, self.key = rows, pictures, key
        self.places = {str(name): place for place, name in enumerate(pictures["id"])}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        name = str(row[self.key])
        if name not in self.places:
            raise ValueError(f"{self.key} {name!r} is not among the pictures")
        return {**row, "image": self.pictures[self.places[name]]["image"]}
