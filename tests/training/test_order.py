"""The rows of an update."""

from collections import Counter

import pytest

pytest.importorskip("torch")

from xstilts.training.order import (
    Order,
    epoch_permutation,
    task_sequence,
    updates_for,
)


def test_every_row_is_seen_once_an_epoch() -> None:
    order = Order(rows=10, examples_per_step=5, seed=3, stage="squad")
    assert sorted(order.draw(0) + order.draw(1)) == list(range(10))
    assert sorted(order.draw(2) + order.draw(3)) == list(range(10))


def test_a_step_may_cross_the_end_of_an_epoch() -> None:
    order = Order(rows=3, examples_per_step=4, seed=0, stage="s")
    first, second = epoch_permutation(3, 0, "s", 0), epoch_permutation(3, 0, "s", 1)
    assert order.draw(0) == [*first, second[0]]
    assert order.draw(1)[:2] == second[1:]


def test_an_order_is_a_function_of_seed_and_stage_only() -> None:
    assert Order(100, 8, 1, "mnli").draw(5) == Order(100, 8, 1, "mnli").draw(5)
    assert Order(100, 8, 1, "mnli").draw(5) != Order(100, 8, 2, "mnli").draw(5)
    assert Order(100, 8, 1, "mnli").draw(5) != Order(100, 8, 1, "squad").draw(5)


def test_a_step_can_be_drawn_without_the_steps_before_it() -> None:
    walked = Order(7, 3, 0, "s")
    steps = [walked.draw(k) for k in range(9)]
    assert Order(7, 3, 0, "s").draw(8) == steps[8]


def test_no_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 rows"):
        Order(0, 4, 0, "s")


def test_golden_order() -> None:
    """May change only with a new recipe version."""
    assert epoch_permutation(8, 0, "squad/squad", 0) == [5, 0, 2, 6, 1, 4, 3, 7]


def test_a_mixture_draws_one_task_a_step_and_counts_its_earlier_steps() -> None:
    sequence = task_sequence([0.5, 0.5], 200, seed=0, stage="i")
    counts = Counter(index for index, _ in sequence)
    assert 70 < counts[0] < 130
    assert [seen for index, seen in sequence if index == 1] == list(range(counts[1]))


def test_a_budget_of_supervised_tokens_is_met_by_the_fewest_updates() -> None:
    """Captions of 12 tokens and labels of one: a twelfth of the updates, for the same tokens
    with a loss.
    """
    assert updates_for(9600, [[10, 14]], [1.0], 8) == 100
    assert updates_for(9600, [[1, 1, 1]], [1.0], 8) == 1200
    assert updates_for(9601, [[1, 1, 1]], [1.0], 8) == 1201
    assert updates_for(1300, [[12], [1]], [0.5, 0.5], 2) == 100
