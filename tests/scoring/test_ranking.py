"""Queries against a pool: nearest first, every language's candidates, ties by place."""

import pytest
import torch

from xstilts.scoring import ranking
from xstilts.scoring.gold import Gold
from xstilts.scoring.metrics import METRICS
from xstilts.scoring.vectors import Vectors


def unit(*values: float) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(values), dim=-1)


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
