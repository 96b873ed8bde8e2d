"""SNLI (Bowman et al. 2015): natural language inference on image captions."""

from xstilts.tasks.nli_rows import INSTRUCTION, LABEL, LABELS, premise_and_hypothesis
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import RowEstimate, Source, Task

SNLI = Task(
    name="snli",
    title="SNLI",
    role="intermediate",
    format="classification",
    modality="text",
    splits={
        "train": Source("stanfordnlp/snli", "plain_text", "train"),
        "select": Source("stanfordnlp/snli", "plain_text", "validation"),
    },
    to_example=premise_and_hypothesis,
    label_column=LABEL,
    objectives=("head", "lm"),
    labels=LABELS,
    verbalised=LABELS,
    instruction=INSTRUCTION,
    metrics=("accuracy",),
    licence="cc-by-sa-4.0",
    citation="Bowman et al. 2015",
    overlap={"mnli": "same-format"},
    sizes={"train": 550_152, "select": 10_000},
    sizes_source=infos("snli"),
    estimate=RowEstimate(
        text=27.3,
        lm=36.5,
        answer=3.2,
        rows=549_367,
        source="measured: 300 rows of validation",
    ),
)

TASKS = (SNLI,)
