"""XNLI (Conneau et al. 2018): MultiNLI's test rows in 15 languages."""

from xstilts.tasks.nli_rows import LABEL, LABELS, premise_and_hypothesis
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import RowEstimate, Source, Task

XNLI = Task(
    name="xnli",
    title="XNLI",
    role="evaluation",
    format="classification",
    modality="text",
    splits={"test": Source("facebook/xnli", "{language}", "test")},
    to_example=premise_and_hypothesis,
    label_column=LABEL,
    languages=(
        "ar",
        "bg",
        "de",
        "el",
        "en",
        "es",
        "fr",
        "hi",
        "ru",
        "sw",
        "th",
        "tr",
        "ur",
        "vi",
        "zh",
    ),
    labels=LABELS,
    metrics=("accuracy",),
    trained_target=("mnli",),
    parallel="row",
    licence="cc-by-nc-4.0",
    citation="Conneau et al. 2018",
    sizes={"test": 5_010},
    sizes_source=infos("xnli"),
    estimate=RowEstimate(
        text=54.6,
        source="measured: 4,500 rows of test in 15 languages",
    ),
)

TASKS = (XNLI,)
