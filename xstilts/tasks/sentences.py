"""Sentences of English Wikipedia paragraphs, by the rules with which XTREME-R makes LAReQA's
training pairs (google-research/xtreme third_party/processors/sb_sed.py, commit 838c13b).

A rule is a pattern whose groups are single characters between two words: a cut makes them a
sentence end, a join makes them a space again. Rules apply in order, each to the text that the rules
before it left. Lengths do not change, so places in the text stay places in the paragraph.
"""

import re
from collections.abc import Iterator, Sequence

_CUT, _JOIN = "\n", " "
#: Abbreviations that end in a full stop and go on: titles, books and law, months, places.
_GOES_ON = (
    "Mr Mrs Ms Dr Prof Fr Rev Msgr St Sta Lt Gen Col Maj Adm Capt Sgt Rep Gov Sen Pres e.g i.e ie "
    "v vs p pp cf a.k.a approx app esp est tr Jan Aug Oct Nov Dec Mt Ft"
).split()
_NUMBERED = "art Art no No Op Opp ch Sec cl Rec Ecl Cor Lk Jn Vol".split()
_OPENERS = "In On By During After Under Although Yet".split()


def _any(words: Sequence[str]) -> str:
    return "(?:" + "|".join(map(re.escape, words)) + ")"


_NAME = r'(?="?[A-Z][a-z])'
_INITIAL = r"[A-Z]\."
_RULES: tuple[tuple[str, str], ...] = (
    # A sentence ends at a mark with closing quotes or brackets, before a capital or a digit.
    (_CUT, r"""[.?!][)'" ”]*(\s)(?=\s*[\['"(“]?[A-Z0-9])"""),
    # Editors' notes such as [note 1] or [citation needed] belong to the sentence before them.
    (_CUT, r"""[.?!]['"]?(?:\[[a-zA-Z0-9 ?]+\])+(\s)(?=\s*['"(]?[A-Z0-9])"""),
    (_CUT, r"\[\.\.\.\]\s*(\s)(?=\[?[A-Z])"),
    (_JOIN, rf"\b{_any(_GOES_ON)}\.(\n)"),
    (_JOIN, r"\b[ap]\.m\.(\n)(?=(?:Eastern|EST)\b)"),
    # Initials before a last name.
    (_JOIN, rf"\b{_INITIAL}([ \n]){_INITIAL}([ \n]){_INITIAL}([ \n]){_NAME}"),
    (_JOIN, rf"\b{_INITIAL}([ \n]){_INITIAL}([ \n]){_NAME}"),
    (_JOIN, rf"\b{_INITIAL}{_INITIAL}(\n){_NAME}"),
    (_JOIN, rf"\b{_INITIAL}(\n){_NAME}"),
    # Words that begin sentences, even after what looked like an abbreviation.
    (_CUT, r"""[.!?]['")]*( )(?=(?:The|This|That|These|It) )"""),
    (_CUT, r"\.( )(?=Meanwhile|However)"),
    (_CUT, rf"\.( )(?=(?:{_any(_OPENERS)}|As |Several|According to) )"),
    # Numbered parts of documents, dates of lives, citations.
    (_JOIN, rf"\b{_any(_NUMBERED)}\.(\n)(?=[0-9IVX]+\b)"),
    (_JOIN, r"\b(?:[bdrc]|ca|fl)\.(\n)(?=[A-Z0-9])"),
    (_JOIN, r"\bet al\.(\n)(?=\(?[0-9]{4}\b)"),
    (_JOIN, r"\bH\.R\.(\n)(?=[0-9])"),
    # Names and phrases of SQuAD's articles.
    (_JOIN, r"I Am\.\.\.(\n)(?=Sasha Fierce|World Tour)"),
    (_JOIN, r"Warner Bros\.(\n)(?=Records|Entertainment)"),
    (_JOIN, r"U\.S\.(\n)(?=\(?\d\d)"),
    (_JOIN, r"\bRs\.(\n)(?=\d)"),
    *(
        (_CUT, rf"\b{re.escape(name)}( )[A-Z]")
        for name in ("Jay Z.", "Washington, D.C.", "for 4.)", "Wii U.")
    ),
    (_CUT, r"\.( )(?=iPod|iTunes)"),
    (_CUT, r"( )(?=\[\.\.\.\]\n)"),
    (_JOIN, r"\.Sc\.(\n)"),
    (_CUT, r"( )(?=• [A-Z])"),
)
_COMPILED = tuple((mark, re.compile(pattern)) for mark, pattern in _RULES)


def sentence_spans(paragraph: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence, without the space around it."""
    marks = list(paragraph.replace("\n", " "))
    for mark, pattern in _COMPILED:
        text = "".join(marks)
        for match in pattern.finditer(text):
            for group in range(1, pattern.groups + 1):
                marks[match.start(group)] = mark
    return list(_spans("".join(marks)))


def _spans(text: str) -> Iterator[tuple[int, int]]:
    first = 0
    for line in text.split("\n"):
        start = first + len(line) - len(line.lstrip())
        if line.strip():
            yield start, start + len(line.strip())
        first += len(line) + 1
