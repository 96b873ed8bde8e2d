"""Splits the rows of one optimizer step into micro-batches for each worker. This affects memory
only, no result.
"""

from collections.abc import Sequence


def deal(lengths: Sequence[int], workers: int) -> list[list[int]]:
    """Indices into `lengths` for each worker, balanced by tokens: the longest first, to the worker
    with the fewest tokens.
    """
    shares: list[list[int]] = [[] for _ in range(workers)]
    tokens = [0] * workers
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        worker = min(range(workers), key=lambda w: (tokens[w], w))
        shares[worker].append(index)
        tokens[worker] += lengths[index]
    return [sorted(share) for share in shares]


def cut(indices: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Micro-batches of `indices` with at most `budget` tokens each. A row longer than the budget is
    a micro-batch by itself.
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
    """For each worker its micro-batches of indices into `lengths`. Every index occurs exactly
    once.
    """
    return [cut(share, lengths, budget) for share in deal(lengths, workers)]
