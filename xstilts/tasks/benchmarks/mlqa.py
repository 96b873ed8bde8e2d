"""MLQA (Lewis et al. 2020): question answering in 7 languages."""

from xstilts.tasks.sizes import infos
from xstilts.tasks.squad_rows import squad
from xstilts.tasks.task import RowEstimate, Source, Task

MLQA = Task(
    name="mlqa",
    title="MLQA",
    role="evaluation",
    format="span",
    modality="text",
    splits={
        "test": Source(
            "google/xtreme",
            "MLQA.{language}.{language}",
            "test",
            alternatives=(Source("facebook/mlqa", "mlqa.{language}.{language}", "test"),),
        )
    },
    to_example=squad,
    languages=("ar", "de", "en", "es", "hi", "vi", "zh"),
    metrics=("mlqa_f1", "mlqa_em"),
    trained_target=("squad",),
    parallel="id",
    licence="cc-by-sa-3.0",
    citation="Lewis et al. 2020",
    sizes={
        "test:ar": 5_335,
        "test:de": 4_517,
        "test:en": 11_590,
        "test:es": 5_253,
        "test:hi": 4_918,
        "test:vi": 5_495,
        "test:zh": 5_137,
    },
    sizes_source=infos("mlqa"),
    estimate=RowEstimate(
        text=555.4,
        windows=1.89,
        source="measured: 2,100 rows of validation in 7 languages",
    ),
)

TASKS = (MLQA,)
