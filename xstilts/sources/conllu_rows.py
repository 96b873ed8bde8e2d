"""UD treebanks as XTREME-R converts them to one tag a written token.

A mirror holds the releases as they are unpacked:
`universal-dependencies/ud-treebanks-v2.5/UD_French-GSD/fr_gsd-ud-test.conllu`. XTREME's 33
languages are those of release 2.5; the five that XTREME-R adds are those of 2.7
(google-research/xtreme 838c13b, scripts/download_data.sh download_treebank). A language's test set
is that of all its treebanks, by file name.

The conversion is that of third_party/ud-conversion-tools with
`--replace_subtokens_with_fused_forms` and of utils_preprocess.py (udpos_preprocess): a fused form
such as French `au` is one token; its tag is that of its part with the fewest ancestors in the
dependency graph, among equals the part of speech that comes first in a list. Zero-width non-joiners
and spaces in a token are removed, and sentences whose text is withheld (`_`) are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xstilts.errors import DataError

PATH = "universal-dependencies"
SPLITS = {"train": "train", "validation": "dev", "dev": "dev", "test": "test"}
WITHHELD = "_"
_UNSEEN = "\u200c"  # zero-width non-joiner

#: Language → which part of speech decides of two parts that are equally high (conllu_to_conll.py).
#: A part of speech that is not in its language's list comes last; the official tool stops there.
_ORDERS: Mapping[str, Sequence[str]] = {
    "es": "VERB AUX PRON ADP DET".split(),
    "fr": "VERB AUX PRON NOUN ADJ ADV ADP DET PART SCONJ CONJ".split(),
    "it": "VERB AUX ADV PRON ADP DET INTJ".split(),
}
_ORDER = "VERB NOUN PROPN PRON ADJ NUM ADV INTJ AUX ADP DET PART CCONJ SCONJ X PUNCT".split()


def file_names(names: Sequence[str], config: str, split: str) -> list[str]:
    """Of the paths below PATH the files of a split of a config (`<release>/<language>`), by file
    name. DataError where there is none.
    """
    release, _, language = config.partition("/")
    end = f"-ud-{SPLITS.get(split, split)}.conllu"
    own = [name for name in names if name.startswith(f"{release}/") and name.endswith(end)]
    found = [name for name in own if Path(name).name.startswith(f"{language}_")]
    if not found:
        raise DataError(f"{PATH}: no {release}/**/{language}_*{end}")
    return sorted(found, key=lambda name: Path(name).name)


def rows(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """tokens and pos_tags (names) of each sentence. DataError for a file that is no CoNLL-U."""
    return [row for path in paths for row in _sentences(path)]


def _sentences(path: Path) -> Iterator[dict[str, Any]]:
    from conllu import parse_incr
    from conllu.exceptions import ParseException

    language = path.name.partition("_")[0]
    try:
        with path.open(encoding="utf-8") as stream:
            for sentence in parse_incr(
                stream, field_parsers={"deps": lambda line, place: line[place]}
            ):
                written = list(_written(sentence, _ORDERS.get(language, _ORDER)))
                withheld = sum(form == WITHHELD for form, _ in written)
                if not withheld or withheld < len(written) - 1:
                    tokens = [form.replace(_UNSEEN, "").replace(" ", "") for form, _ in written]
                    yield {"tokens": tokens, "pos_tags": [tag for _, tag in written]}
    except (ParseException, UnicodeDecodeError, KeyError) as error:
        raise DataError(
            f"{path}: cannot be read as CoNLL-U ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _written(
    sentence: Sequence[Mapping[str, Any]], order: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """(form, tag) of each written token: of a fused form once, of words outside of them each."""
    words = {word["id"]: word for word in sentence if isinstance(word["id"], int)}
    ranges = {
        word["id"][0]: word
        for word in sentence
        if isinstance(word["id"], tuple) and word["id"][1] == "-"
    }
    heads = {number: _heads(word) for number, word in words.items()}
    last = 0
    for number, word in words.items():
        if number <= last:
            continue
        fused = ranges.get(number)
        if fused is None:
            yield str(word["form"]).strip(), str(word["upos"] or WITHHELD).strip()
        else:
            last = fused["id"][2]
            head = _highest(range(number, last + 1), words, heads, order)
            yield str(fused["form"]).strip(), str(words[head]["upos"] or WITHHELD).strip()


def _heads(word: Mapping[str, Any]) -> set[int]:
    """A word's heads in the tree and in the enhanced graph, without those that are empty nodes."""
    further = str(word["deps"] or "_").split("|")
    heads = {int(head) for head in (pair.partition(":")[0] for pair in further) if head.isdigit()}
    return heads | ({word["head"]} if word["head"] is not None else set())


def _highest(
    part: range,
    words: Mapping[int, Mapping[str, Any]],
    heads: Mapping[int, set[int]],
    order: Sequence[str],
) -> int:
    """The word of a fused form whose tag is the form's."""
    above = {number: len(_ancestors(number, heads)) for number in part}
    fewest = min(above.values())
    ranks = {tag: rank for rank, tag in enumerate(order)}
    return min(
        (number for number in part if above[number] == fewest),
        key=lambda number: (ranks.get(str(words[number]["upos"]), len(order)), number),
    )


def _ancestors(number: int, heads: Mapping[int, set[int]]) -> set[int]:
    found: set[int] = set()
    left = [number]
    while left:
        for head in heads.get(left.pop(), set()) - found:
            found.add(head)
            left.append(head)
    return found - {number}
