"""Rows of further English text sets: question pairs, unanswerable questions, endings,
comprehension, dependencies, and plain text as in WikiText and Wikipedia. Rows of the same rng state
are parallel in all languages, which also gives the translated sets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from xstilts.miniature.concepts import PLACES, SURNAMES
from xstilts.miniature.data_sets import DATA_SETS
from xstilts.miniature.invented_languages import Clause, InventedLanguage, Word
from xstilts.miniature.rows import Row, answer_in, document, sentences_of
from xstilts.miniature.schemas import class_index
from xstilts.miniature.world import changed, elsewhere, fact_clause, question_about, scene

_QUESTION_WORDS = ("where", "what", "who", "howmany")


def duplicates(rng: Random, language: InventedLanguage, count: int, _: str) -> Iterator[Row]:
    """QQP: the same question twice, with the question word in place and first, or two questions."""
    for index in range(count):
        label, (fact,) = rng.randrange(2), scene(rng, 1)
        first = question_about(rng, fact).question
        second = first if label else question_about(rng, elsewhere(rng, [fact], fact.kind)).question
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


def swapped(rng: Random, language: InventedLanguage, count: int, _: str) -> Iterator[Row]:
    """PAWS and PAWS-X: two sentences with nearly the same words. In paraphrases subject and object
    stay the same, else they are swapped ("the big dog sees anna", "anna sees the big dog").
    """
    for index in range(count):
        (fact,) = scene(rng, 1, ("hold", "animal", "meeting"))
        label = rng.randrange(2)
        first = fact_clause(fact)
        second = first if label else first._replace(subject=first.object, object=first.subject)
        # One of the two has no adjectives, so that they never have the same words.
        shorter = rng.randrange(2)
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


def answerable_or_not(
    rng: Random, language: InventedLanguage, count: int, split: str
) -> Iterator[Row]:
    """SQuAD v2: like SQuAD, but a third of the questions are about somebody or something that the
    context does not mention.
    """
    for index in range(count):
        facts = scene(rng, rng.choice((2, 3)))
        sentences = [language.say(fact_clause(fact)) for fact in facts]
        number = rng.randrange(len(facts))
        row: Row = {
            "id": f"{split}-{index:05d}", "title": f"scene-{index:05d}",
            "context": " ".join(language.text(words) for words in sentences),
        }  # fmt: skip
        if rng.random() < 1 / 3:
            question, _ = question_about(rng, elsewhere(rng, facts, facts[number].kind))
            answers: Row = {"text": [], "answer_start": []}
        else:
            question, concepts = question_about(rng, facts[number])
            answer, start = answer_in(language, sentences, number, concepts)
            answers = {"text": [answer], "answer_start": [start]}
        yield {**row, "question": language.text(language.say(question)), "answers": answers}


def endings(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """HellaSwag: facts, then the beginning of a sentence that follows from one of them. One of four
    endings is right, the others have another place, color or firm.
    """
    for index in range(count):
        facts = scene(rng, 2, ("person", "hold", "thing", "work"))
        fact = rng.choice(facts)
        wrong = [fact]
        while len(wrong) < 4:
            other = changed(rng, fact)
            if fact_clause(other, brief=True) not in [
                fact_clause(used, brief=True) for used in wrong
            ]:
                wrong.append(other)
        order = rng.sample(range(4), 4)
        cut = len(fact_clause(fact, brief=True).subject)
        said = [language.say(fact_clause(wrong[place], brief=True)) for place in order]
        before = sentences_of(language, facts)
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


def comprehension(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """Cosmos QA: a context of facts, a question about one of them, four answers of the same
    kind.
    """
    for index in range(count):
        facts = scene(rng, 2, ("person", "thing", "work"))
        number = rng.randrange(len(facts))
        fact = facts[number]
        attribute, pool = ("owner", SURNAMES) if fact.kind == "work" else ("place", PLACES)
        right = getattr(fact, attribute)
        choices = [right, *rng.sample([choice for choice in pool if choice != right], 3)]
        rng.shuffle(choices)
        question, concepts = question_about(rng, fact)
        sentences = [
            language.say(fact_clause(replace(fact, **{attribute: choice}))) for choice in choices
        ]
        answers = [
            answer_in(language, [words], 0, (concepts - {right}) | {choice})[0]
            for words, choice in zip(sentences, choices, strict=True)
        ]
        yield {
            "id": f"{split}##{index:05d}",
            "context": sentences_of(language, facts),
            "question": language.text(language.say(question)),
            **{f"answer{place}": answer for place, answer in enumerate(answers)},
            "label": choices.index(right),
        }


def dependencies(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """Universal Dependencies: heads and relations of the sentence of a fact, in UD's style (a
    copula and an adposition depend on their noun).
    """
    upos = DATA_SETS["universal-dependencies/universal_dependencies"].columns["upos"]
    for index in range(count):
        (fact,) = scene(rng, 1, surnames=0.2)
        clause = _distinct_words(fact_clause(fact))
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


def _distinct_words(clause: Clause) -> Clause:
    """The clause with a separate object for every word, so that two "the" are different objects."""
    subject, verb, object_, place = ([Word(*word) for word in part] for part in clause[:4])
    return Clause(subject, verb, object_, place, Word(*clause.end))


def _tree(clause: Clause, words: Sequence[Word]) -> tuple[list[int], list[str]]:
    """(head of each word, counted from 1 and 0 for the root; relation to the head). The clause must
    come from `_distinct_words`.
    """

    def head_of(phrase: Sequence[Word]) -> Word:
        nouns = [word for word in phrase if word.upos in ("NOUN", "PROPN")]
        firm = [word for word in nouns if word.entity == "I-ORG"]  # bank is the head of "hall bank"
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


def wiki_lines(rng: Random, language: InventedLanguage, count: int, _: str) -> Iterator[Row]:
    """WikiText: a heading, an empty line, paragraphs of one line each."""
    for index in range(count):
        if index % 10 < 2:
            yield {"text": "" if index % 10 else f" = scene {index // 10} = \n"}
        else:
            paragraph = document(rng, (language,)).replace("\n", " ")
            yield {"text": f" {paragraph} \n"}


def articles(rng: Random, language: InventedLanguage, count: int, _: str) -> Iterator[Row]:
    """Wikipedia: id, url, title, text."""
    for index in range(count):
        title = f"scene {index}"
        yield {
            "id": str(index),
            "url": f"https://{language.code}.example.org/wiki/scene_{index}",
            "title": title,
            "text": document(rng, (language,)),
        }
