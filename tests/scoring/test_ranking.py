"""Queries against a pool: nearest first, every language's candidates, ties by place."""

import pytest
import torch

from xstilts.scoring import ranking
from xstilts.scoring.gold import Gold
from xstilts.scoring.metrics import METRICS
from xstilts.scoring.vectors import Vectors


def unit(*values: float) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(values), dim=-1)


def nearest(queries: torch.Tensor, pool: torch.Tensor, size: int) -> torch.Tensor:
    """Places by falling cosine, the pool in chunks of a size."""
    return ranking.nearest_candidates(queries, pool.split(size), pool.__getitem__)[0]


def test_the_nearest_come_first_and_equals_in_order_of_place() -> None:
    pool = torch.stack([unit(0.0, 1.0), unit(1.0, 0.0), unit(1.0, 1.0), unit(1.0, 0.0)])
    assert nearest(unit(1.0, 0.0)[None], pool, 4).tolist() == [[1, 3, 2, 0]]


def test_chunks_of_the_pool_change_nothing(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    queries, pool = torch.randn(5, 8), torch.randn(70, 8)
    whole = nearest(queries, pool, 70)
    monkeypatch.setattr(ranking, "_QUERIES", 2)
    assert torch.equal(nearest(queries, pool, 7), whole)
    assert whole.shape == (5, ranking.DEPTH)


@pytest.mark.parametrize("width", [3, 64, 900, 1_024, 5_000])
@pytest.mark.parametrize("count", [1, 3])
def test_the_largest_values_are_those_of_a_stable_sort(width: int, count: int) -> None:
    """Few distinct values, so that most rows have equals at the boundary."""
    values = torch.randint(0, 40, (30, width), generator=torch.Generator().manual_seed(width))
    values = values.float() - 50
    expected = values.argsort(dim=1, descending=True, stable=True)[:, :count]
    assert torch.equal(ranking.largest(values, count), expected)


def query(row: int, right: list[str], parallel: str = "") -> Gold:
    return Gold(row, "q", "", right, parallel=parallel)


def test_candidates_of_all_languages_make_one_pool() -> None:
    rows = {
        "en": Vectors.of([(0, unit(1.0, 0.0)), (1, unit(1.0, 0.1))]),
        "de": Vectors.of([(0, unit(0.0, 1.0)), (1, unit(0.1, 1.0))]),
    }
    queries = {"en": [query(0, ["en/0"])], "de": [query(0, ["de/0"])]}
    found = ranking.rank(rows, queries, {"en": ["", "en/0"], "de": ["", "de/0"]})
    assert found == {"en": {0: ["en/0", "de/0"]}, "de": {0: ["de/0", "en/0"]}}


def test_candidates_of_their_own_stand_behind_those_of_the_languages() -> None:
    rows = {"en": Vectors.of([(0, unit(1.0, 0.0))])}
    pool = Vectors.of([(0, unit(0.0, 1.0)), (1, unit(1.0, 1.0))])
    names = {"en": [""], "pool": ["Q1", "Q2"]}
    assert ranking.rank(rows, {"en": [query(0, ["Q2"])]}, names, pool) == {"en": {0: ["Q2", "Q1"]}}


def test_vectors_of_a_part_of_a_pool_have_the_names_of_their_rows() -> None:
    """A declared smaller pool: rows 1 and 3 of four."""
    rows = {"en": Vectors.of([(0, unit(1.0, 0.0))])}
    pool = Vectors.of([(3, unit(0.0, 1.0)), (1, unit(1.0, 1.0))])
    names = {"en": [""], "pool": ["Q0", "Q1", "Q2", "Q3"]}
    assert ranking.rank(rows, {"en": [query(0, ["Q1"])]}, names, pool) == {"en": {0: ["Q1", "Q3"]}}


def test_queries_with_one_id_keep_their_own_ranking() -> None:
    rows = {"en": Vectors.of([(0, unit(1.0, 0.0)), (1, unit(0.0, 1.0))])}
    pool = Vectors.of([(0, unit(0.0, 1.0)), (1, unit(1.0, 0.1))])
    queries = {"en": [query(0, ["Q1"]), query(1, ["Q0"])]}
    assert ranking.rank(rows, queries, {"en": ["", ""], "pool": ["Q0", "Q1"]}, pool) == {
        "en": {0: ["Q1", "Q0"], 1: ["Q0", "Q1"]}
    }


def test_a_name_that_two_candidates_share_takes_two_places_and_is_one_hit() -> None:
    """utils_lareqa.py average_precision_at_k: the first of Q1's places is a hit, and Q2 is found
    at rank 3.
    """
    rows = {"en": Vectors.of([(0, unit(1.0, 0.0))])}
    pool = Vectors.of([(0, unit(1.0, 0.0)), (1, unit(1.0, 0.1)), (2, unit(1.0, 0.5))])
    found = ranking.rank(
        rows, {"en": [query(0, ["Q1", "Q2"])]}, {"en": [""], "pool": ["Q1", "Q1", "Q2"]}, pool
    )
    assert found == {"en": {0: ["Q1", "Q1", "Q2"]}}
    metric = METRICS["map_at_20"]
    assert metric.value(metric.counts([found["en"][0]], [["Q1", "Q2"]]).sum(0)) == pytest.approx(
        100 * (1 + 2 / 3) / 2
    )


def test_without_a_candidate_there_is_nothing_to_rank() -> None:
    rows = {"en": Vectors.of([(0, unit(1.0, 0.0))])}
    with pytest.raises(ValueError, match="no candidate"):
        ranking.rank(rows, {"en": [query(0, ["Q2"])]}, {"en": [""]})


def test_a_candidate_without_a_name_is_refused() -> None:
    rows = {"en": Vectors.of([(0, unit(1.0, 0.0)), (1, unit(1.0, 0.0))])}
    with pytest.raises(ValueError, match="no name"):
        ranking.rank(rows, {"en": [query(0, ["Q2"])]}, {"en": ["", ""]})


def test_a_question_is_answered_by_the_sentences_of_every_language() -> None:
    queries = {"en": [query(0, ["en/0"], "k")], "de": [query(0, ["de/0"], "k")]}
    assert ranking.in_all_languages(queries)["de"][0].gold == ["en/0", "de/0"]


def test_queries_with_equal_ids_and_no_parallel_key_keep_their_own_answers() -> None:
    """Mewsli-X numbers its mentions in each language."""
    queries = {"en": [query(0, ["Q1"])], "de": [query(0, ["Q2"])]}
    assert {code: golds[0].gold for code, golds in ranking.in_all_languages(queries).items()} == {
        "en": ["Q1"],
        "de": ["Q2"],
    }


def test_average_precision_is_divided_by_what_could_be_found() -> None:
    """Hits at ranks 1 and 3 of three answers: (1/1 + 2/3) / 3; one answer at rank 2 of 20: 1/2."""
    metric = METRICS["map_at_20"]
    counts = metric.counts([["a", "x", "b"], ["x", "a"]], [["a", "b", "c"], ["a"]])
    assert [metric.value(row) for row in counts] == [100 * (1 + 2 / 3) / 3, 50.0]


def close_vectors(count: int, seed: int, width: int = 1024) -> torch.Tensor:
    """[count, width] unit vectors with random-pair cosines near 0.999, as a causal model's are,
    in single precision.
    """
    stream = torch.Generator().manual_seed(seed)
    common = torch.randn(width, generator=torch.Generator().manual_seed(7)) / width**0.5
    noise = torch.randn(count, width, generator=stream) / width**0.5
    return torch.nn.functional.normalize(common + 0.0316 * noise, dim=-1)


def test_cosines_near_1_are_ranked_as_in_double_precision() -> None:
    queries, pool = close_vectors(200, 1), close_vectors(20_000, 2)
    assert (queries[0] @ pool[:100].T).mean().item() == pytest.approx(0.999, abs=2e-4)
    expected = (queries.double() @ pool.double().T).argsort(dim=1, descending=True, stable=True)[
        :, :20
    ]
    queries_read, rows = (
        Vectors.of([(str(place), vector) for place, vector in enumerate(vectors)])
        for vectors in (queries, pool)
    )
    found, _ = ranking.nearest_candidates(
        queries_read.take(range(200)), rows.parts(range(20_000), 3_000), rows.take
    )
    assert torch.equal(found, expected)
    half = (queries.half().double() @ pool.half().double().T).argsort(
        dim=1, descending=True, stable=True
    )[:, :20]
    kept = sum(len(set(a) & set(b)) for a, b in zip(half.tolist(), expected.tolist(), strict=True))
    assert kept < 0.9 * expected.numel()  # half precision loses more than a tenth of the candidates


@pytest.mark.parametrize(
    ("similar", "depth", "count"),
    [
        ([0.9, 0.8, 0.5, 0.4], 2, 2),
        ([0.9, 0.8, 0.8 - 1e-5, 0.4], 2, 3),  # may be the second one
        ([0.9, 0.9, 0.9, 0.9], 1, 4),
        ([0.9, 0.8], 5, 2),
    ],
)
def test_candidates_within_rounding_errors_of_the_last_are_ordered_exactly(
    similar: list[float], depth: int, count: int
) -> None:
    assert ranking._possible(torch.tensor([similar]), depth, width=768).tolist() == [count]
