"""Rows of tagged tokens."""

from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.task import Example, Row, texts_of


def named(column: str, row: Row, index: int, language: str) -> Example:
    """tokens and their tags by name. The label set is that of the training rows."""
    tokens, tags = texts_of(row, "tokens"), texts_of(row, column)
    if len(tokens) != len(tags) or not tokens:
        raise ValueError(f"{len(tokens)} tokens and {len(tags)} tags")
    if "" in tags:
        raise ValueError("a tag is empty")
    return Example(id=str(index), tokens=tokens, tags=tags)


def tagged(tags: LabelColumn, row: Row, index: int, language: str) -> Example:
    """tokens and their tags, by id or name. The tokens of PAN-X's raw files have a language prefix,
    which the hub's copy has not.
    """
    ids = tags.ids_of(row[tags.column])
    tokens = texts_of(row, "tokens")
    if len(tokens) != len(ids) or not tokens:
        raise ValueError(f"{len(tokens)} tokens and {len(ids)} tags")
    return Example(id=str(index), tokens=tokens, tags=tuple(tags.labels[tag] for tag in ids))
