"""How the pairs of a contrast are classified, by the seeds that they share."""

import pytest

from xstilts.plan.seed_layout import WITHOUT_SEED, Pair, SeedLayout, layout


def of(pairs: list[tuple[int | None, int | None]], none: bool = True) -> SeedLayout:
    """The layout of pairs against `none`, whose cells have no intermediate seed, or against
    another arm.
    """
    return layout(pairs, pairs, [(None, t) for _, t in pairs] if none else pairs)


def grid(first: int, second: int) -> list[Pair]:
    return [(i, t) for i in range(first) for t in range(second)]


def test_equal_seeds_are_independent_units() -> None:
    assert of([(s, s) for s in range(4)]) == SeedLayout("units", ((0,), (1,), (2,), (3,)))


def test_few_seeds_are_noted() -> None:
    assert of([(0, 0), (1, 1), (2, 2)]).notes == ("approximate: only 3 seeds",)
    assert of(grid(5, 2)).notes == ("approximate: only 2 target seeds",)
    assert of(grid(2, 5)).notes == ("approximate: only 2 intermediate seeds",)


def test_targets_of_one_intermediate_are_one_unit() -> None:
    assert of([(0, 0), (0, 1), (1, 2), (1, 3)]).members == ((0, 1), (2, 3))


def test_raw_retrieval_has_one_unit_an_intermediate_seed() -> None:
    pairs: list[Pair] = [(0, None), (1, None)]
    raw = layout(pairs, pairs, [(None, None)] * 2)
    assert (raw.kind, raw.shared, len(raw.members)) == ("units", False, 2)


def test_one_pair_is_conditional_on_its_seed() -> None:
    assert of([(0, 0)]).notes == ("conditional on the seed",)
    assert of([(0, None)]).notes == ("conditional on the seed",)


def test_two_models_that_are_not_trained_have_no_seed() -> None:
    assert of([(None, None)]).notes == (WITHOUT_SEED,)


@pytest.mark.parametrize(
    ("pairs", "none", "shared", "seed"),
    [
        ([(0, 0), (1, 0)], True, True, "target"),
        ([(0, 0), (1, 0)], False, False, "target"),
        ([(0, 0), (0, 1)], True, False, "intermediate"),
    ],
)
def test_with_one_seed_of_a_kind_the_interval_is_conditional_on_it(
    pairs: list[Pair], none: bool, shared: bool, seed: str
) -> None:
    result = of(pairs, none)
    assert result.shared == shared
    assert result.notes[0] == f"conditional on the {seed} seed"


def test_crossed_seeds_are_a_grid() -> None:
    assert of(grid(4, 4)).members == tuple(tuple(range(4 * i, 4 * i + 4)) for i in range(4))


@pytest.mark.parametrize(
    ("first", "second", "gone", "shape"),
    [
        (5, 5, (4, 4), (4, 5)),
        (5, 2, (0, 1), (4, 2)),
        (2, 5, (1, 3), (2, 4)),
        (3, 3, (1, 1), (2, 3)),
    ],
)
def test_a_grid_with_missing_cells_is_reduced_to_its_complete_part(
    first: int, second: int, gone: Pair, shape: tuple[int, int]
) -> None:
    result = of([pair for pair in grid(first, second) if pair != gone])
    assert result.kind == "grid"
    assert sorted((len(result.members), len(result.members[0]))) == sorted(shape)
    assert (
        result.notes[0]
        == f"complete {len(result.members)} × {len(result.members[0])} part of {first * second - 1} cells"
    )
    assert result.dropped == first * second - 1 - shape[0] * shape[1]


def test_without_a_complete_part_pairs_without_a_common_seed_remain() -> None:
    result = of([(0, 0), (0, 1), (1, 0)])
    assert (result.kind, result.members, result.dropped) == ("units", ((1,), (2,)), 1)


def test_no_pair_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        of([])
