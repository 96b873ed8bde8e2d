"""The world of the miniature: facts, sentences that state them, questions about them, and false
statements.

The world has habits (`favourites`): every thing has two favorite places, colors and so on, which
occur in 80% of the facts. Without habits, the words of a class would be interchangeable and their
translations indistinguishable. The common-sense tasks ask for them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, NamedTuple

from xstilts.miniature.concepts import (
    ANIMALS,
    COLOURS,
    DIGITS,
    FIRMS,
    NAMES,
    NOUNS,
    PLACES,
    PREPOSITIONS,
    SIZES,
    SURNAMES,
    VERBS,
)
from xstilts.miniature.invented_languages import Clause, Word

Kind = Literal["person", "hold", "thing", "count", "animal", "work", "meeting"]
KINDS: tuple[Kind, ...] = ("person", "hold", "thing", "count", "animal", "work")
THE, IS, ARE, QUESTION = (
    Word("the", "DET"),
    Word("is", "AUX"),
    Word("are", "AUX"),
    Word("?", "PUNCT"),
)
ENTAILMENT, NEUTRAL, CONTRADICTION = 0, 1, 2


@dataclass(frozen=True)
class Fact:
    """A fact. `kind` determines which fields its sentence uses:

    person "anna is in the park", hold "anna holds the red ball", thing "the red ball is under the
    school", count "3 red ball are in the park", animal "the big dog sees anna", work "anna works at
    hall bank", meeting "the big dog sees the red ball" (neither name nor digit: nothing that
    languages share).
    """

    kind: Kind
    name: str
    noun: str
    animal: str
    verb: str
    colour: str
    size: str
    place: str
    preposition: str
    number: str
    owner: str
    firm: str
    surname: str = ""  # of the person, often left out


class Question(NamedTuple):
    """A question and the concepts of its answer, which are adjacent in the sentence of the fact."""

    question: Clause
    answer: frozenset[str]


def favourites(thing: str, attribute: str, pool: Sequence[str]) -> tuple[str, str]:
    """The two members of a pool that a thing prefers for an attribute: a property of the world,
    not of a seed.
    """
    draw = hashlib.sha256(f"{thing}:{attribute}".encode()).digest()
    first = draw[0] % len(pool)
    second = (first + 1 + draw[1] % (len(pool) - 1)) % len(pool)
    return pool[first], pool[second]


def by_habit(
    rng: Random, thing: str, attribute: str, pool: Sequence[str], share: float = 0.8
) -> str:
    """A favorite with probability `share`, else any member of the pool."""
    return rng.choice(favourites(thing, attribute, pool) if rng.random() < share else pool)


def scene(
    rng: Random, size: int, kinds: Sequence[Kind] = KINDS, surnames: float = 0.0
) -> list[Fact]:
    """`size` facts about different persons, things and animals. surnames: the share of persons with
    a surname.
    """
    names, nouns, animals = (
        rng.sample(NAMES, size),
        rng.sample(NOUNS, size),
        rng.sample(ANIMALS, size),
    )
    facts = []
    for name, noun, animal in zip(names, nouns, animals, strict=True):
        kind = rng.choice(kinds)
        actor = {"animal": animal, "meeting": animal, "hold": noun}.get(kind, name)
        located = name if kind in ("person", "work") else noun
        facts.append(
            Fact(
                kind,
                name,
                noun,
                animal,
                verb=by_habit(rng, actor, "verb", VERBS),
                colour=by_habit(rng, noun, "colour", COLOURS),
                size=by_habit(rng, animal, "size", SIZES),
                place=by_habit(rng, located, "place", PLACES),
                preposition=by_habit(rng, noun, "preposition", PREPOSITIONS),
                number=by_habit(rng, noun, "number", DIGITS),
                owner=by_habit(rng, name, "owner", SURNAMES),
                firm=by_habit(rng, name, "firm", FIRMS, share=0.5),
                surname=rng.choice(SURNAMES) if rng.random() < surnames else "",
            )  # fmt: skip
        )
    return facts


def person(fact: Fact) -> list[Word]:
    """The name of the person of a fact, with the surname if it has one."""
    surname = [Word(fact.surname, "PROPN", "I-PER")] if fact.surname else []
    return [Word(fact.name, "PROPN", "B-PER"), *surname]


def at_firm(fact: Fact) -> list[Word]:
    """ "at hall bank": a firm has the surname of its owner, so that only the context distinguishes
    the two.
    """
    return [Word("at", "ADP"), Word(fact.owner, "PROPN", "B-ORG"), Word(fact.firm, "NOUN", "I-ORG")]


def at_place(preposition: str, place: str) -> list[Word]:
    """ "under the school"."""
    return [Word(preposition, "ADP"), THE, Word(place, "NOUN", "B-LOC")]


def fact_clause(fact: Fact, brief: bool = False) -> Clause:
    """The sentence of a fact, or one that follows from it (brief), usually with less detail."""
    noun, animal, verb = Word(fact.noun, "NOUN"), Word(fact.animal, "NOUN"), Word(fact.verb, "VERB")
    colour = Word(fact.colour, "ADJ")
    shade = [] if brief else [colour]
    beast = [THE, animal] if brief else [THE, Word(fact.size, "ADJ"), animal]
    match fact.kind:
        case "person":
            return Clause(person(fact), [IS], place=at_place("in", fact.place))
        case "work":
            return Clause(person(fact), [Word("works", "VERB")], place=at_firm(fact))
        case "hold" if brief:
            return Clause([THE, noun], [IS], [colour])
        case "hold":
            return Clause(person(fact), [verb], [THE, colour, noun])
        case "thing":
            return Clause([THE, *shade, noun], [IS], place=at_place(fact.preposition, fact.place))
        case "count":
            return Clause(
                [Word(fact.number, "NUM"), *shade, noun], [ARE], place=at_place("in", fact.place)
            )
        case "animal":
            return Clause(beast, [verb], person(fact))
        case "meeting":
            return Clause(beast, [verb], [THE, *shade, noun])


def question_about(rng: Random, fact: Fact) -> Question:
    """A question that a fact answers, with the question word in place of the answer."""
    noun, verb = Word(fact.noun, "NOUN"), Word(fact.verb, "VERB")
    where, who = [Word("where", "ADV")], [Word("who", "PRON")]
    whole_name = frozenset(filter(None, (fact.name, fact.surname)))
    match fact.kind:
        case "person":
            return Question(
                Clause(person(fact), [IS], place=where, end=QUESTION), frozenset({fact.place})
            )
        case "work":
            question = Clause(person(fact), [Word("works", "VERB")], place=where, end=QUESTION)
            return Question(question, frozenset({fact.owner, fact.firm}))
        case "hold" if rng.random() < 0.5:
            return Question(Clause(who, [verb], [THE, noun], end=QUESTION), whole_name)
        case "hold":
            question = Clause(person(fact), [verb], [Word("what", "PRON")], end=QUESTION)
            return Question(question, frozenset({fact.noun, fact.colour}))
        case "thing":
            return Question(
                Clause([THE, noun], [IS], place=where, end=QUESTION), frozenset({fact.place})
            )
        case "count":
            question = Clause(
                [Word("howmany", "PRON"), noun],
                [ARE],
                place=at_place("in", fact.place),
                end=QUESTION,
            )
            return Question(question, frozenset({fact.number}))
        case "animal":
            return Question(
                Clause([THE, Word(fact.animal, "NOUN")], [verb], who, end=QUESTION), whole_name
            )
        case "meeting":
            question = Clause(
                [THE, Word(fact.animal, "NOUN")], [verb], [Word("what", "PRON")], end=QUESTION
            )
            return Question(question, frozenset({fact.noun, fact.colour}))


def statement(rng: Random, facts: Sequence[Fact], label: int) -> Clause:
    """A statement that the facts entail (0), do not decide (1: about somebody or something else) or
    contradict (2: the same subject, another attribute). Wrong words follow the same habits as right
    ones, so that the statement alone reveals little.
    """
    fact = rng.choice(facts)
    if label == NEUTRAL:
        return fact_clause(elsewhere(rng, facts, fact.kind), brief=True)
    if label == CONTRADICTION:
        return fact_clause(changed(rng, fact), brief=True)
    return fact_clause(fact, brief=True)


def elsewhere(rng: Random, facts: Sequence[Fact], kind: Kind) -> Fact:
    """A fact about a person, a thing and an animal that the facts do not mention."""
    names, nouns, animals = (
        {getattr(f, field) for f in facts} for field in ("name", "noun", "animal")
    )
    while True:
        (other,) = scene(rng, 1, (kind,))
        if other.name not in names and other.noun not in nouns and other.animal not in animals:
            return other


def changed(rng: Random, fact: Fact) -> Fact:
    """A fact that contradicts another one: one attribute is changed."""

    def other(current: str, thing: str, attribute: str, pool: Sequence[str]) -> str:
        while (drawn := by_habit(rng, thing, attribute, pool, share=0.5)) == current:
            pass
        return drawn

    match fact.kind:
        case "person":
            return replace(fact, place=other(fact.place, fact.name, "place", PLACES))
        case "work":
            return replace(fact, owner=other(fact.owner, fact.name, "owner", SURNAMES))
        case "hold":
            return replace(fact, colour=other(fact.colour, fact.noun, "colour", COLOURS))
        case "thing":
            return replace(fact, place=other(fact.place, fact.noun, "place", PLACES))
        case "count":
            return replace(fact, number=other(fact.number, fact.noun, "number", DIGITS))
        case "animal":
            return replace(fact, name=rng.choice([name for name in NAMES if name != fact.name]))
        case "meeting":
            return replace(fact, noun=rng.choice([noun for noun in NOUNS if noun != fact.noun]))
