"""MultiNLI (Williams et al. 2018): natural language inference in ten genres; what XTREME-R trains
for XNLI.
"""

from xstilts.tasks.nli_rows import INSTRUCTION, LABEL, LABELS, premise_and_hypothesis
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import RecipeRow, RowEstimate, Source, Task

MNLI = Task(
    name="mnli",
    title="MultiNLI",
    role="target",
    format="classification",
    modality="text",
    splits={
        "train": Source(
            "nyu-mll/glue",
            "mnli",
            "train",
            alternatives=(Source("nyu-mll/multi_nli", "default", "train"),),
        ),
        "select": Source(
            "nyu-mll/glue",
            "mnli",
            "validation_matched",
            alternatives=(Source("nyu-mll/multi_nli", "default", "validation_matched"),),
        ),
    },
    to_example=premise_and_hypothesis,
    label_column=LABEL,
    objectives=("head", "lm"),
    labels=LABELS,
    verbalised=LABELS,
    instruction=INSTRUCTION,
    metrics=("accuracy",),
    licence="oanc, cc-by-sa-3.0, mit",
    citation="Williams et al. 2018",
    overlap={"mnli": "same-data"},
    sizes={"train": 392_702, "select": 9_815},
    sizes_source=infos("glue"),
    estimate=RowEstimate(
        text=29.8,
        lm=39.1,
        answer=3.4,
        source="measured: 261 rows of train",
    ),
    recipes=(
        RecipeRow("xtreme_r", {"selection": 100}),
        RecipeRow("phang_2020", {"epochs": 2}),
    ),
)

TASKS = (MNLI,)
