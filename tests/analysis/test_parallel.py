"""Translations are one example: clusters of different languages that share one are one cluster."""

from xstilts.analysis.effects import effects_table
from xstilts.analysis.inputs import Cell, ReportInput, Scored
from xstilts.analysis.parallel import in_parallel, join
from xstilts.tasks.squad_rows import squad

CONTRAST = {
    "name": "x minus none",
    "arm": "x",
    "reference": "none",
    "implicit": True,
    "differences": [],
}
RIGHT = [1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0]


def scored(
    ids: list[str], clusters: list[str], right: list[int] | None = None, parallel: bool = True
) -> Scored:
    values = right or [0] * len(ids)
    return Scored(
        ids, clusters, values, [1] * len(ids), "test", parallel=ids if parallel else [""] * len(ids)
    )


def test_passages_of_two_languages_that_share_a_question_are_one_cluster() -> None:
    en = scored(["q0", "q1", "q2"], ["en-a", "en-a", "en-b"])
    de = scored(["q0", "q1", "q2"], ["de-a", "de-a", "de-b"])
    joined = join([en, de])
    assert joined["en-a"] == joined["de-a"] != joined["en-b"] == joined["de-b"]


def test_a_passage_that_is_split_in_another_language_joins_both_parts() -> None:
    """MLQA: questions of one paragraph may belong to two paragraphs in another language."""
    joined = join([scored(["q0", "q1"], ["en-a", "en-a"]), scored(["q0", "q1"], ["de-a", "de-b"])])
    assert len(set(joined.values())) == 1


def test_equal_row_numbers_do_not_join_clusters() -> None:
    """UD-POS, WikiANN and Tatoeba number the rows of each language, which are different
    sentences.
    """
    rows = [
        scored(["0", "1"], [f"{code}/#0", f"{code}/#1"], parallel=False) for code in ("en", "de")
    ]
    assert join(rows) == {name: name for name in ("en/#0", "en/#1", "de/#0", "de/#1")}


def test_the_hypotheses_of_a_premise_are_one_cluster_in_all_languages() -> None:
    """XNLI: three rows per premise, parallel by row."""
    rows = [scored(list("012345"), [f"{code}/a"] * 3 + [f"{code}/b"] * 3) for code in ("en", "sw")]
    joined = join(rows)
    assert [joined["en/a"], joined["en/b"]] == [joined["sw/a"], joined["sw/b"]]
    assert len(set(joined.values())) == 2


def test_evaluations_without_translations_keep_their_clusters() -> None:
    scores = {("tydiqa", "en"): scored(["en-1"], ["a"]), ("tydiqa", "ko"): scored(["ko-1"], ["b"])}
    (cell,) = in_parallel([Cell("b", "none", 0, None, 0, "tydiqa_en", scores)])
    assert cell.scored == scores


def test_twelve_translations_give_the_same_interval_as_one_language() -> None:
    """XQuAD's records: each language names its passages by their text."""

    def languages(count: int, right: list[int] | None) -> dict[tuple[str, str], Scored]:
        scores = {}
        for number in range(count):
            examples = []
            for k in range(len(RIGHT)):
                context = f"passage {k // 2} in the language {number}"
                row = {
                    "id": f"q{k}",
                    "question": "what?",
                    "context": context,
                    "answers": {"text": ["passage"], "answer_start": [0]},
                }
                examples.append(squad(row, k, "en"))
            scores["xquad", f"l{number}"] = scored(
                [e.id for e in examples], [e.cluster for e in examples], right
            )
        return scores

    def width(count: int) -> float:
        cells = in_parallel(
            [
                Cell("b", "none", 0, None, 0, "squad", languages(count, None)),
                Cell("b", "x", 0, 0, 0, "squad", languages(count, RIGHT)),
            ]
        )
        report = ReportInput(
            {"contrasts": [CONTRAST], "overlaps": []},
            cells,
            {"xquad": ("accuracy",)},
            [],
            [],
            [],
            "",
            "runs/r",
        )
        table = effects_table(report)
        row = table[table["language"] == "avg"].iloc[0]
        assert row["n_examples"] == count * len(RIGHT)
        return float(row["ci_high"] - row["ci_low"])

    assert abs(width(12) - width(1)) < 1e-9
