"""Chunks in a sequence of tags, exactly as seqeval 0.0.12 finds them.

XTREME-R's official tagging scores are seqeval's chunk F1, for PAN-X on IOB2 tags and for UD-POS on *bare* tags. On bare
tags the result depends on seqeval's version: 0.0.12 takes the whole tag as the chunk's type and its first letter as the
prefix (so runs of equal tags merge, except tags that begin with S, B or E); 1.2.2 strips the first letter. Only 0.0.12
gives the number that the official scorer's own test expects, so its rules are written down here.
"""

from collections.abc import Sequence

Chunk = tuple[str, int, int]

# (previous prefix, prefix) pairs at which a chunk ends or starts whatever the types are.
_ENDS = frozenset({("B", "B"), ("B", "S"), ("B", "O"), ("I", "B"), ("I", "S"), ("I", "O")})
_STARTS = frozenset({("E", "E"), ("E", "I"), ("S", "E"), ("S", "I"), ("O", "E"), ("O", "I")})
_OUTSIDE = frozenset({"O", "."})


def chunks(tags: Sequence[str]) -> set[Chunk]:
    """The chunks (type, first, last) of one sentence. Raises ValueError for an empty tag."""
    found: set[Chunk] = set()
    prefix, kind, begin = "O", "", 0
    for i, tag in enumerate((*tags, "O")):
        if not tag:
            raise ValueError(f"the tag at position {i} is empty")
        next_prefix, next_kind = tag[0], tag.rpartition("-")[2]
        if prefix in ("E", "S") or (prefix, next_prefix) in _ENDS or (prefix not in _OUTSIDE and kind != next_kind):
            found.add((kind, begin, i - 1))
        if (
            next_prefix in ("B", "S")
            or (prefix, next_prefix) in _STARTS
            or (next_prefix not in _OUTSIDE and kind != next_kind)
        ):
            begin = i
        prefix, kind = next_prefix, next_kind
    return found


def chunk_counts(prediction: Sequence[str], gold: Sequence[str]) -> tuple[int, int, int]:
    """(chunks in both, predicted chunks, gold chunks) of one sentence. Raises ValueError when the lengths differ."""
    if len(prediction) != len(gold):
        raise ValueError(f"{len(prediction)} predicted tags for {len(gold)} gold tags")
    predicted, true = chunks(prediction), chunks(gold)
    return len(predicted & true), len(predicted), len(true)
