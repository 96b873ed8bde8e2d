"""Universal Dependencies treebanks, converted as in XTREME-R to one tag per written token.

A mirror contains the unpacked releases:
`universal-dependencies/ud-treebanks-v2.5/UD_French-GSD/fr_gsd-ud-test.conllu`. XTREME's 33
languages come from release 2.5, the five that XTREME-R adds from 2.7 (google-research/xtreme
838c13b, scripts/download_data.sh download_treebank). The test set of a language consists of all its
treebanks, ordered by file name.

The conversion is that of third_party/ud-conversion-tools with
`--replace_subtokens_with_fused_forms` and of utils_preprocess.py (udpos_preprocess). A fused form
such as French `au` is one token. Its tag is that of the part with the fewest ancestors in the
dependency graph; ties are broken by a list of parts of speech. Zero-width non-joiners and spaces
within tokens are removed, and sentences with withheld text (`_`) are skipped.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xstilts.errors import DataError
from xstilts.input_files import open_file

PATH = "universal-dependencies"
SPLITS = {"train": "train", "validation": "dev", "dev": "dev", "test": "test"}
WITHHELD = "_"
_ZERO_WIDTH = "\u200c"  # zero-width non-joiner

#: Language → parts of speech in the order that breaks ties (conllu_to_conll.py). Parts of speech
#: that are not in the list come last; the official tool stops with an error there.
_ORDERS: Mapping[str, Sequence[str]] = {
    "es": "VERB AUX PRON ADP DET".split(),
    "fr": "VERB AUX PRON NOUN ADJ ADV ADP DET PART SCONJ CONJ".split(),
    "it": "VERB AUX ADV PRON ADP DET INTJ".split(),
}
_ORDER = "VERB NOUN PROPN PRON ADJ NUM ADV INTJ AUX ADP DET PART CCONJ SCONJ X PUNCT".split()


def file_names(names: Sequence[str], config: str, split: str) -> list[str]:
    """The files of a split of a config (`<release>/<language>`), sorted by file name.

    DataError if there are none.

    Args:
        names: all paths relative to PATH.
        config: `<release>/<language>`.
        split: train, validation, dev or test.
    """
    release, _, language = config.partition("/")
    end = f"-ud-{SPLITS.get(split, split)}.conllu"
    matches = [
        name
        for name in names
        if name.startswith(f"{release}/")
        and name.endswith(end)
        and Path(name).name.startswith(f"{language}_")
    ]
    if not matches:
        raise DataError(
            f"{PATH}: no file {release}/**/{language}_*{end}; unpack this release of UD into the "
            "mirror"
        )
    return sorted(matches, key=lambda name: Path(name).name)


def read_sentences(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """One row {tokens, pos_tags} per sentence, tags by name. DataError for invalid CoNLL-U."""
    return [row for path in paths for row in _sentences(path)]


def _sentences(path: Path) -> Iterator[dict[str, Any]]:
    from conllu import parse_incr
    from conllu.exceptions import ParseException

    language = path.name.partition("_")[0]
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8") as stream:
            for sentence in parse_incr(
                stream, field_parsers={"deps": lambda line, column: line[column]}
            ):
                written = list(_written_tokens(sentence, _ORDERS.get(language, _ORDER)))
                withheld = sum(form == WITHHELD for form, _ in written)
                if not withheld or withheld < len(written) - 1:
                    tokens = [form.replace(_ZERO_WIDTH, "").replace(" ", "") for form, _ in written]
                    yield {"tokens": tokens, "pos_tags": [tag for _, tag in written]}
    except (ParseException, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read as CoNLL-U ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _written_tokens(
    sentence: Sequence[Mapping[str, Any]], order: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """(form, tag) of each written token: one per fused form and one per word outside of them."""
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
    """The heads of a word in the tree and in the enhanced graph, without empty nodes."""
    enhanced = str(word["deps"] or "_").split("|")
    heads = {int(head) for head in (pair.partition(":")[0] for pair in enhanced) if head.isdigit()}
    return heads | ({word["head"]} if word["head"] is not None else set())


def _highest(
    part: range,
    words: Mapping[int, Mapping[str, Any]],
    heads: Mapping[int, set[int]],
    order: Sequence[str],
) -> int:
    """The number of the word that determines the tag of a fused form."""
    depths = {number: len(_ancestors(number, heads)) for number in part}
    fewest = min(depths.values())
    ranks = {tag: rank for rank, tag in enumerate(order)}
    return min(
        (number for number in part if depths[number] == fewest),
        key=lambda number: (ranks.get(str(words[number]["upos"]), len(order)), number),
    )


def _ancestors(number: int, heads: Mapping[int, set[int]]) -> set[int]:
    ancestors: set[int] = set()
    queue = [number]
    while queue:
        for head in heads.get(queue.pop(), set()) - ancestors:
            ancestors.add(head)
            queue.append(head)
    return ancestors - {number}
