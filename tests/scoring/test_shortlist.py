"""Shortlists: every candidate that can be among the nearest, given the errors of similarities."""

import pytest
import torch

from xstilts.scoring.shortlist import Rounding, Shortlist, largest

CPU = torch.device("cpu")


@pytest.mark.parametrize("width", [3, 64, 900, 1_024, 5_000])
@pytest.mark.parametrize("count", [1, 3])
def test_the_largest_values_are_those_of_a_stable_sort(width: int, count: int) -> None:
    """Few distinct values, so that most rows have equals at the boundary."""
    values = torch.randint(0, 40, (30, width), generator=torch.Generator().manual_seed(width))
    values = values.float() - 50
    expected = values.argsort(dim=1, descending=True, stable=True)[:, :count]
    assert torch.equal(largest(values, count), expected)


@pytest.mark.parametrize(
    ("similar", "rounding", "depth", "expected"),
    [
        ([0.9, 0.8, 0.5, 0.4], Rounding(1e-5), 2, [0, 1]),
        ([0.9, 0.8, 0.8 - 1e-5, 0.4], Rounding(1e-5), 2, [0, 1, 2]),  # may be the second one
        ([0.9, 0.9, 0.9, 0.9], Rounding(1e-5), 1, [0, 1, 2, 3]),
        ([0.9, 0.8], Rounding(1e-5), 5, [0, 1]),
        ([0.5, 1.0, 0.995, 0.97], Rounding(0.0, 0.01), 1, [1, 2]),
        ([-0.5, -1.0, -0.505, -0.53], Rounding(0.0, 0.01), 1, [0, 2]),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_candidates_within_the_errors_of_the_last_stay(
    similar: list[float], rounding: Rounding, depth: int, expected: list[int], turned: bool
) -> None:
    table = torch.tensor([similar])
    shortlist = Shortlist(1, depth, CPU)
    shortlist.add(table.T.contiguous() if turned else table, 0, rounding, turned)
    places, marks, crowded = shortlist.close()
    assert places[marks].tolist() == expected
    assert not crowded.any()


@pytest.mark.parametrize("scale", [0.01, 0.1])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("order", ["random", "rising", "falling"])
def test_the_largest_true_similarities_are_always_listed(
    scale: float, turned: bool, order: str
) -> None:
    """Computed similarities are wrong by up to the stated errors, in pieces of different sizes."""
    stream = torch.Generator().manual_seed(0)
    true = torch.randn(40, 3_000, generator=stream)
    if order != "random":
        true = true.sort(1, descending=order == "falling").values
    rounding = Rounding(0.2 * scale, 0.1 * scale)
    error = rounding.absolute * (2 * torch.rand(true.shape, generator=stream) - 1)
    relative = rounding.relative * (2 * torch.rand(true.shape, generator=stream) - 1)
    computed = (true + error) / (1 + relative.abs())
    shortlist, first = Shortlist(40, 5, CPU), 0
    for piece in computed.split([64, 1, 640, 7, 1_280, 1_008], 1):
        similar = piece.T if turned else piece
        shortlist.add(similar.contiguous(), first, rounding, turned)
        first += piece.shape[1]
    places, marks, crowded = shortlist.close()
    for row in range(40):
        best = set(true[row].topk(5).indices.tolist())
        assert crowded[row] or best <= set(places[row][marks[row]].tolist())
    assert crowded.float().mean() < 0.2
    assert (places.masked_fill(~marks, 9_999).diff(dim=1)[marks[:, 1:]] > 0).all()  # in order


def test_what_was_dropped_for_want_of_slots_does_not_matter_once_it_is_displaced() -> None:
    shortlist = Shortlist(1, 1, CPU)
    shortlist.add(torch.full((1, 1_000), 0.5), 0, Rounding(1e-3))
    assert shortlist.close()[2].tolist() == [True]
    shortlist.add(torch.tensor([[0.9]]), 1_000, Rounding(1e-3))
    places, marks, crowded = shortlist.close()
    assert (places[marks].tolist(), crowded.tolist()) == ([1_000], [False])


def test_of_more_equals_than_slots_the_first_stay() -> None:
    shortlist = Shortlist(1, 2, CPU)
    for first in range(0, 900, 300):
        shortlist.add(torch.full((1, 300), 0.5), first, Rounding(1e-6))
    places, marks, _ = shortlist.close()
    assert places[marks].tolist() == [*range(64)]
