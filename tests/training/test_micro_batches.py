"""Micro-batches contain each row once, for any number of workers and any budget."""

from hypothesis import given
from hypothesis import strategies as st

from xstilts.training.micro_batches import cut, deal, micro_batches


def test_rows_are_balanced_by_tokens() -> None:
    assert deal([10, 1, 1, 8], 2) == [[0], [1, 2, 3]]


def test_a_row_longer_than_the_budget_is_a_micro_batch_by_itself() -> None:
    assert cut([0, 1, 2], [50, 3, 4], budget=10) == [[0], [2, 1]]


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 4), st.integers(1, 100))
def test_every_row_once_and_within_budget(lengths: list[int], workers: int, budget: int) -> None:
    hands = micro_batches(lengths, workers, budget)
    assert len(hands) == workers
    assert sorted(i for hand in hands for batch in hand for i in batch) == list(range(len(lengths)))
    for hand in hands:
        for batch in hand:
            assert len(batch) == 1 or sum(lengths[i] for i in batch) <= budget
