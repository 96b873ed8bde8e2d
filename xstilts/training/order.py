"""The training rows of an optimizer step: a pure function of seed, stage and update.

It does not depend on lengths, workers or arms, so two arms of one seed see equal steps, and any
number of workers sees the same rows. Rows are drawn by concatenated epoch permutations: every row
is seen once before any is seen twice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from xstilts.random_streams import generator


def epoch_permutation(rows: int, seed: int, stage: str, epoch: int) -> list[int]:
    """The order of `rows` rows in one epoch: a permutation of range(rows)."""
    order: list[int] = torch.randperm(
        rows, generator=generator(f"order/{epoch}", seed, stage)
    ).tolist()
    return order


@dataclass
class Order:
    """Draws the rows of each optimizer step of one task: `draw(k)` returns those of its k-th
    step.
    """

    rows: int
    examples_per_step: int
    seed: int
    stage: str
    _epochs: dict[int, list[int]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.rows < 1 or self.examples_per_step < 1:
            raise ValueError(
                f"{self.stage}: cannot draw {self.examples_per_step} rows per step "
                f"from {self.rows} rows"
            )

    def draw(self, step: int) -> list[int]:
        """Row indices [examples_per_step] of a step, the same for any number of workers and after
        any restart.
        """
        first = step * self.examples_per_step
        return [self._at(position) for position in range(first, first + self.examples_per_step)]

    def _at(self, position: int) -> int:
        epoch, offset = divmod(position, self.rows)
        if epoch not in self._epochs:
            for old in [e for e in self._epochs if e < epoch - 1]:
                del self._epochs[old]
            self._epochs[epoch] = epoch_permutation(self.rows, self.seed, self.stage, epoch)
        return self._epochs[epoch][offset]


def task_sequence(
    weights: Sequence[float], updates: int, seed: int, stage: str
) -> list[tuple[int, int]]:
    """For each update, (index of its task, number of earlier steps of that task): one task per
    step, as in jiant's `run_train_step`. `weights` need not sum to one.
    """
    if len(weights) == 1:
        return [(0, update) for update in range(updates)]
    drawn = torch.multinomial(
        torch.tensor(weights, dtype=torch.float64),
        updates,
        replacement=True,
        generator=generator("tasks", seed, stage),
    ).tolist()
    seen = [0] * len(weights)
    sequence = []
    for index in drawn:
        sequence.append((index, seen[index]))
        seen[index] += 1
    return sequence


def updates_for(
    tokens: int,
    supervised: Sequence[Sequence[int]],
    weights: Sequence[float],
    examples_per_step: int,
) -> int:
    """The fewest updates that train, on average over the draws of tasks, on this number of tokens
    with a loss. supervised: tokens with a loss of each row of each task. Equal for all seeds, so
    that arms with one budget are comparable.
    """
    mean = [sum(rows) / len(rows) for rows in supervised]
    each = examples_per_step * sum(
        weight * value for weight, value in zip(weights, mean, strict=True)
    )
    return max(1, math.ceil(tokens / each))
