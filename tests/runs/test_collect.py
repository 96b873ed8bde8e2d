"""What the report reads of predictions: rows, clusters and translations, in the layout of today
and of earlier versions.
"""

import pandas as pd
import pytest

from xstilts.analysis.inputs import Cell, Scored
from xstilts.runs.collect import _clusters, _parallel, on_equal_sentences


def today(cluster: list[str], parallel: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"row": range(len(cluster)), "id": "same", "cluster": cluster, "parallel": parallel}
    )


def test_clusters_are_apart_in_each_language_and_a_row_without_one_is_its_own() -> None:
    frame = today(["a", "a", ""], ["", "", ""])
    assert _clusters(frame, "de") == ["de/a", "de/a", "de/#2"]
    assert set(_clusters(frame, "de")).isdisjoint(_clusters(frame, "en"))


def test_translations_are_what_the_predictions_say() -> None:
    assert _parallel(today(["", ""], ["k", ""]), "udpos") == ["k", ""]


@pytest.mark.parametrize(
    ("evaluation", "parallel"),
    [("xquad", ["0", "1"]), ("udpos", []), ("mewslix", []), ("unknown", [])],
)
def test_predictions_of_earlier_versions_are_parallel_by_id_where_the_task_has_translations(
    evaluation: str, parallel: list[str]
) -> None:
    frame = pd.DataFrame({"id": ["0", "1"], "cluster": ["p", "1"]})
    assert _parallel(frame, evaluation) == parallel
    assert _clusters(frame, "de") == ["de/p", "de/1"]


def mined(
    rows: list[int], predictions: list[str], golds: list[list[str]], old: bool = False
) -> Cell:
    ids = [f"test/fr-{row}" if old else "same" for row in rows]
    scored = Scored(
        ids, [f"fr/#{row}" for row in rows], predictions, golds, "test", rows=() if old else rows
    )
    return Cell("b", "none", 0, None, 0, "", {("bucc_mining", "fr"): scored})


@pytest.mark.parametrize("old", [False, True])
def test_arms_that_mined_other_sentences_are_paired_by_their_rows(old: bool) -> None:
    """One arm was mistaken about row 5, the other about row 2; row 3 has a translation."""
    cells = [
        mined([3, 5], ["en-1", "en-9"], [["en-1"], []], old),
        mined([2, 3], ["en-8", ""], [[], ["en-1"]], old),
    ]
    one, other = (
        cell.scored["bucc_mining", "fr"] for cell in on_equal_sentences(cells, ["bucc_mining"])
    )
    assert list(one.clusters) == list(other.clusters) == ["fr/#2", "fr/#3", "fr/#5"]
    assert list(one.rows) == list(other.rows) == ([] if old else [2, 3, 5])
    assert (list(one.predictions), list(other.predictions)) == (
        ["", "en-1", "en-9"],
        ["en-8", "", ""],
    )
    assert list(one.golds) == list(other.golds) == [[], ["en-1"], []]
