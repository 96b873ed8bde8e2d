"""Chunks in sequences of tags, exactly as in seqeval 0.0.12.

XTREME-R's official tagging scores are seqeval's chunk F1, for PAN-X on IOB2 tags and for UD-POS on
*bare* tags. On bare tags the result depends on the version of seqeval: 0.0.12 uses the whole tag as
the type of the chunk and its first letter as the prefix (so runs of equal tags merge, except tags
that begin with S, B or E); 1.2.2 strips the first letter. Only 0.0.12 gives the number that the
official scorer's test expects, so this module implements its rules.

seqeval reads all sentences as one sequence with an `O` after each. This matters only for tags like
`O-PER` or `O-X`, where a chunk can end without a start: it then has the start of the chunk before
it, possibly in an earlier sentence. Neither UD-POS nor PAN-X has such tags; with them, the counts
of a sentence depend on the sentences before it.
"""

from collections.abc import Sequence

Chunk = tuple[str, int, int]

# Pairs (previous prefix, prefix) at which a chunk ends or starts regardless of the types.
_ENDS = frozenset({("B", "B"), ("B", "S"), ("B", "O"), ("I", "B"), ("I", "S"), ("I", "O")})
_STARTS = frozenset({("E", "E"), ("E", "I"), ("S", "E"), ("S", "I"), ("O", "E"), ("O", "I")})
_OUTSIDE = frozenset({"O", "."})


def chunks(sentences: Sequence[Sequence[str]]) -> list[set[Chunk]]:
    """The chunks (type, first, last) that end in each sentence. Positions count all sentences with
    an `O` after each. ValueError for an empty tag.
    """
    ended: list[set[Chunk]] = []
    prefix, kind, begin, position = "O", "", 0, 0
    for number, tags in enumerate(sentences):
        ended.append(set())
        for i, tag in enumerate((*tags, "O")):
            if not tag:
                raise ValueError(f"sentence {number}: the tag at position {i} is empty")
            next_prefix, next_kind = tag[0], tag.rpartition("-")[2]
            if (
                prefix in ("E", "S")
                or (prefix, next_prefix) in _ENDS
                or (prefix not in _OUTSIDE and kind != next_kind)
            ):
                ended[-1].add((kind, begin, position - 1))
            if (
                next_prefix in ("B", "S")
                or (prefix, next_prefix) in _STARTS
                or (next_prefix not in _OUTSIDE and kind != next_kind)
            ):
                begin = position
            prefix, kind, position = next_prefix, next_kind, position + 1
    return ended


def chunk_counts(
    predictions: Sequence[Sequence[str]], golds: Sequence[Sequence[str]]
) -> list[tuple[int, int, int]]:
    """(chunks in both, predicted chunks, gold chunks) of each sentence, whose sums give the
    official score. ValueError if the lengths of a sentence differ.
    """
    for number, (prediction, gold) in enumerate(zip(predictions, golds, strict=True)):
        if len(prediction) != len(gold):
            raise ValueError(
                f"sentence {number}: {len(prediction)} predicted tags for {len(gold)} gold tags"
            )
    both = zip(chunks(predictions), chunks(golds), strict=True)
    return [(len(predicted & true), len(predicted), len(true)) for predicted, true in both]
