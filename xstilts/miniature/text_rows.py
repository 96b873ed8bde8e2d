"""Rows of the English text sets that came later: question pairs, unanswerable questions,
endings, comprehension, dependency labels, plain text as WikiText and Wikipedia hold it. Rows of
one rng state are parallel in every language, which gives the translated sets as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from xstilts.miniature.concepts import PLACES, SURNAMES
from xstilts.miniature.data_sets import DATA_SETS
from xstilts.miniature.languages import Clause, Language, Word
from xstilts.miniature.rows import Row, answer_in, document, tell
from xstilts.miniature.schemas import class_index
from xstilts.miniature.world import asked, changed, elsewhere, scene, told

_QUESTION_WORDS = ("where", "what", "who", "howmany")


def duplicates(rng: Random, language: Language, count: int, _: str) -> Iterator[Row]:
    """QQP: one question twice, the question word in place and in front, or a question about
    something else.
    """
    for index in range(count):
        label, (fact,) = rng.randrange(2), scene(rng, 1)
        first = asked(rng, fact).question
        second = first if label else asked(rng, elsewhere(rng, [fact], fact.kind)).question
        texts = [
            language.text(language.say(first)),
            language.text(_question_first(language.say(second))),
        ]
        if rng.random() < 0.5:
            texts.reverse()
        yield {"question1": texts[0], "question2": texts[1], "label": label, "idx": index}


def _question_first(words: Sequence[Word]) -> list[Word]:
    asking = [word for word in words if word.concept in _QUESTION_WORDS]
    return asking + [word for word in words if word.concept not in _QUESTION_WORDS]


def swapped(rng: Random, language: Language, count: int, _: str) -> Iterator[Row]:
    """PAWS and PAWS-X: two sentences of nearly the same words. A paraphrase keeps who does what
    to whom; else the two have changed places ("the big dog sees anna", "anna sees the big dog").
    """
    for index in range(count):
        (fact,) = scene(rng, 1, ("hold", "animal", "meeting"))
        label = rng.randrange(2)
        first = told(fact)
        second = first if label else first._replace(subject=first.object, object=first.subject)
        shorter = rng.randrange(
            2
        )  # one of the two leaves its adjectives out, so that no pair is of equal words
        clauses = [
            _plain(clause) if place == shorter else clause
            for place, clause in enumerate((first, second))
        ]
        said = [language.text(language.say(clause)) for clause in clauses]
        yield {"id": index + 1, "sentence1": said[0], "sentence2": said[1], "label": label}


def _plain(clause: Clause) -> Clause:
    def bare(words: Sequence[Word]) -> list[Word]:
        return [word for word in words if word.upos != "ADJ"]

    return clause._replace(subject=bare(clause.subject), object=bare(clause.object))


def answerable_or_not(rng: Random, language: Language, count: int, split: str) -> Iterator[Row]:
    """SQuAD v2: as SQuAD, and a third of the questions are about somebody or something that the
    context lacks.
    """
    for index in range(count):
        facts = scene(rng, rng.choice((2, 3)))
        sentences = [language.say(told(fact)) for fact in facts]
        number = rng.randrange(len(facts))
        row: Row = {
            "id": f"{split}-{index:05d}", "title": f"scene-{index:05d}",
            "context": " ".join(language.text(words) for words in sentences),
        }  # fmt: skip
        if rng.random() < 1 / 3:
            question, _wanted = asked(rng, elsewhere(rng, facts, facts[number].kind))
            answers: Row = {"text": [], "answer_start": []}
        else:
            question, wanted = asked(rng, facts[number])
            answer, start = answer_in(language, sentences, number, wanted)
            answers = {"text": [answer], "answer_start": [start]}
        yield {**row, "question": language.text(language.say(question)), "answers": answers}


def endings(rng: Random, language: Language, count: int, split: str) -> Iterator[Row]:
    """HellaSwag: some facts, then the beginning of a sentence that follows from one of them; of
    four ends one is right, the others say another place, colour or firm.
    """
    for index in range(count):
        facts = scene(rng, 2, ("person", "hold", "thing", "work"))
        fact = rng.choice(facts)
        wrong = [fact]
        while len(wrong) < 4:
            other = changed(rng, fact)
            if told(other, brief=True) not in [told(one, brief=True) for one in wrong]:
                wrong.append(other)
        order = rng.sample(range(4), 4)
        cut = len(told(fact, brief=True).subject)
        said = [language.say(told(wrong[place], brief=True)) for place in order]
        before = tell(language, facts)
        begun = language.text(said[0][:cut])
        yield {
            "ind": index,
            "activity_label": fact.kind,
            "ctx_a": before,
            "ctx_b": begun,
            "ctx": f"{before} {begun}",
            "endings": [language.text(words[cut:]) for words in said],
            "source_id": f"scene~{index:05d}",
            "split": "train" if split == "train" else "val",
            "split_type": "indomain",
            "label": str(order.index(0)),
        }


def comprehension(rng: Random, language: Language, count: int, split: str) -> Iterator[Row]:
    """Cosmos QA: a context of some facts, a question about one, four answers of one kind."""
    for index in range(count):
        facts = scene(rng, 2, ("person", "thing", "work"))
        number = rng.randrange(len(facts))
        fact = facts[number]
        attribute, pool = ("owner", SURNAMES) if fact.kind == "work" else ("place", PLACES)
        right = getattr(fact, attribute)
        choices = [right, *rng.sample([one for one in pool if one != right], 3)]
        rng.shuffle(choices)
        question, wanted = asked(rng, fact)
        sentences = [language.say(told(replace(fact, **{attribute: choice}))) for choice in choices]
        answers = [
            answer_in(language, [words], 0, (wanted - {right}) | {choice})[0]
            for words, choice in zip(sentences, choices, strict=True)
        ]
        yield {
            "id": f"{split}##{index:05d}",
            "context": tell(language, facts),
            "question": language.text(language.say(question)),
            **{f"answer{place}": answer for place, answer in enumerate(answers)},
            "label": choices.index(right),
        }


def dependencies(rng: Random, language: Language, count: int, split: str) -> Iterator[Row]:
    """Universal Dependencies: heads and relations of a fact's sentence in UD's style (a copula
    and an adposition depend on their noun).
    """
    upos = DATA_SETS["universal-dependencies/universal_dependencies"].columns["upos"]
    for index in range(count):
        (fact,) = scene(rng, 1, surnames=0.2)
        clause = _apart(told(fact))
        words = language.say(clause)
        heads, relations = _tree(clause, words)
        spelt = [language.spell(word.concept) for word in words]
        yield {
            "idx": f"{split}-{index:05d}",
            "text": " ".join(spelt),
            "tokens": spelt,
            "lemmas": [word.concept for word in words],
            "upos": [class_index(upos, word.upos) for word in words],
            **{name: ["_"] * len(words) for name in ("xpos", "feats", "deps", "misc")},
            "head": [str(head) for head in heads],
            "deprel": relations,
        }


def _apart(clause: Clause) -> Clause:
    """The clause with an object of its own for every word, so that two "the" are told apart."""
    subject, verb, object_, place = ([Word(*word) for word in part] for part in clause[:4])
    return Clause(subject, verb, object_, place, Word(*clause.end))


def _tree(clause: Clause, words: Sequence[Word]) -> tuple[list[int], list[str]]:
    """(head of each word counted from 1, 0 for the root; relation to it). clause: `_apart`."""

    def head_of(phrase: Sequence[Word]) -> Word:
        nouns = [word for word in phrase if word.upos in ("NOUN", "PROPN")]
        firm = [
            word for word in nouns if word.entity == "I-ORG"
        ]  # "hall bank": the bank is the head
        return (firm or nouns or list(phrase))[0]

    place = {id(word): number for number, word in enumerate(words, 1)}
    verb = clause.verb[0]
    copula = verb.upos == "AUX"
    root = head_of(clause.object or clause.place) if copula else verb
    heads, relations = [0] * len(words), [""] * len(words)

    def put(word: Word, head: Word | None, relation: str) -> None:
        number = place[id(word)] - 1
        heads[number], relations[number] = (place[id(head)] if head is not None else 0), relation

    for phrase, role in ((clause.subject, "nsubj"), (clause.object, "obj"), (clause.place, "obl")):
        if not phrase:
            continue
        top = head_of(phrase)
        for word in phrase:
            if word is top:
                put(word, None if top is root else root, "root" if top is root else role)
            else:
                put(
                    word,
                    top,
                    _INSIDE.get(word.upos, "compound" if word.entity == "B-ORG" else "flat"),
                )
    put(verb, root if copula else None, "cop" if copula else "root")
    put(clause.end, root, "punct")
    return heads, relations


_INSIDE = {"DET": "det", "ADJ": "amod", "NUM": "nummod", "ADP": "case"}


def wiki_lines(rng: Random, language: Language, count: int, _: str) -> Iterator[Row]:
    """WikiText: a heading, an empty line, paragraphs of one line each."""
    for index in range(count):
        if index % 10 < 2:
            yield {"text": "" if index % 10 else f" = scene {index // 10} = \n"}
        else:
            paragraph = document(rng, (language,)).replace("\n", " ")
            yield {"text": f" {paragraph} \n"}


def articles(rng: Random, language: Language, count: int, _: str) -> Iterator[Row]:
    """Wikipedia: id, url, title, text."""
    for index in range(count):
        title = f"scene {index}"
        yield {
            "id": str(index),
            "url": f"https://{language.code}.example.org/wiki/scene_{index}",
            "title": title,
            "text": document(rng, (language,)),
        }
