"""What the report reads from predictions: rows, clusters and translations, in the present layout
and in that of earlier versions.
"""

import pandas as pd
import pytest

from xstilts.analysis.inputs import Cell, Scored
from xstilts.runs.collect import _clusters, _parallel, on_equal_sentences


def present(cluster: list[str], parallel: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"row": range(len(cluster)), "id": "same", "cluster": cluster, "parallel": parallel}
    )


def test_clusters_differ_between_languages_and_a_row_without_one_is_its_own() -> None:
    frame = present(["a", "a", ""], ["", "", ""])
    assert _clusters(frame, "de") == ["de/a", "de/a", "de/#2"]
    assert set(_clusters(frame, "de")).isdisjoint(_clusters(frame, "en"))


def test_translations_come_from_the_predictions() -> None:
    assert _parallel(present(["", ""], ["k", ""]), "udpos") == ["k", ""]


@pytest.mark.parametrize(
    ("evaluation", "parallel"),
    [("xquad", ["0", "1"]), ("udpos", []), ("mewslix", []), ("unknown", [])],
)
def test_predictions_of_earlier_versions_are_parallel_by_id_if_the_task_has_translations(
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
def test_arms_that_mined_different_sentences_are_paired_by_their_rows(old: bool) -> None:
    """One arm has a false positive in row 5, the other in row 2; row 3 has a translation."""
    cells = [
        mined([3, 5], ["en-1", "en-9"], [["en-1"], []], old),
        mined([2, 3], ["en-8", ""], [[], ["en-1"]], old),
    ]
    first, second = (
        cell.scored["bucc_mining", "fr"] for cell in on_equal_sentences(cells, ["bucc_mining"])
    )
    assert list(first.clusters) == list(second.clusters) == ["fr/#2", "fr/#3", "fr/#5"]
    assert list(first.rows) == list(second.rows) == ([] if old else [2, 3, 5])
    assert (list(first.predictions), list(second.predictions)) == (
        ["", "en-1", "en-9"],
        ["en-8", "", ""],
    )
    assert list(first.golds) == list(second.golds) == [[], ["en-1"], []]
