"""BUCC's mining score (Zweigenbaum et al. 2018): which sentences of two pools translate each other,
where most do not.

As google-research/xtreme third_party/utils_retrieve.py (commit 838c13b) does: the ratio margin of
Artetxe and Schwenk (2019) over the 4 nearest in both directions (mine_bitext, lines 131-229), pairs
above the threshold that is best for the gold pairs of dev (bucc_optimize, 232-249), the set F1 of
these pairs (bucc_eval, 304-328). Deviations, where the script leaves the result open or has none:

- The threshold of dev is the one for test. The released driver (evaluate_retrieval.py, 504) hands
on a name that it
  never sets.
- A threshold lies between different scores, as pairs of one score are extracted together.
bucc_optimize also looks
  between equal ones, and reads past the end where all candidates together are best.
- Of equal similarities the lower place counts, of equal scores source → target before target →
source; there the script
  has the order of faiss and of an unstable sort.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xstilts.scoring.gold import Gold
from xstilts.scoring.ranking import largest, nearest_candidates
from xstilts.scoring.vectors import Vectors

#: utils_retrieve.py, line 133.
NEIGHBOURS = 4
#: Of the pool at a time.
_POOL = 65_536

Pair = tuple[str, str]


@dataclass(frozen=True)
class Sentences:
    """One side of a pool. vectors: [n, width], one a sentence, of any length but 0. ValueError
    where the three do not belong together or an id stands twice.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    vectors: Tensor

    def __post_init__(self) -> None:
        counts = (len(self.ids), len(self.texts), len(self.vectors))
        if len(set(counts)) > 1:
            raise ValueError(
                f"{counts[0]} ids, {counts[1]} texts and {counts[2]} vectors: needs one of each a sentence"
            )
        if twice := [name for name, count in Counter(self.ids).items() if count > 1]:
            raise ValueError(f"sentence ids stand more than once: {', '.join(twice[:5])}")


def mine(source: Sentences, target: Sentences, neighbours: int = NEIGHBOURS) -> dict[Pair, float]:
    """(source id, target id) → margin, best first: the candidates.

    A sentence that stands more than once takes part in mining once, with its last vector
    (text_load_unify and unique_embeddings, 93-120), and no pair of it is a candidate, since it is
    no one's alone (read_sent2id, 266-280).
    """
    sides = (source, target)
    places = [_distinct(side.texts) for side in sides]
    pairs, scores = candidates(source.vectors[places[0]], target.vectors[places[1]], neighbours)
    names = [_names(side) for side in sides]
    found: dict[Pair, float] = {}
    for (i, j), score in zip(pairs, scores, strict=True):
        texts = (source.texts[places[0][i]].strip(), target.texts[places[1][j]].strip())
        if texts[0] in names[0] and texts[1] in names[1]:
            found[names[0][texts[0]], names[1][texts[1]]] = score
    return found


def candidates(
    sources: Tensor, targets: Tensor, neighbours: int = NEIGHBOURS
) -> tuple[list[tuple[int, int]], list[float]]:
    """Places (source, target) and their margins, best first, each place once: `max` retrieval
    (lines 217-228). Each sentence offers the best of its nearest by margin; a pair is taken
    where neither side has been; margins of 0 and below are left out. sources [n, width], targets
    [m, width]: any length but 0. ValueError for an empty side, other widths, and vectors or
    margins that are no finite numbers.
    """
    x, y = _unit(sources, "source"), _unit(targets, "target")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"source vectors have width {x.shape[1]}, target vectors {y.shape[1]}")
    forward, to_y = nearest(x, y, neighbours)
    backward, to_x = nearest(y, x, neighbours)
    mean_x, mean_y = to_y.mean(1), to_x.mean(1)
    offers: list[tuple[int, int]] = []
    scores: list[float] = []
    for places, similarities, own, others, swap in (
        (forward, to_y, mean_x, mean_y, False), (backward, to_x, mean_y, mean_x, True),
    ):  # fmt: skip
        margins = similarities / ((own[:, None] + others[places]) / 2)
        if not margins.isfinite().all():
            raise ValueError(
                "a margin is no finite number: the mean similarity to the nearest sentences is 0"
            )
        # max() of torch may return any of several equal places.
        best = largest(margins, 1)
        partners = places.gather(1, best)[:, 0].tolist()
        offers += [(j, i) if swap else (i, j) for i, j in enumerate(partners)]
        scores += margins.gather(1, best)[:, 0].tolist()
    used: tuple[set[int], set[int]] = (set(), set())
    pairs, kept = [], []
    for k in sorted(range(len(scores)), key=lambda k: -scores[k]):
        i, j = offers[k]
        if scores[k] > 0 and i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            pairs.append((i, j))
            kept.append(scores[k])
    return pairs, kept


def nearest(queries: Tensor, pool: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """[q, ≤ count] places in the pool by falling cosine, of equals the lower place, and the
    cosines in double. queries [q, width], pool [n, width]: unit vectors, single precision.
    """
    places, cosines = nearest_candidates(queries, pool.split(_POOL), pool.__getitem__, count)
    return places.to(queries.device), cosines.to(queries.device)


def _unit(vectors: Tensor, side: str) -> Tensor:
    if vectors.ndim != 2 or not len(vectors):
        raise ValueError(
            f"{side} vectors have shape {list(vectors.shape)}: needs [sentences, width], and a sentence"
        )
    if bad := (~vectors.isfinite().all(1)).nonzero()[:, 0].tolist():
        raise ValueError(f"{side} vectors {bad[:5]} hold values that are no finite numbers")
    return F.normalize(vectors.float(), dim=-1)


def _distinct(texts: Sequence[str]) -> list[int]:
    """The last place of each text, in the order of the first ones."""
    return list({text: place for place, text in enumerate(texts)}.values())


def _names(side: Sentences) -> dict[str, str]:
    """text → id of the sentences that stand once, white space at the ends left out."""
    texts = [text.strip() for text in side.texts]
    counts = Counter(texts)
    return {text: name for text, name in zip(texts, side.ids, strict=True) if counts[text] == 1}


def best_threshold(mined: Mapping[Pair, float], gold: AbstractSet[Pair]) -> float:
    """The threshold whose pairs have the best F1 against the gold pairs: halfway between the
    last score that is above and the next one; of equal F1 the highest; the lowest score where
    all pairs are best; 0.0 where no pair is right (bucc_optimize). ValueError where there is no
    gold pair.
    """
    _needs(gold)
    ranked = sorted(mined.items(), key=lambda item: -item[1])
    right, best, threshold = 0, 0.0, 0.0
    for taken, (pair, score) in enumerate(ranked, 1):
        right += pair in gold
        below = ranked[taken][1] if taken < len(ranked) else None
        f1 = 2 * right / (taken + len(gold))
        if below != score and f1 > best:
            middle = score if below is None else (score + below) / 2
            # Between neighbouring numbers there is no middle: it is rounded to one of them.
            best, threshold = f1, middle if below is None or middle > below else score
    return threshold


def extract(mined: Mapping[Pair, float], threshold: float) -> list[Pair]:
    """The pairs at or above a threshold, best first (bucc_extract, 252-263)."""
    return [
        pair
        for pair, score in sorted(mined.items(), key=lambda item: -item[1])
        if score >= threshold
    ]


def mining_scores(pairs: Iterable[Pair], gold: AbstractSet[Pair]) -> dict[str, float]:
    """f1, precision and recall, 0..100, of a set of pairs (evaluate.py bucc_f1, line 87; 0 where
    none is right). ValueError where there is no gold pair.
    """
    _needs(gold)
    found = set(pairs)
    right = len(found & gold)
    if not right:
        return {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    return {
        "f1": 200.0 * right / (len(found) + len(gold)), "precision": 100.0 * right / len(found),
        "recall": 100.0 * right / len(gold),
    }  # fmt: skip


def by_dev_threshold(
    dev: Mapping[Pair, float],
    dev_gold: AbstractSet[Pair],
    test: Mapping[Pair, float],
    test_gold: AbstractSet[Pair],
) -> dict[str, float]:
    """threshold, f1, precision and recall of a language: the threshold that is best on dev,
    applied to test. dev is the shared task's sample, test its training split (download_data.sh,
    152-166).
    """
    threshold = best_threshold(dev, dev_gold)
    return {"threshold": threshold} | mining_scores(extract(test, threshold), test_gold)


def translations(
    rows: Vectors, golds: Sequence[Gold], names: Sequence[str], device: torch.device | str = "cpu"
) -> dict[int, str]:
    """Row of a foreign sentence of the test pool → the name of the English one that it is mined
    with, or the empty text.

    rows: the sentences of both parts and sides; golds: the same ones, in any order, with their
    texts and, of foreign ones, the names of their translations; names: of each row, empty for
    foreign ones. Ids are `dev/…` and `test/…`. Of English sentences with one name the first is
    meant by a gold pair. The threshold is the best for dev's gold pairs, as the shared task's
    sample is for. ValueError where dev has none, or a side is empty.
    """
    places = {row: place for place, row in enumerate(rows.rows)}

    def side(part: str, english: bool) -> Sentences:
        own = [
            gold
            for gold in golds
            if gold.id.startswith(f"{part}/") and bool(names[gold.row]) == english
        ]
        vectors = rows.take([places[gold.row] for gold in own]).to(device)
        return Sentences([str(gold.row) for gold in own], [gold.context for gold in own], vectors)

    mined = {part: mine(side(part, False), side(part, True)) for part in ("dev", "test")}
    first = {name: str(row) for row, name in reversed(list(enumerate(names))) if name}
    dev = {
        (str(gold.row), first[name])
        for gold in golds
        if gold.id.startswith("dev/")
        for name in gold.gold
    }
    found = dict(extract(mined["test"], best_threshold(mined["dev"], dev)))
    asked = [gold.row for gold in golds if gold.id.startswith("test/") and not names[gold.row]]
    return {row: names[int(found[str(row)])] if str(row) in found else "" for row in asked}


def _needs(gold: AbstractSet[Pair]) -> None:
    if not gold:
        raise ValueError("there is no gold pair to score against")
