"""ANLI+ (Phang et al. 2020): SNLI, MultiNLI and ANLI as one intermediate task.

Phang et al. draw the three sets in proportion to their rows under one head; here they are one set
of rows.
"""

from xstilts.tasks.nli_rows import INSTRUCTION, LABEL, LABELS, premise_and_hypothesis
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import RowEstimate, Source, Task

ANLI_PLUS = Task(
    name="anli_plus",
    title="ANLI+ (SNLI, MultiNLI, ANLI)",
    role="intermediate",
    format="classification",
    modality="text",
    splits={
        "train": Source(
            "stanfordnlp/snli",
            "plain_text",
            "train",
            plus=(
                Source(
                    "nyu-mll/glue",
                    "mnli",
                    "train",
                    alternatives=(Source("nyu-mll/multi_nli", "default", "train"),),
                ),
                Source("facebook/anli", "plain_text", "train_r1+train_r2+train_r3"),
            ),
        ),
        "select": Source(
            "stanfordnlp/snli",
            "plain_text",
            "validation",
            plus=(
                Source(
                    "nyu-mll/glue",
                    "mnli",
                    "validation_matched",
                    alternatives=(Source("nyu-mll/multi_nli", "default", "validation_matched"),),
                ),
                Source("facebook/anli", "plain_text", "dev_r1+dev_r2+dev_r3"),
            ),
        ),
    },
    to_example=premise_and_hypothesis,
    label_column=LABEL,
    objectives=("head", "lm"),
    labels=LABELS,
    verbalised=LABELS,
    instruction=INSTRUCTION,
    metrics=("accuracy",),
    licence="cc-by-sa-4.0; oanc, cc-by-sa-3.0, mit; cc-by-nc-4.0",
    citation="Phang et al. 2020",
    overlap={"mnli": "same-data"},
    sizes={"train": 550_152 + 392_702 + 162_865, "select": 10_000 + 9_815 + 3_200},
    sizes_source=infos("snli", "glue", "anli"),
    estimate=RowEstimate(
        text=37.9,
        lm=47.2,
        answer=3.3,
        source="SNLI, MNLI and ANLI by their rows",
    ),
)

TASKS = (ANLI_PLUS,)
