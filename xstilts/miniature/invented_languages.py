"""The invented languages: the word order of each, and its word for every concept."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from xstilts.miniature.concepts import ANCHORS, CONCEPTS, PUNCTUATION


class Word(NamedTuple):
    """A word before spelling: a concept, its universal part of speech and its IOB2 entity tag."""

    concept: str
    upos: str
    entity: str = "O"


class Clause(NamedTuple):
    """The constituents of a sentence, which the language orders. `place` starts with its
    preposition.
    """

    subject: Sequence[Word]
    verb: Sequence[Word]
    object: Sequence[Word] = ()
    place: Sequence[Word] = ()
    end: Word = Word(".", "PUNCT")


@dataclass(frozen=True)
class InventedLanguage:
    """A language of the miniature.

    code: ISO 639-3 (private use for the invented ones). config: the name in google/xtreme's udpos
    configs. order: of subject, verb and object. adjective_after, postpositions: differences from
    English within a phrase. georgian: written in the Georgian script. shared: names and digits are
    spelled as in English.
    """

    code: str
    config: str
    order: Literal["SVO", "VSO", "SOV"] = "SVO"
    adjective_after: bool = False
    postpositions: bool = False
    georgian: bool = False
    shared: bool = True

    def say(self, clause: Clause) -> list[Word]:
        """The words of a clause in the order of this language, with the punctuation last."""
        parts = {
            "S": self._phrase(clause.subject),
            "V": list(clause.verb),
            "O": self._phrase(clause.object) + self._placed(clause.place),
        }
        return [word for slot in self.order for word in parts[slot]] + [clause.end]

    def spell(self, concept: str) -> str:
        """The word for a concept; KeyError for an unknown one."""
        return lexicon(self.code)[concept]

    def text(self, words: Sequence[Word]) -> str:
        """The words, spelled and joined by single spaces."""
        return " ".join(self.spell(word.concept) for word in words)

    def _phrase(self, words: Sequence[Word]) -> list[Word]:
        adjectives = [word for word in words if word.upos == "ADJ"]
        if not self.adjective_after or len(adjectives) == len(words):
            return list(words)
        return [word for word in words if word.upos != "ADJ"] + adjectives

    def _placed(self, words: Sequence[Word]) -> list[Word]:
        if not words or words[0].upos != "ADP":
            return list(words)
        preposition, rest = list(words[:1]), self._phrase(words[1:])
        return rest + preposition if self.postpositions else preposition + rest


LANGUAGES = {
    language.code: language
    for language in (
        InventedLanguage("en", "English"),
        InventedLanguage("qaa", "Qaa"),
        InventedLanguage("qab", "Qab", adjective_after=True),
        InventedLanguage("qac", "Qac", order="VSO", georgian=True, shared=False),
        InventedLanguage("qad", "Qad", order="SOV", postpositions=True),
    )
}

_LATIN = ["ba", "ke", "mi", "lo", "tu", "za", "ri", "no", "ve", "du", "sha", "pil", "gor", "wen"]
_GEORGIAN = ["ბა", "კე", "მი", "ლო", "თუ", "ზა", "რი", "ნო", "ვე", "დუ", "შა", "პი", "გო", "წე"]


@cache
def lexicon(code: str) -> dict[str, str]:
    """Concept → word. A word has two or three syllables, drawn from a hash of language and concept.
    Words are unique over all languages, except shared names and digits, and punctuation.
    """
    language = LANGUAGES[code]
    if code == "en":
        return {concept: concept for concept in CONCEPTS}
    earlier = list(LANGUAGES)[: list(LANGUAGES).index(code)]
    taken = {word for other in earlier for word in lexicon(other).values()}
    syllables = _GEORGIAN if language.georgian else _LATIN
    words: dict[str, str] = {}
    for concept in CONCEPTS:
        if concept in PUNCTUATION or (language.shared and concept in ANCHORS):
            words[concept] = concept
            continue
        attempt = 0
        while True:
            draw = hashlib.sha256(f"{code}:{concept}:{attempt}".encode()).digest()
            word = "".join(syllables[byte % len(syllables)] for byte in draw[: 2 + draw[9] % 2])
            if word not in taken:
                break
            attempt += 1
        taken.add(word)
        words[concept] = word
    return words
