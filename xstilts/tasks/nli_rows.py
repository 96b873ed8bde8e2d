"""Rows of natural language inference: a premise, a hypothesis and a label."""

from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.squad_rows import passage_name
from xstilts.tasks.task import Example, Row, text_of

LABELS = ("entailment", "neutral", "contradiction")
#: The files of SNLI and MultiNLI have `-` where the annotators disagreed; ANLI's have first
#: letters.
LABEL = LabelColumn(
    "label", LABELS, {"-": "", "e": "entailment", "n": "neutral", "c": "contradiction"}
)
INSTRUCTION = "Entailment, neutral or contradiction?"


def premise_and_hypothesis(row: Row, index: int, language: str) -> Example | None:
    """premise, hypothesis, label; label -1 (no gold label) drops the row. The hypotheses of a
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
