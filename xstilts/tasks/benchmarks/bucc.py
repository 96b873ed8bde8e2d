"""BUCC 2018 (Zweigenbaum et al. 2018), in two tasks.

`bucc`: alignment accuracy on the hub's gold pairs. `bucc_mining`: the mining F1 of XTREME on the
shared task's pools, which a mirror can have.
"""

from xstilts.tasks.bitext_rows import bitext
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task, text_of


def sentence(row: Row, index: int, language: str) -> Example:
    """part (dev or test), id, text, answers: a sentence of either side of a pool. The example's id
    is `<part>/<id>`; an English sentence is a candidate.
    """
    name, part = text_of(row, "id"), text_of(row, "part")
    return Example(
        id=f"{part}/{name}",
        text=text_of(row, "text"),
        relevant=tuple(f"{part}/{answer}" for answer in row["answers"]),
        candidate=f"{part}/{name}" if name.startswith("en-") else "",
    )


def _pool_files(part: str) -> tuple[str, ...]:
    return tuple(f"{{language}}-en.{part}.{side}" for side in ("{language}", "en", "gold"))


BUCC = Task(
    name="bucc",
    title="BUCC 2018 gold pairs (XTREME)",
    role="evaluation",
    format="retrieval",
    modality="text",
    splits={"test": Source("google/xtreme", "bucc18.{language}", "test")},
    to_example=bitext,
    languages=("de", "fr", "ru", "zh"),
    metrics=("retrieval_accuracy",),
    trained_target=(),
    licence="research use",
    citation="Zweigenbaum et al. 2018",
    sizes={"test:de": 9_580, "test:fr": 9_086, "test:ru": 14_435, "test:zh": 1_899},
    sizes_source=infos("xtreme"),
    estimate=RowEstimate(
        text=88,
        segments=2,
        source="as two sentences of udpos",
    ),
)


BUCC_MINING = Task(
    name="bucc_mining",
    title="BUCC 2018 mining (XTREME)",
    role="evaluation",
    format="mining",
    modality="text",
    splits={
        "test": Source(
            "bucc2018",
            "{language}-en",
            "training",
            files=(*_pool_files("sample"), *_pool_files("training")),
        )
    },
    to_example=sentence,
    languages=("de", "fr", "ru", "zh"),
    metrics=("bucc_f1", "bucc_precision", "bucc_recall"),
    trained_target=(),
    licence="research use",
    citation="Zweigenbaum et al. 2018",
    estimate=RowEstimate(
        text=44,
        rows=660_000,
        source="as a sentence of udpos; rows of both sides, rounded: Zweigenbaum et al. 2018",
    ),
)

TASKS = (BUCC, BUCC_MINING)
