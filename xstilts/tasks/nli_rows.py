"""Rows of natural language inference: a premise, a hypothesis, and entailment, neutral or
contradiction."""

from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.squad_rows import passage_name
from xstilts.tasks.task import Example, Row, text_of

LABELS = ("entailment", "neutral", "contradiction")


#: SNLI's and MultiNLI's own files have `-` where the annotators did not agree, ANLI's the first
#: letters.
LABEL = LabelColumn(
    "label", LABELS, {"-": "", "e": "entailment", "n": "neutral", "c": "contradiction"}
)


INSTRUCTION = "Entailment, neutral or contradiction?"


def premise_and_hypothesis(row: Row, index: int, language: str) -> Example | None:
    """premise, hypothesis, label; label -1 (no gold) drops the row. The hypotheses of one
    premise are one cluster.
    """
    label = LABEL.id_of(row["label"])
    if label is None:
        return None
    premise = text_of(row, "premise")
    return Example(
        id=str(row.get("uid") or index),
        text=premise,
        text_pair=text_of(row, "hypothesis"),
        label=label,
        cluster=passage_name(premise),
    )
