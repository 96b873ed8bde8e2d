"""SQuAD v1.1 (Rajpurkar et al. 2016): a question's answer is a span of a Wikipedia paragraph."""

from xstilts.tasks.sizes import infos
from xstilts.tasks.squad_rows import squad
from xstilts.tasks.task import RowEstimate, Source, Task

SQUAD = Task(
    name="squad",
    title="SQuAD v1.1",
    role="intermediate",
    format="span",
    modality="text",
    splits={
        "train": Source("rajpurkar/squad", "plain_text", "train"),
        "select": Source("rajpurkar/squad", "plain_text", "validation"),
    },
    to_example=squad,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("squad_f1", "squad_em"),
    licence="cc-by-sa-4.0",
    citation="Rajpurkar et al. 2016",
    overlap={"squad": "same-data", "squad_dual": "same-data", "tydiqa_en": "same-format"},
    sizes={"train": 87_599, "select": 10_570},
    sizes_source=infos("squad"),
    estimate=RowEstimate(
        text=178.2,
        windows=1.02,
        lm=177.6,
        answer=5.6,
        source="measured: 300 rows of train",
    ),
)

TASKS = (SQUAD,)
