"""The cases of `python -m benchmarks.training`: rows with published lengths, equal weights, and the
comparison of metrics.
"""

from statistics import mean

import pytest
import torch

from benchmarks.peers_transformers import Padding, unavailable
from benchmarks.training import equal
from benchmarks.training_cases import CASES, IMAGE_TOKENS, encoded, model_of, rows_of


@pytest.mark.parametrize(("name", "tokens"), [("nli", 38.0), ("squad", 196.3), ("pos", 23.6)])
def test_rows_have_the_lengths_of_published_data(name: str, tokens: float) -> None:
    lengths = [len(row.ids) for row in rows_of(CASES[name], 2000, seed=0)]
    assert mean(lengths) == pytest.approx(tokens, rel=0.05)
    assert max(lengths) <= CASES[name].max_length


@pytest.mark.parametrize("name", CASES)
def test_rows_are_equal_for_all_alternatives(name: str) -> None:
    case = CASES[name]
    rows = rows_of(case, 6, seed=3)
    assert rows == rows_of(case, 6, seed=3)
    table = encoded(case, rows, [str(index) for index in range(6)]).to_pylist()
    assert [line["segments"][0] for line in table] == [row.ids for row in rows]
    for line, row in zip(table, rows, strict=True):
        assert tuple(line["span"]) == row.span
        if case.objective == "lm":  # each place has the next token, transformers shifts by itself
            assert line["labels"] == [*row.labels[1:], -100]
        assert row.ids.count(15_999) == (IMAGE_TOKENS if case.images else 0)


@pytest.mark.parametrize("name", ["nli", "squad", "pos"])
def test_all_alternatives_start_from_the_same_encoder(name: str) -> None:
    case = CASES[name]
    ours, theirs = (model_of(case, 5, head=head).roberta.state_dict() for head in (False, True))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(("length", "expected"), [(None, 4), (9, 9)])
def test_batches_are_padded_to_their_longest_row_or_to_one_length(
    length: int | None, expected: int
) -> None:
    items = [{"input_ids": [0, 5, 2], "labels": [1, 2, 3]}, {"input_ids": [0, 5, 6, 2]}]
    items[1]["labels"] = [4, 5, 6, 7]
    batch = Padding(length, [])(items)
    assert batch["input_ids"].shape == batch["labels"].shape == (2, expected)
    assert batch["attention_mask"].sum(1).tolist() == [3, 4]
    assert (batch["labels"] >= 0).equal(batch["attention_mask"] > 0)


@pytest.mark.parametrize("name", CASES)
def test_flattening_runs_only_where_transformers_keeps_rows_apart(name: str) -> None:
    assert (unavailable(CASES[name], "flattening") is None) == (name == "text")


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([0.90, 0.94], [0.91, 0.95], True),
        ([0.90, 0.91], [0.50, 0.51], False),
        ([0.7], [0.705], True),
        ([0.7], [0.8], False),
    ],
)
def test_metrics_are_equal_within_the_noise_of_seeds(
    ours: list[float], theirs: list[float], expected: bool
) -> None:
    assert equal(ours, theirs) == expected
