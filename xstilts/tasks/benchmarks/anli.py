"""ANLI (Nie et al. 2020): adversarial natural language inference, three rounds."""

from xstilts.tasks.nli_rows import INSTRUCTION, LABEL, LABELS, premise_and_hypothesis
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import RowEstimate, Source, Task

ANLI = Task(
    name="anli",
    title="ANLI rounds 1-3",
    role="intermediate",
    format="classification",
    modality="text",
    splits={
        "train": Source("facebook/anli", "plain_text", "train_r1+train_r2+train_r3"),
        "select": Source("facebook/anli", "plain_text", "dev_r1+dev_r2+dev_r3"),
    },
    to_example=premise_and_hypothesis,
    label_column=LABEL,
    objectives=("head", "lm"),
    labels=LABELS,
    verbalised=LABELS,
    instruction=INSTRUCTION,
    metrics=("accuracy",),
    licence="cc-by-nc-4.0",
    citation="Nie et al. 2020",
    overlap={"mnli": "same-format"},
    sizes={"train": 162_865, "select": 3_200},
    sizes_source=infos("anli"),
    estimate=RowEstimate(
        text=93.1,
        lm=102.9,
        answer=3.3,
        source="measured: 300 rows of dev_r1+dev_r2+dev_r3",
    ),
)

TASKS = (ANLI,)
