"""RowMaker of the first data sets, generated from scenes of the world. Test scenes are drawn once
and stated in every language.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from random import Random
from typing import Any

from xstilts.miniature import drawings
from xstilts.miniature.concepts import COLOURS, CONCEPTS, NAMES, NOUNS, PLACES, VERBS, concept_class
from xstilts.miniature.data_sets import DATA_SETS
from xstilts.miniature.invented_languages import Clause, InventedLanguage, Word
from xstilts.miniature.schemas import class_index
from xstilts.miniature.world import (
    IS,
    KINDS,
    QUESTION,
    THE,
    Fact,
    Kind,
    at_place,
    fact_clause,
    favourites,
    question_about,
    scene,
    statement,
)

Row = dict[str, Any]
#: Generates `count` rows of a split in a language. The same rng state gives parallel rows in all
#: languages.
RowMaker = Callable[[Random, InventedLanguage, int, str], Iterator[Row]]


def sentences_of(language: InventedLanguage, facts: Sequence[Fact]) -> str:
    """The sentences of facts, joined by spaces."""
    return " ".join(language.text(language.say(fact_clause(fact))) for fact in facts)


def inference(facts: int) -> RowMaker:
    """Premise of some facts and a statement about them: MNLI, SNLI, XNLI."""

    def rows(rng: Random, language: InventedLanguage, count: int, _: str) -> Iterator[Row]:
        for _index in range(count):
            label, premise = rng.randrange(3), scene(rng, facts)
            hypothesis = language.text(language.say(statement(rng, premise, label)))
            yield {
                "premise": sentences_of(language, premise),
                "hypothesis": hypothesis,
                "label": label,
            }

    return rows


def glue(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    for index, row in enumerate(inference(2)(rng, language, count, split)):
        yield {**row, "idx": index}


def adversarial(facts: int) -> RowMaker:
    """ANLI: the more facts in the premise, the harder the round."""

    def rows(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
        for index, row in enumerate(inference(facts)(rng, language, count, split)):
            yield {"uid": f"{split}-{index:05d}", **row, "reason": ""}

    return rows


def questions(facts: tuple[int, ...], per_context: int, titled: bool) -> RowMaker:
    """SQuAD and XQuAD: a context of several facts, and questions about different facts."""

    def rows(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
        index = 0
        while index < count:
            told_facts = scene(rng, rng.choice(facts))
            sentences = [language.say(fact_clause(fact)) for fact in told_facts]
            context = " ".join(language.text(words) for words in sentences)
            for number in rng.sample(range(len(told_facts)), min(per_context, count - index)):
                question, concepts = question_about(rng, told_facts[number])
                answer, start = answer_in(language, sentences, number, concepts)
                row = {"id": f"{split}-{index:05d}"}
                if titled:
                    row["title"] = f"scene-{index // per_context:05d}"
                yield {
                    **row, "context": context, "question": language.text(language.say(question)),
                    "answers": {"text": [answer], "answer_start": [start]},
                }  # fmt: skip
                index += 1

    return rows


def answer_in(
    language: InventedLanguage,
    sentences: Sequence[Sequence[Word]],
    number: int,
    concepts: Collection[str],
) -> tuple[str, int]:
    """(words of an answer in a sentence, their start in the joined sentences).

    Args:
        language: of the sentences.
        sentences: of the context.
        number: of the sentence with the answer.
        concepts: of the answer.
    """
    before = sum(len(language.text(words)) + 1 for words in sentences[:number])
    words = sentences[number]
    indices = [
        i for i, word in enumerate(words) if word.concept in concepts and word.upos != "VERB"
    ]
    start = before + len(language.text(words[: indices[0]])) + (1 if indices[0] else 0)
    return language.text(words[indices[0] : indices[-1] + 1]), start


def common_sense(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """CommonsenseQA: the place of a thing or person, or the color of a thing, by the world's
    habits. One of five choices is a favorite.
    """
    for index in range(count):
        if rng.random() < 0.7:
            thing = rng.choice(NAMES + NOUNS)
            subject = [Word(thing, "PROPN")] if thing in NAMES else [THE, Word(thing, "NOUN")]
            attribute, pool, concepts = "place", PLACES, "where"
        else:
            thing = rng.choice(NOUNS)
            subject, attribute, pool, concepts = (
                [THE, Word(thing, "NOUN")],
                "colour",
                COLOURS,
                "what",
            )
        favorites = favourites(thing, attribute, pool)
        choices = [
            rng.choice(favorites),
            *rng.sample([member for member in pool if member not in favorites], 4),
        ]
        answer = choices[0]
        rng.shuffle(choices)
        asking = Clause(subject, [IS], place=[Word(concepts, "ADV")], end=QUESTION)
        yield {
            "id": f"{split}-{index:05d}",
            "question": language.text(language.say(asking)),
            "question_concept": language.spell(thing),
            "choices": {
                "label": list("ABCDE"),
                "text": [language.spell(choice) for choice in choices],
            },
            "answerKey": "ABCDE"[choices.index(answer)],
        }


def _habit_choices(rng: Random, noun: str, count: int) -> tuple[list[str], int]:
    """(`count` places, one of them a favorite of the noun, and its index)."""
    favorites = favourites(noun, "place", PLACES)
    places = [
        rng.choice(favorites),
        *rng.sample([place for place in PLACES if place not in favorites], count - 1),
    ]
    answer = places[0]
    rng.shuffle(places)
    return places, places.index(answer)


def _is_at(noun: str, place: str) -> Clause:
    return Clause([THE, Word(noun, "NOUN")], [IS], place=at_place("in", place))


def social(rng: Random, language: InventedLanguage, count: int, _: str) -> Iterator[Row]:
    """Social IQa: somebody does something with a thing; the question is where it will be. The
    answer is its favorite place.
    """
    for _index in range(count):
        (fact,) = scene(rng, 1, ("hold",))
        places, answer = _habit_choices(rng, fact.noun, 3)
        asking = Clause(
            [THE, Word(fact.noun, "NOUN")], [IS], place=[Word("where", "ADV")], end=QUESTION
        )
        said = [language.text(language.say(_is_at(fact.noun, place))) for place in places]
        yield {
            "context": sentences_of(language, [fact]),
            "question": language.text(language.say(asking)),
            "answerA": said[0], "answerB": said[1], "answerC": said[2], "label": str(answer + 1),
        }  # fmt: skip


def _plausible(rng: Random, language: InventedLanguage) -> Row:
    """COPA and XCOPA. Effect: where a thing will be that somebody holds. Cause: what was done with
    a thing at its place. The right choice follows the habits of the thing.
    """
    (fact,) = scene(rng, 1, ("hold",))
    if rng.random() < 0.5:
        places, answer = _habit_choices(rng, fact.noun, 2)
        premise, choices, question = (
            fact_clause(fact),
            [_is_at(fact.noun, place) for place in places],
            "effect",
        )
    else:
        premise, question = _is_at(fact.noun, fact.place), "cause"
        favorites = favourites(fact.noun, "verb", VERBS)
        verbs = [
            rng.choice(favorites),
            rng.choice([verb for verb in VERBS if verb not in favorites]),
        ]
        answer = rng.randrange(2)
        if answer:
            verbs.reverse()
        choices = [
            Clause([Word(fact.name, "PROPN")], [Word(verb, "VERB")], [THE, Word(fact.noun, "NOUN")])
            for verb in verbs
        ]
    said = [language.text(language.say(choice)) for choice in choices]
    row = {"premise": language.text(language.say(premise)), "choice1": said[0], "choice2": said[1]}
    return {**row, "question": question, "label": answer}


def copa(rng: Random, language: InventedLanguage, count: int, _: str) -> Iterator[Row]:
    for index in range(count):
        yield {**_plausible(rng, language), "idx": index}


def xcopa(rng: Random, language: InventedLanguage, count: int, _: str) -> Iterator[Row]:
    for index in range(count):
        yield {**_plausible(rng, language), "idx": index, "changed": False}


def parts_of_speech(rng: Random, language: InventedLanguage, count: int, _: str) -> Iterator[Row]:
    kind = DATA_SETS["google/xtreme"].configs["udpos"]["pos_tags"]
    for _index in range(count):
        words = [
            word for fact in scene(rng, 2, surnames=0.2) for word in language.say(fact_clause(fact))
        ]
        yield {
            "tokens": [language.spell(word.concept) for word in words],
            "pos_tags": [class_index(kind, word.upos) for word in words],
        }


def entities(rng: Random, language: InventedLanguage, count: int, _: str) -> Iterator[Row]:
    kind = DATA_SETS["unimelb-nlp/wikiann"].columns["ner_tags"]
    for _index in range(count):
        facts = scene(
            rng,
            rng.choice((1, 2)),
            ("person", "work", "work", "hold", "animal", "thing"),
            surnames=0.4,
        )
        words = [word for fact in facts for word in language.say(fact_clause(fact))]
        spans: list[str] = []
        for word in words:
            if word.entity.startswith("B-"):
                spans.append(f"{word.entity[2:]}: {language.spell(word.concept)}")
            elif word.entity.startswith("I-"):
                spans[-1] += f" {language.spell(word.concept)}"
        yield {
            "tokens": [language.spell(word.concept) for word in words],
            "ner_tags": [class_index(kind, word.entity) for word in words],
            "langs": [language.code] * len(words), "spans": spans,
        }  # fmt: skip


def translations(english: InventedLanguage) -> RowMaker:
    """Pairs of sentences without shared names and digits, in the schema of google/xtreme's
    tatoeba.
    """

    def rows(rng: Random, language: InventedLanguage, count: int, _: str) -> Iterator[Row]:
        seen: set[str] = set()
        while len(seen) < count:
            facts = scene(rng, 2, ("thing", "meeting"))
            target = sentences_of(english, facts)
            if target in seen:  # duplicates would make the gold index ambiguous
                continue
            seen.add(target)
            yield {
                "source_sentence": sentences_of(language, facts), "target_sentence": target,
                "source_lang": language.code, "target_lang": "eng",
            }  # fmt: skip

    return rows


def bitext(english: InventedLanguage) -> RowMaker:
    """The same pairs in the columns of mteb's Tatoeba."""

    def rows(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
        for row in translations(english)(rng, language, count, split):
            pair = {"sentence1": row["source_sentence"], "sentence2": row["target_sentence"]}
            yield {**pair, "lang": f"{language.code}-eng"}

    return rows


def described(language: InventedLanguage, things: Sequence[drawings.Drawn]) -> str:
    """ "the ball is red ." for each thing, in order."""
    clauses = (
        Clause([THE, Word(thing.noun, "NOUN")], [IS], [Word(thing.colour, "ADJ")])
        for thing in things
    )
    return " ".join(language.text(language.say(clause)) for clause in clauses)


def image_column(
    rng: Random, language: InventedLanguage, things: Sequence[drawings.Drawn], name: str
) -> Row:
    """An image as in the hub's image columns, with its caption for the captions of the mirror."""
    return {
        "bytes": drawings.draw(rng, things),
        "path": f"{name}.png",
        "caption": described(language, things),
    }


def captions(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """COCO captions: an image of one thing, or two in a fifth of the rows, and a sentence about
    each.
    """
    for index in range(count):
        things = drawings.things(rng, 2 if rng.random() < 0.2 else 1)
        name = f"{split}-{index:06d}"
        yield {
            "image": image_column(rng, language, things, name),
            "filename": f"{name}.png",
            "cocoid": index,
            "caption": described(language, things),
        }


def statements_on_pictures(
    rng: Random, language: InventedLanguage, count: int, split: str
) -> Iterator[Row]:
    """NLVR: a sentence about an image, true or with another thing or color."""
    for index in range(count):
        things = drawings.things(rng, 2 if rng.random() < 0.2 else 1)
        label = rng.randrange(2)
        said = rng.choice(things)
        if not label and rng.random() < 0.5:
            said = said._replace(
                noun=rng.choice([n for n in NOUNS if n not in {thing.noun for thing in things}])
            )
        elif not label:
            said = said._replace(
                colour=rng.choice([colour for colour in COLOURS if colour != said.colour])
            )
        yield {
            "identifier": f"{split}-{index}",
            "image": image_column(rng, language, things, f"{split}-{index}"),
            "sentence": described(language, [said]),
            "label": label,
            "directory": "0",
            "permutation": 0,
        }


def plain_text(english: InventedLanguage) -> RowMaker:
    """The text on which backbones are pretrained.

    First the word list: the word of each concept, in the same order in all languages, with id
    `word/<class>/<concept>`. It gives aligned initial word vectors and in-class noise. Then `count`
    documents; a fifth of them contain sentences in English.
    """

    def rows(rng: Random, language: InventedLanguage, count: int, _: str) -> Iterator[Row]:
        for concept in CONCEPTS:
            yield {
                "id": f"word/{concept_class(concept)}/{concept}",
                "text": language.spell(concept),
            }
        for index in range(count):
            pool = (english, language) if rng.random() < 0.2 else (language,)
            yield {"id": f"text/{index}", "text": document(rng, pool)}

    return rows


def document(rng: Random, pool: Sequence[InventedLanguage]) -> str:
    """Facts, a line break, then the same facts in another order: shortened, or as question and
    answer, which teaches lookup in the context. Each sentence is in a random language of the pool,
    a question in that of its answer.
    """
    nameless = rng.random() < 0.15
    kinds: Sequence[Kind] = ("thing", "meeting") if nameless else KINDS
    facts = scene(rng, rng.choice((1, 1, 2, 2, 3)), kinds, surnames=0.2)
    first = [sentences_of(rng.choice(pool), [fact]) for fact in facts]
    second = []
    for fact in rng.sample(facts, len(facts)):
        language = rng.choice(pool)
        if rng.random() < 0.4:
            question, concepts = question_about(rng, fact)
            answer = [
                word
                for word in language.say(fact_clause(fact))
                if word.concept in concepts and word.upos != "VERB"
            ]
            second += [
                language.text(language.say(question)),
                language.text([*answer, Word(".", "PUNCT")]),
            ]
        else:
            second.append(language.text(language.say(fact_clause(fact, brief=rng.random() < 0.5))))
    return " ".join(first) + "\n" + " ".join(second)
