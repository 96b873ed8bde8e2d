"""Rows of a sentence and its translation into English."""

from xstilts.tasks.task import Example, Row, text_of


def bitext(row: Row, index: int, language: str) -> Example:
    """google/xtreme's source_sentence (foreign) and target_sentence (English), or mteb's
    sentence1 and sentence2.
    """
    foreign, english = (
        ("source_sentence", "target_sentence")
        if "source_sentence" in row
        else ("sentence1", "sentence2")
    )
    return Example(id=str(index), text=text_of(row, foreign), text_pair=text_of(row, english))
