"""Several requests at a time."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

THREADS = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The function's results for all items in order, from 8 threads. The first error cancels the
    items that have not started, and is raised.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
    """The function's results for items in order, from 8 threads. At most 16 items are in progress
    or wait for the caller, so there may be any number of them. The first error cancels the rest.
    """
    remaining = iter(items)
    with ThreadPoolExecutor(THREADS) as pool:
        futures = deque(pool.submit(function, item) for item in islice(remaining, 2 * THREADS))
        try:
            while futures:
                result = futures.popleft().result()
                futures.extend(pool.submit(function, item) for item in islice(remaining, 1))
                yield result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
