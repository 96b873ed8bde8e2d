"""Cuts the rows of one optimiser step into micro-batches for each worker. Memory only: no result
depends on it.
"""

from collections.abc import Sequence


def deal(lengths: Sequence[int], workers: int) -> list[list[int]]:
    """Indices into `lengths` for each worker, so that the tokens are even: longest first, to
    whoever has least.
    """
    hands: list[list[int]] = [[] for _ in range(workers)]
    tokens = [0] * workers
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        worker = min(range(workers), key=lambda w: (tokens[w], w))
        hands[worker].append(index)
        tokens[worker] += lengths[index]
    return [sorted(hand) for hand in hands]


def cut(indices: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Micro-batches of `indices` with at most `budget` tokens each; a row longer than the budget
    stands alone.
    """
    batches: list[list[int]] = []
    room = 0
    for index in sorted(indices, key=lambda i: (-lengths[i], i)):
        if not batches or lengths[index] > room:
            batches.append([])
            room = budget
        batches[-1].append(index)
        room -= lengths[index]
    return batches


def micro_batches(lengths: Sequence[int], workers: int, budget: int) -> list[list[list[int]]]:
    """For each worker its micro-batches of indices into `lengths`; every index occurs exactly
    once.
    """
    return [cut(hand, lengths, budget) for hand in deal(lengths, workers)]
