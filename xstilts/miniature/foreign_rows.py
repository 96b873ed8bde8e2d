"""RowMaker of further target sets: TyDiQA, BUCC, LAReQA, Mewsli-X. Test rows are parallel if those
of the real sets are.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from random import Random

from xstilts.miniature.concepts import ANIMALS, FIRMS, NAMES, NOUNS, PLACES, SURNAMES, VERBS
from xstilts.miniature.invented_languages import LANGUAGES, Clause, InventedLanguage, Word
from xstilts.miniature.rows import Row, RowMaker, answer_in, questions, sentences_of, translations
from xstilts.miniature.world import (
    IS,
    THE,
    at_place,
    fact_clause,
    favourites,
    question_about,
    scene,
)


def every_language(prefixes: dict[str, str]) -> RowMaker:
    """TyDiQA: `count` rows of each language in one file, distinguished by an id prefix, not
    parallel. prefixes: language → id prefix, if it is not the code.
    """

    def rows(rng: Random, _: InventedLanguage, count: int, split: str) -> Iterator[Row]:
        start = rng.random()
        for code, language in LANGUAGES.items():
            stream = Random(f"{start}:{code}")
            for row in questions((2, 3), 1, titled=True)(stream, language, count, split):
                yield {**row, "id": f"{prefixes.get(code, code)}-{row['id']}"}

    return rows


def gold_pairs(english: InventedLanguage) -> RowMaker:
    """BUCC as in google/xtreme: pairs of sentences, with sentence ids in the columns of the
    languages.
    """

    def rows(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
        for index, row in enumerate(translations(english)(rng, language, count, split), 1):
            yield {
                **row,
                "source_lang": f"{language.code}-{index:09d}",
                "target_lang": f"en-{index:09d}",
            }

    return rows


def mining_pool(english: InventedLanguage) -> RowMaker:
    """BUCC's pools as in its archives: sentences of both sides, of which `count` pairs translate
    each other and twice as many sentences on each side have no translation.
    """

    def rows(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
        used: set[str] = set()
        pairs: list[tuple[str, str]] = []
        while len(pairs) < 5 * count:
            facts = scene(rng, 2)
            texts = (sentences_of(language, facts), sentences_of(english, facts))
            if used.isdisjoint(texts):  # duplicate sentences are not mined
                used.update(texts)
                pairs.append(texts)
        # First the pairs, then single foreign and single English sentences; both sides are
        # shuffled.
        single = (pairs[count : 3 * count], pairs[3 * count :])
        for side, code in enumerate((language.code, "en")):
            sentences = [(k, pair[side]) for k, pair in enumerate(pairs[:count])] + [
                (-1, pair[side]) for pair in single[side]
            ]
            rng.shuffle(sentences)
            for number, (gold, text) in enumerate(sentences, 1):
                yield {"id": f"{code}-{number:09d}", "text": text, "side": code, "pair": gold}

    return rows


def sentence_broken(
    rng: Random, language: InventedLanguage, count: int, split: str
) -> Iterator[Row]:
    """XQuAD-R in its raw layout: articles of five paragraphs with the boundaries of sentences, two
    questions per paragraph, `count` in all.
    """
    questions_so_far = article = 0
    while questions_so_far < count:
        paragraphs: list[Row] = []
        while len(paragraphs) < 5 and questions_so_far < count:
            facts = scene(rng, 3)
            sentences = [language.say(fact_clause(fact)) for fact in facts]
            texts = [language.text(words) for words in sentences]
            starts = [sum(len(text) + 1 for text in texts[:number]) for number in range(len(texts))]
            qas = []
            for number in rng.sample(range(3), min(2, count - questions_so_far)):
                question, concepts = question_about(rng, facts[number])
                answer, start = answer_in(language, sentences, number, concepts)
                qas.append(
                    {
                        "answers": [{"answer_start": start, "text": answer}],
                        "id": f"scene-{questions_so_far:05d}",
                        "question": language.text(language.say(question)),
                    }
                )
                questions_so_far += 1
            paragraphs.append(
                {
                    "context": " ".join(texts),
                    "qas": qas,
                    "sentences": texts,
                    "sentence_breaks": [
                        [at, at + len(text)] for at, text in zip(starts, texts, strict=True)
                    ],
                }
            )
        yield {"title": f"article-{article}", "paragraphs": paragraphs}
        article += 1


#: The entities of the world: every person with a surname, every thing, animal and place.
PEOPLE = tuple((name, surname) for name in NAMES for surname in SURNAMES)
ENTITIES: tuple[tuple[str, ...], ...] = (
    *PEOPLE,
    *((noun,) for noun in (*NOUNS, *ANIMALS, *PLACES)),
)


def entity_id(entity: tuple[str, ...]) -> str:
    return f"Q{ENTITIES.index(entity) + 1}"


@cache
def described_in(entity: tuple[str, ...]) -> InventedLanguage:
    """The language in which an entity is described: English for half of them."""
    draw = hashlib.sha256(" ".join(entity).encode()).digest()
    others = [language for code, language in LANGUAGES.items() if code != "en"]
    return LANGUAGES["en"] if draw[0] % 2 else others[draw[1] % len(others)]


def _words(entity: tuple[str, ...]) -> list[Word]:
    """The name of an entity: "anna hall", "the ball"."""
    if len(entity) == 2:
        return [Word(entity[0], "PROPN", "B-PER"), Word(entity[1], "PROPN", "I-PER")]
    return [THE, Word(entity[0], "NOUN")]


def entity_row(entity: tuple[str, ...], language: InventedLanguage) -> Row:
    """An entity with its name and two sentences about its habits."""
    thing, words = entity[0], _words(entity)
    place = favourites(thing, "place", PLACES)[0]
    first = Clause(words, [IS], place=at_place("in", place))
    if len(entity) == 2:
        firm = [
            Word("at", "ADP"),
            Word(entity[1], "PROPN"),
            Word(favourites(thing, "firm", FIRMS)[0], "NOUN"),
        ]
        second = Clause(words, [Word("works", "VERB")], place=firm)
    else:
        liked = favourites(thing, "noun", [noun for noun in NOUNS if noun != thing])[0]
        verb = favourites(thing, "verb", VERBS)[0]
        second = Clause(words, [Word(verb, "VERB")], [THE, Word(liked, "NOUN")])
    texts = [language.text(language.say(clause)) for clause in (first, second)]
    name = language.text(words)
    spans = [
        {"start": 0, "end": len(texts[0])},
        {"start": len(texts[0]) + 1, "end": sum(map(len, texts)) + 1},
    ]
    return {
        "entity_id": entity_id(entity), "title": name, "description": " ".join(texts),
        "description_url": f"https://{language.code}.example.org/wiki/{'_'.join(entity)}",
        "description_language": language.code, "sentence_spans": spans,
    }  # fmt: skip


def candidates(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """Mewsli-X: the candidates, every entity of the world once, in its language."""
    for entity in rng.sample(ENTITIES, len(ENTITIES)):
        yield entity_row(entity, described_in(entity))


def _mentioned(
    rng: Random, language: InventedLanguage, entity: tuple[str, ...], name: str
) -> tuple[Row, Row]:
    """(context, mention): two facts, the first of which mentions the entity."""
    words = _words(entity)
    (other,) = scene(rng, 1)
    if len(entity) == 2:
        clause = Clause(
            words,
            [IS],
            place=at_place("in", favourites(entity[0], "place", PLACES)[rng.randrange(2)]),
        )
    else:
        subject = [Word(other.name, "PROPN")]
        clause = Clause(subject, [Word(rng.choice(VERBS), "VERB")], words)
    said = [language.text(language.say(clause)), sentences_of(language, [other])]
    text, mention = " ".join(said), language.text(words)
    start = text.index(mention)
    context = {
        "document_title": name,
        "document_url": f"https://{language.code}.example.org/news/{name}",
        "document_id": name,
        "section_title": "",
        "language": language.code,
        "text": text,
        "sentence_spans": [
            {"start": 0, "end": len(said[0])},
            {"start": len(said[0]) + 1, "end": len(text)},
        ],
    }
    span = {"start": start, "end": start + len(mention), "text": mention}
    return context, {"example_id": name, "mention_span": span, "entity_id": entity_id(entity)}


def news(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """Mewsli-X's test rows: an article with one mention. Ids and entities are the same in all
    languages.
    """
    for index in range(count):
        context, mention = _mentioned(rng, language, rng.choice(ENTITIES), f"{split}-{index:05d}")
        yield {"context": context, "mentions": [mention]}


def mention_pairs(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """Mewsli-X's training rows: a mention in English and its entity's English description."""
    known = [entity for entity in ENTITIES if described_in(entity).code == "en"]
    for index in range(count):
        entity = rng.choice(known)
        context, mention = _mentioned(rng, language, entity, f"{split}-{index:05d}")
        yield {"context": context, "mention": mention, "entity": entity_row(entity, language)}
