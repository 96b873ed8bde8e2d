"""Queries against a pool of candidates: the 20 nearest by cosine, in chunks, so that a pool of a million fits."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xstilts.scoring.gold import Gold

#: As LAReQA's and Mewsli-X's official scorers look (utils_lareqa.py, utils_mewslix.py).
DEPTH = 20
_CHUNK = 65_536


def nearest_candidates(queries: Tensor, pool: Tensor, depth: int = DEPTH) -> Tensor:
    """[q, ≤ depth] places in the pool by falling cosine; of equals the lower place. queries [q, w], pool [n, w]: unit
    vectors."""
    best = torch.full((len(queries), 0), 0.0)
    places = torch.zeros((len(queries), 0), dtype=torch.long)
    for first in range(0, len(pool), _CHUNK):
        part = pool[first : first + _CHUNK].float()
        scores = torch.cat([best, queries.float() @ part.T], 1)
        here = torch.arange(first, first + len(part)).expand(len(queries), -1)
        where = torch.cat([places, here], 1)
        order = scores.argsort(dim=1, descending=True, stable=True)[:, :depth]
        best, places = scores.gather(1, order), where.gather(1, order)
    return places


def rank(
    languages: Mapping[str, Sequence[tuple[str, Any]]], queries: Mapping[str, Sequence[Gold]],
    pool: Sequence[tuple[str, Any]] = (),
) -> dict[str, dict[str, list[str]]]:  # fmt: skip
    """language → query id → ids of the nearest candidates of all languages and the pool. languages: (id, vector) of each
    row; rows that are no queries are candidates."""
    asked = {language: {gold.id for gold in golds} for language, golds in queries.items()}
    candidates = [
        (identity, vector)
        for language, rows in languages.items()
        for identity, vector in rows
        if identity not in asked[language]
    ] + list(pool)
    if not candidates:
        raise ValueError("there is no candidate to rank")
    names = [identity for identity, _ in candidates]
    table = torch.stack([vector for _, vector in candidates])
    found: dict[str, dict[str, list[str]]] = {}
    for language, rows in languages.items():
        own = [(identity, vector) for identity, vector in rows if identity in asked[language]]
        places = nearest_candidates(torch.stack([vector for _, vector in own]), table).tolist() if own else []
        found[language] = {identity: [names[k] for k in row] for (identity, _), row in zip(own, places, strict=True)}
    return found


def in_all_languages(queries: Mapping[str, Sequence[Gold]]) -> dict[str, list[Gold]]:
    """The queries with the answers of every language: a question's id is the same in all of them (LAReQA)."""
    answers: dict[str, list[str]] = {}
    for golds in queries.values():
        for gold in golds:
            answers.setdefault(gold.id, []).extend(gold.gold)
    return {
        language: [Gold(gold.id, gold.cluster, list(dict.fromkeys(answers[gold.id])), gold.context) for gold in golds]
        for language, golds in queries.items()
    }
