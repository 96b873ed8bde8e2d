"""XQuAD (Artetxe et al. 2020): SQuAD's dev rows in 12 languages."""

from xstilts.tasks.sizes import infos
from xstilts.tasks.squad_rows import squad
from xstilts.tasks.task import RowEstimate, Source, Task

XQUAD = Task(
    name="xquad",
    title="XQuAD",
    role="evaluation",
    format="span",
    modality="text",
    splits={
        "test": Source(
            "google/xquad",
            "xquad.{language}",
            "validation",
            alternatives=(Source("google-research-datasets/xquad_r", "{language}", "validation"),),
        )
    },
    to_example=squad,
    languages=("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"),
    metrics=("squad_f1", "squad_em"),
    trained_target=("squad",),
    parallel="id",
    licence="cc-by-sa-4.0",
    citation="Artetxe et al. 2020",
    sizes={"test": 1_190},
    sizes_source=infos("xquad"),
    estimate=RowEstimate(
        text=430.7,
        windows=1.53,
        source="measured: 3,600 rows of validation in 12 languages",
    ),
)

TASKS = (XQUAD,)
