"""BUCC's mining score (Zweigenbaum et al. 2018): finding the sentences of two pools that translate
each other, while most do not.

The method is that of google-research/xtreme third_party/utils_retrieve.py (commit 838c13b): the
ratio margin of Artetxe and Schwenk (2019) over the 4 nearest neighbors in both directions
(mine_bitext, lines 131-229), pairs above the best threshold for the gold pairs of dev
(bucc_optimize, 232-249), and the set F1 of these pairs (bucc_eval, 304-328). It deviates where the
result of the script is undefined:

- The threshold for test is that of dev. The released driver (evaluate_retrieval.py, 504) passes a
  name that it never sets.
- A threshold is between different scores, since pairs with equal scores are extracted together.
  bucc_optimize also tries thresholds between equal scores, and reads past the end if all candidates
  together are best.
- For equal similarities the lower index comes first, for equal scores source → target before target
  → source. In the script, this order depends on faiss and an unstable sort.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xstilts.scoring.gold import Gold
from xstilts.scoring.nearest import mutual_neighbors
from xstilts.scoring.shortlist import largest
from xstilts.scoring.vectors import Vectors

#: utils_retrieve.py, line 133.
NEIGHBOURS = 4

Pair = tuple[str, str]


@dataclass(frozen=True)
class Sentences:
    """One side of a pool. vectors: [n, width], not necessarily unit vectors. ValueError if the
    lengths differ or an id is duplicated.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    vectors: Tensor

    def __post_init__(self) -> None:
        counts = (len(self.ids), len(self.texts), len(self.vectors))
        if len(set(counts)) > 1:
            raise ValueError(
                f"{counts[0]} ids, {counts[1]} texts and {counts[2]} vectors; expected one of each "
                "per sentence"
            )
        if duplicates := [name for name, count in Counter(self.ids).items() if count > 1]:
            raise ValueError(f"duplicate sentence ids: {', '.join(duplicates[:5])}")


def mine(source: Sentences, target: Sentences, neighbours: int = NEIGHBOURS) -> dict[Pair, float]:
    """The candidate pairs, best first: (source id, target id) → margin.

    A duplicate sentence is mined once, with its last vector (text_load_unify and unique_embeddings,
    93-120), but its pairs are not candidates, since its id is ambiguous (read_sent2id, 266-280).
    """
    sides = (source, target)
    places = [_distinct(side.texts) for side in sides]
    pairs, scores = candidates(source.vectors[places[0]], target.vectors[places[1]], neighbours)
    names = [_names(side) for side in sides]
    mined: dict[Pair, float] = {}
    for (i, j), score in zip(pairs, scores, strict=True):
        texts = (source.texts[places[0][i]].strip(), target.texts[places[1][j]].strip())
        if texts[0] in names[0] and texts[1] in names[1]:
            mined[names[0][texts[0]], names[1][texts[1]]] = score
    return mined


def candidates(
    sources: Tensor, targets: Tensor, neighbours: int = NEIGHBOURS
) -> tuple[list[tuple[int, int]], list[float]]:
    """Pairs of indices (source, target) and their margins, best first: `max` retrieval (lines
    217-228).

    Each sentence proposes the best of its nearest neighbors by margin. A pair is kept if neither
    sentence is in a better pair, and the margin is above 0. ValueError for an empty side, different
    widths, and vectors or margins that are not finite.

    Args:
        sources: [n, width].
        targets: [m, width].
        neighbours: number of nearest neighbors.
    """
    x, y = _unit(sources, "source"), _unit(targets, "target")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"source vectors have width {x.shape[1]}, target vectors {y.shape[1]}")
    (forward, to_y), (backward, to_x) = mutual_neighbors(x, y, neighbours)
    mean_x, mean_y = to_y.mean(1), to_x.mean(1)
    proposals: list[tuple[int, int]] = []
    scores: list[float] = []
    for places, similarities, own_means, other_means, swap in (
        (forward, to_y, mean_x, mean_y, False), (backward, to_x, mean_y, mean_x, True),
    ):  # fmt: skip
        margins = similarities / ((own_means[:, None] + other_means[places]) / 2)
        if not margins.isfinite().all():
            raise ValueError(
                "a margin is not finite: the mean similarity to the nearest sentences is 0"
            )
        # max() of torch may return any of several equal places.
        best = largest(margins, 1)
        partners = places.gather(1, best)[:, 0].tolist()
        proposals += [(j, i) if swap else (i, j) for i, j in enumerate(partners)]
        scores += margins.gather(1, best)[:, 0].tolist()
    used: tuple[set[int], set[int]] = (set(), set())
    pairs, kept = [], []
    for k in sorted(range(len(scores)), key=lambda k: -scores[k]):
        i, j = proposals[k]
        if scores[k] > 0 and i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            pairs.append((i, j))
            kept.append(scores[k])
    return pairs, kept


def _unit(vectors: Tensor, side: str) -> Tensor:
    if vectors.ndim != 2 or not len(vectors):
        raise ValueError(
            f"{side} vectors have shape {list(vectors.shape)}; expected [sentences, width] with at "
            "least one sentence"
        )
    if bad := (~vectors.isfinite().all(1)).nonzero()[:, 0].tolist():
        raise ValueError(f"{side} vectors {bad[:5]} have values that are not finite")
    return F.normalize(vectors.float(), dim=-1)


def _distinct(texts: Sequence[str]) -> list[int]:
    """The last index of each text, in the order of first occurrence."""
    return list({text: place for place, text in enumerate(texts)}.values())


def _names(side: Sentences) -> dict[str, str]:
    """Stripped text → id of the sentences that occur once."""
    texts = [text.strip() for text in side.texts]
    counts = Counter(texts)
    return {text: name for text, name in zip(texts, side.ids, strict=True) if counts[text] == 1}


def best_threshold(mined: Mapping[Pair, float], gold: AbstractSet[Pair]) -> float:
    """The threshold with the best F1 against the gold pairs (bucc_optimize).

    It is halfway between the last score above and the next one; the highest of equal F1; the lowest
    score if all pairs together are best; and 0.0 if no pair is right. ValueError without gold
    pairs.
    """
    _check_not_empty(gold)
    ranked = sorted(mined.items(), key=lambda item: -item[1])
    right, best, threshold = 0, 0.0, 0.0
    for taken, (pair, score) in enumerate(ranked, 1):
        right += pair in gold
        below = ranked[taken][1] if taken < len(ranked) else None
        f1 = 2 * right / (taken + len(gold))
        if below != score and f1 > best:
            middle = score if below is None else (score + below) / 2
            # The middle of adjacent floats is rounded to one of them.
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
    """f1, precision and recall, 0..100, of a set of pairs (evaluate.py bucc_f1, line 87; 0 if none
    is right). ValueError without gold pairs.
    """
    _check_not_empty(gold)
    mined = set(pairs)
    right = len(mined & gold)
    if not right:
        return {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    return {
        "f1": 200.0 * right / (len(mined) + len(gold)), "precision": 100.0 * right / len(mined),
        "recall": 100.0 * right / len(gold),
    }  # fmt: skip


def by_dev_threshold(
    dev: Mapping[Pair, float],
    dev_gold: AbstractSet[Pair],
    test: Mapping[Pair, float],
    test_gold: AbstractSet[Pair],
) -> dict[str, float]:
    """threshold, f1, precision and recall of a language, with the best threshold of dev applied to
    test. dev is the shared task's sample, test its training split (download_data.sh, 152-166).
    """
    threshold = best_threshold(dev, dev_gold)
    return {"threshold": threshold} | mining_scores(extract(test, threshold), test_gold)


def translations(
    rows: Vectors, golds: Sequence[Gold], names: Sequence[str], device: torch.device | str = "cpu"
) -> dict[int, str]:
    """Row of a foreign sentence of test → the name of the English sentence that it is mined with,
    or the empty text.

    The threshold is the best for the gold pairs of dev. Of English sentences with the same name,
    gold pairs refer to the first. ValueError if dev has no gold pairs, or a side is empty.

    Args:
        rows: vectors of the sentences of both parts and sides.
        golds: of all sentences in any order, with ids `dev/…` or `test/…`, their texts and the
        names
            of their translations (foreign sentences).
        names: of each row; empty for foreign sentences.
        device: to search on.
    """
    places = {row: place for place, row in enumerate(rows.rows)}

    def side(part: str, english: bool) -> Sentences:
        of_side = [
            gold
            for gold in golds
            if gold.id.startswith(f"{part}/") and bool(names[gold.row]) == english
        ]
        vectors = rows.take([places[gold.row] for gold in of_side]).to(device)
        ids, texts = [str(gold.row) for gold in of_side], [gold.context for gold in of_side]
        return Sentences(ids, texts, vectors)

    mined = {part: mine(side(part, False), side(part, True)) for part in ("dev", "test")}
    first = {name: str(row) for row, name in reversed(list(enumerate(names))) if name}
    dev = {
        (str(gold.row), first[name])
        for gold in golds
        if gold.id.startswith("dev/")
        for name in gold.gold
    }
    pairs = dict(extract(mined["test"], best_threshold(mined["dev"], dev)))
    foreign = [gold.row for gold in golds if gold.id.startswith("test/") and not names[gold.row]]
    return {row: names[int(pairs[str(row)])] if str(row) in pairs else "" for row in foreign}


def _check_not_empty(gold: AbstractSet[Pair]) -> None:
    if not gold:
        raise ValueError("no gold pairs to score against")
