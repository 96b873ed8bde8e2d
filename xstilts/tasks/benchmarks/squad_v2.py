"""SQuAD v2.0 (Rajpurkar et al. 2018): SQuAD with questions that the paragraph does not answer."""

from xstilts.tasks.sizes import infos
from xstilts.tasks.squad_rows import squad_v2
from xstilts.tasks.task import RowEstimate, Source, Task

SQUAD_V2 = Task(
    name="squad_v2",
    title="SQuAD v2.0",
    role="intermediate",
    format="span",
    modality="text",
    splits={
        "train": Source("rajpurkar/squad_v2", "squad_v2", "train"),
        "select": Source("rajpurkar/squad_v2", "squad_v2", "validation"),
    },
    to_example=squad_v2,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("squad_v2_f1", "squad_v2_em"),
    licence="cc-by-sa-4.0",
    citation="Rajpurkar et al. 2018",
    overlap={"squad": "same-data", "squad_dual": "same-data", "tydiqa_en": "same-format"},
    sizes={"train": 130_319, "select": 11_873},
    sizes_source=infos("squad_v2"),
    estimate=RowEstimate(
        text=199.8,
        windows=1.04,
        lm=192.3,
        answer=5.2,
        source="measured: 300 rows of validation",
    ),
)

TASKS = (SQUAD_V2,)
