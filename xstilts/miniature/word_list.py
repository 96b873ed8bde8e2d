"""Texts that a tiny backbone is pre-trained on, and the word list among them: rows
`word/<class>/<concept>` in the same order in all languages.

Words with one token each get an *aligned start*, as WECHSEL does with a dictionary: vector =
aligned · concept + language_share · language + rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor

from xstilts.models.processor import Processor
from xstilts.random_streams import generator


@dataclass(frozen=True)
class Document:
    """One text of one language. kind: `word/<class>/<concept>` in the word list, else `text`.
    images: SHA-256 of its images.
    """

    language: str
    kind: str
    text: str
    images: tuple[str, ...] = ()


def documents(path: Path, language: str) -> list[Document]:
    """Every text in a records file of any format, without labels and tags."""
    read = []
    for row in pq.read_table(path).to_pylist():
        texts = [
            row["text"],
            row["text_pair"],
            row["question"],
            " ".join(row["tokens"]),
            *row["choices"],
            *row["targets"],
        ]
        kind = row["id"] if row["id"].startswith("word/") else "text"
        images = tuple(row["images"])
        read += [Document(language, kind, text, images) for text in texts if text and text.strip()]
    return read


def single_tokens(processor: Processor, words: Sequence[Document]) -> list[tuple[Document, int]]:
    """The words of the word list that are one token each inside a text, with that token."""
    singles = []
    for word in words:
        tokens, alone = (processor.text_tokens(text)[0] for text in (f"a {word.text}", "a"))
        if tokens[: len(alone)] == alone and len(tokens) == len(alone) + 1:
            singles.append((word, tokens[-1]))
    return singles


def align_words(
    model: Any,
    processor: Processor,
    words: Sequence[Document],
    aligned: float,
    language_share: float,
    seed: int,
) -> int:
    """Gives translations similar word vectors. Words that languages share (names, digits) keep one
    vector.

    Args:
        model: A transformers model, changed in place.
        processor: Its processor.
        words: The word list.
        aligned: Weight of the concept's vector; 0: nothing is changed.
        language_share: Weight of the language's vector.
        seed: Seed of the vectors.

    Returns:
        The number of words whose vector was set.
    """
    if not aligned or not words:
        return 0
    table = model.get_input_embeddings().weight
    draws = generator("aligned", seed)
    deviation, width = float(table.detach().std()), table.shape[1]

    def drawn() -> Tensor:
        return torch.randn(width, generator=draws)

    concepts: dict[str, Tensor] = {}
    languages: dict[str, Tensor] = {}
    done: set[int] = set()
    with torch.no_grad():
        for word, token in single_tokens(processor, words):
            if word.kind not in concepts:
                concepts[word.kind] = drawn()
            if word.language not in languages:
                languages[word.language] = drawn()
            rest = max(0.0, 1.0 - aligned**2 - language_share**2) ** 0.5
            value = deviation * (
                aligned * concepts[word.kind]
                + language_share * languages[word.language]
                + rest * drawn()
            )
            if token not in done:
                table[token] = value
                done.add(token)
    return len(done)


def class_mates(processor: Processor, words: Sequence[Document]) -> dict[int, list[int]]:
    """Token → tokens of the same language and word class, for in-class noise."""
    classes: dict[tuple[str, str], list[int]] = {}
    for word, token in single_tokens(processor, words):
        classes.setdefault((word.language, word.kind.split("/")[1]), []).append(token)
    return {token: members for members in classes.values() for token in members}


def translations(processor: Processor, words: Sequence[Document]) -> dict[int, list[int]]:
    """Token → the tokens of its concept in all languages, itself included."""
    concepts: dict[str, list[int]] = {}
    for word, token in single_tokens(processor, words):
        concepts.setdefault(word.kind, []).append(token)
    return {token: members for members in concepts.values() for token in members}


def switched(row: Sequence[int], switch: Mapping[int, list[int]], rng: Random) -> list[int]:
    """A document with half of the words that the word list knows replaced by their translations,
    in the same order.
    """
    return [
        rng.choice(switch[token]) if token in switch and rng.random() < 0.5 else token
        for token in row
    ]
