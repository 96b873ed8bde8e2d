"""BUCC mining: the ratio margin, `max` retrieval, and the threshold of dev, against small exact
arrays and brute force.
"""

from itertools import combinations

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from xstilts.scoring import mining, nearest
from xstilts.scoring.gold import Gold
from xstilts.scoring.metrics import METRICS
from xstilts.scoring.mining import (
    Sentences,
    best_threshold,
    by_dev_threshold,
    candidates,
    extract,
    mine,
    mining_scores,
)
from xstilts.scoring.vectors import Vectors

#: Unit vectors of width 6 whose cosines are 0.5, 0.75 and 1 in any precision: brute force can be
#: held to equality.
EXACT = [
    [0.5 if place in chosen else 0.0 for place in range(6)] for chosen in combinations(range(6), 4)
]
SIDE = st.lists(st.sampled_from(EXACT), min_size=1, max_size=12)
PAIRS = st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz"))
MINED = st.dictionaries(PAIRS, st.sampled_from([0.5, 0.75, 1.0, 1.25, 1.5]), max_size=12)
GOLD = st.frozensets(PAIRS, min_size=1, max_size=8)


def brute_force(
    x: list[list[float]], y: list[list[float]], k: int
) -> tuple[list[tuple[int, int]], list[float]]:
    """The definition, in plain loops over all pairs."""
    similarity = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in y] for one in x]
    turned = [list(column) for column in zip(*similarity, strict=True)]

    def close(rows: list[list[float]]) -> list[list[int]]:
        return [sorted(range(len(row)), key=lambda j: (-row[j], j))[:k] for row in rows]

    ahead, back = close(similarity), close(turned)
    mean_x = [sum(similarity[i][j] for j in near) / len(near) for i, near in enumerate(ahead)]
    mean_y = [sum(turned[j][i] for i in near) / len(near) for j, near in enumerate(back)]

    def margin(i: int, j: int) -> float:
        return similarity[i][j] / ((mean_x[i] + mean_y[j]) / 2)

    offers = [(i, max(near, key=lambda j: margin(i, j))) for i, near in enumerate(ahead)]
    offers += [(max(near, key=lambda i: margin(i, j)), j) for j, near in enumerate(back)]
    taken: list[tuple[int, int]] = []
    for i, j in sorted(offers, key=lambda pair: -margin(*pair)):
        if all(i != a and j != b for a, b in taken):
            taken.append((i, j))
    return taken, [margin(*pair) for pair in taken]


def side(prefix: str, texts: list[str], vectors: list[list[float]]) -> Sentences:
    return Sentences([f"{prefix}-{n}" for n in range(len(texts))], texts, torch.tensor(vectors))


def test_the_margin_is_the_cosine_over_the_mean_of_both_neighbourhoods() -> None:
    """k = 2: x0's neighbours have cosines 1 and 0.6, y0's 1 and 0.8: 1 / ((0.8 + 0.9) / 2)."""
    x = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    y = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    pairs, margins = candidates(x, y, 2)
    assert pairs == [(0, 0), (1, 1)]
    assert margins == pytest.approx([1 / 0.85, 0.96 / ((0.88 + 0.78) / 2)], rel=1e-6)


def test_a_sentence_that_is_near_to_everything_is_not_everyone_s_translation() -> None:
    """x0 is nearer to y0 (0.8) than to y1 (0.75); but y0 is near to x1 too, and y1 to x0 alone."""
    x = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.55, 0.67]])
    y = torch.tensor([[0.8, 0.6, 0.0], [0.75, -0.66, 0.0]])
    assert candidates(x, y, 2)[0] == [(0, 1), (1, 0)]


def test_the_length_of_a_vector_says_nothing() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(9, 5) + 1, torch.randn(7, 5) + 1
    assert candidates(x * 8, y / 4)[0] == candidates(x, y)[0]


@given(SIDE, SIDE, st.integers(1, 5))
@example([EXACT[0]], [EXACT[5], EXACT[8], EXACT[8]], 1)  # x is its own center
def test_candidates_are_those_of_brute_force(
    x: list[list[float]], y: list[list[float]], k: int
) -> None:
    pairs, margins = candidates(torch.tensor(x), torch.tensor(y), k)
    expected = brute_force(x, y, k)
    assert (pairs, margins) == (expected[0], pytest.approx(expected[1]))


@given(SIDE, SIDE)
def test_each_sentence_is_used_once_and_the_best_come_first(
    x: list[list[float]], y: list[list[float]]
) -> None:
    pairs, margins = candidates(torch.tensor(x), torch.tensor(y))
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs) > 0
    assert margins == sorted(margins, reverse=True)


@given(SIDE, SIDE, st.integers(1, 5), st.integers(1, 5))
def test_chunks_change_nothing(
    x: list[list[float]], y: list[list[float]], queries: int, pool: int
) -> None:
    whole = candidates(torch.tensor(x), torch.tensor(y))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "_QUERIES", queries)
        patch.setattr(nearest, "_EXACT", queries)
        patch.setattr(nearest, "_POOL", pool)
        assert candidates(torch.tensor(x), torch.tensor(y)) == whole


def test_margins_of_zero_and_below_are_no_candidates() -> None:
    """x0 and y1 are left for each other, and their cosine is -0.3."""
    x = torch.tensor([[1.0, 0.0], [0.9, 0.44]])
    y = torch.tensor([[0.8, 0.6], [-0.3, -0.95]])
    assert candidates(x, y, 1)[0] == [(1, 0)]


@pytest.mark.parametrize(
    ("x", "y", "what"),
    [
        (torch.zeros(0, 2), torch.ones(1, 2), "source vectors have shape"),
        (torch.ones(1, 2), torch.ones(1, 3), "width 2, target vectors 3"),
        (
            torch.ones(1, 2),
            torch.tensor([[1.0, 1.0], [1.0, float("nan")]]),
            r"target vectors \[1\]",
        ),
        (torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), "margin"),
    ],
)
def test_what_cannot_be_mined_is_refused(x: torch.Tensor, y: torch.Tensor, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        candidates(x, y)


def test_pairs_are_named_by_their_ids() -> None:
    source, target = (
        side("de", ["ja", "nein"], EXACT[:2]),
        side("en", ["no", "yes"], [EXACT[1], EXACT[0]]),
    )
    assert set(mine(source, target)) == {("de-0", "en-1"), ("de-1", "en-0")}


def test_a_sentence_that_stands_twice_is_mined_once_and_is_no_candidate() -> None:
    """de-0 and de-2 are one sentence with the vector of de-2: it takes en-1, which is then no
    one else's.
    """
    source = side("de", ["ja", "nein", "ja"], [EXACT[9], EXACT[1], EXACT[0]])
    target = side("en", ["no", "yes"], [EXACT[1], EXACT[0]])
    assert set(mine(source, target)) == {("de-1", "en-0")}


def test_sentences_need_an_id_a_text_and_a_vector_each() -> None:
    with pytest.raises(ValueError, match="2 ids, 1 texts and 2 vectors"):
        Sentences(["a", "b"], ["x"], torch.ones(2, 3))
    with pytest.raises(ValueError, match="duplicate sentence ids: a"):
        Sentences(["a", "a"], ["x", "y"], torch.ones(2, 3))


def test_the_threshold_lies_halfway_below_the_last_pair_that_helps() -> None:
    mined = {("a", "u"): 1.5, ("b", "v"): 1.25, ("c", "w"): 0.75, ("d", "x"): 0.5}
    assert best_threshold(mined, {("a", "u"), ("b", "v")}) == 1.0


def test_where_all_pairs_are_best_the_threshold_is_the_lowest_score() -> None:
    assert best_threshold({("a", "u"): 1.5, ("b", "v"): 1.25}, {("a", "u"), ("b", "v")}) == 1.25


def test_where_no_pair_is_right_the_threshold_is_zero() -> None:
    assert best_threshold({("a", "u"): 1.5}, {("a", "v")}) == 0.0


def test_neighbouring_scores_are_still_parted() -> None:
    above = 1.0 + 2**-52
    mined = {("a", "u"): above, ("b", "v"): 1.0}
    assert extract(mined, best_threshold(mined, {("a", "u")})) == [("a", "u")]


def test_no_threshold_parts_pairs_of_one_score() -> None:
    """Both right pairs alone would score 100, but the wrong ones of the same score come with the
    second.
    """
    mined = {("a", "u"): 1.5, ("b", "v"): 1.0, ("c", "w"): 1.0, ("d", "x"): 1.0, ("e", "y"): 1.0}
    assert best_threshold(mined, {("a", "u"), ("b", "v")}) == 1.25


@given(MINED, GOLD)
def test_no_threshold_beats_the_best_one(
    mined: dict[tuple[str, str], float], gold: frozenset[tuple[str, str]]
) -> None:
    def f1(threshold: float) -> float:
        return mining_scores(extract(mined, threshold), gold)["f1"]

    others = [0.0, 9.0, *mined.values()]
    assert f1(best_threshold(mined, gold)) >= max(map(f1, others)) - 1e-9


def test_scores_are_those_of_sets_of_pairs() -> None:
    pairs = [("a", "u"), ("b", "v"), ("b", "v"), ("c", "x")]
    found = mining_scores(pairs, {("a", "u"), ("c", "w")})
    assert found == pytest.approx({"f1": 40.0, "precision": 100 / 3, "recall": 50.0})


def test_no_right_pair_scores_zero_and_no_gold_is_refused() -> None:
    assert mining_scores([], {("a", "u")}) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    with pytest.raises(ValueError, match="no gold pair"):
        mining_scores([("a", "u")], set())
    with pytest.raises(ValueError, match="no gold pair"):
        best_threshold({}, set())


def test_the_threshold_of_dev_is_applied_to_test() -> None:
    """On test 0.9 would be better, but dev parts right and wrong at 1.1."""
    dev = {("a", "u"): 1.2, ("b", "v"): 1.0}
    test = {("a", "u"): 1.3, ("b", "v"): 1.0, ("c", "w"): 0.8}
    found = by_dev_threshold(dev, {("a", "u")}, test, {("a", "u"), ("b", "v")})
    assert found == pytest.approx(
        {"threshold": 1.1, "f1": 200 / 3, "precision": 100.0, "recall": 50.0}
    )


def test_a_pool_is_mined_with_the_threshold_of_its_own_dev_part() -> None:
    """x1 and y1 are equal, x2 and y2 are left to each other: margins 1.54 and 0.91, of which dev
    wants the first alone.
    """
    near, apart = (
        [[1.0, 0.0, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]],
        [[1.0, 0.0, 0.0, 0.0], [0.0, 0.3, 0.9, 0.0]],
    )
    rows: list[tuple[int, torch.Tensor]] = []
    golds, names = [], []
    for part in ("dev", "test"):
        for code, sides in (("fr", near), ("en", apart)):
            for number, vector in enumerate(sides, 1):
                name = f"{part}/{code}-{number}"
                rows.append((len(rows), torch.nn.functional.normalize(torch.tensor(vector), dim=0)))
                right = [f"{part}/en-1"] if code == "fr" and number == 1 else []
                golds.append(Gold(len(golds), name, "", right, f"text of {name}"))
                names.append(name if code == "en" else "")
    assert mining.translations(Vectors.of(rows), golds[::-1], names) == {4: "test/en-1", 5: ""}


def test_the_f1_of_sentences_is_that_of_the_set_of_pairs() -> None:
    """As mining_scores gives it: of three found pairs two are right, and one sentence has two
    translations in gold.
    """
    predictions, golds = ["en-1", "en-2", "en-3", ""], [["en-1", "en-9"], ["en-2"], [], ["en-4"]]
    wanted = mining_scores(
        [(str(k), one) for k, one in enumerate(predictions) if one],
        {(str(k), one) for k, gold in enumerate(golds) for one in gold},
    )
    for name, value in wanted.items():
        metric = METRICS[f"bucc_{name}"]
        assert metric.value(metric.counts(predictions, golds, "fr").sum(0)) == pytest.approx(value)
