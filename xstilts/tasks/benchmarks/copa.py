"""COPA (Roemmele et al. 2011) and its translation XCOPA (Ponti et al. 2020): which alternative is
the cause or the effect? XTREME-R trains on Social IQa and then on COPA.
"""

from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task, text_of

COPA_LABEL = LabelColumn("label", ("choice1", "choice2"))


def copa(row: Row, index: int, language: str) -> Example | None:
    """premise, choice1, choice2, question (cause | effect), label; -1 (hidden) drops the row.
    The question in words is that of xtreme's third_party/run_xcopa.
    """
    label = COPA_LABEL.id_of(row["label"])
    if label is None:
        return None
    if row["question"] not in ("cause", "effect"):
        raise ValueError(f"question {row['question']!r} is neither cause nor effect")
    return Example(
        id=str(row["idx"]),
        text=text_of(row, "premise"),
        question=f"What was the {row['question']}?",
        choices=(text_of(row, "choice1"), text_of(row, "choice2")),
        label=label,
    )


COPA = Task(
    name="copa",
    title="COPA",
    role="target",
    format="multiple_choice",
    modality="text",
    splits={
        "train": Source("aps/super_glue", "copa", "train"),
        "select": Source("aps/super_glue", "copa", "validation"),
    },
    to_example=copa,
    label_column=COPA_LABEL,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("accuracy",),
    licence="bsd-2-clause",
    citation="Roemmele et al. 2011",
    overlap={"copa": "same-data", "siqa": "same-format"},
    sizes={"train": 400, "select": 100},
    sizes_source=infos("super_glue"),
    estimate=RowEstimate(
        text=42.2,
        segments=2,
        lm=39.9,
        answer=7.4,
        source="measured: 300 rows of train",
    ),
)


XCOPA = Task(
    name="xcopa",
    title="XCOPA",
    role="evaluation",
    format="multiple_choice",
    modality="text",
    splits={"test": Source("cambridgeltl/xcopa", "{language}", "test")},
    to_example=copa,
    label_column=COPA_LABEL,
    languages=("et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh"),
    metrics=("accuracy",),
    trained_target=("siqa", "copa"),
    parallel="id",
    licence="cc-by-4.0",
    citation="Ponti et al. 2020",
    sizes={"test": 500},
    sizes_source=infos("xcopa"),
    estimate=RowEstimate(
        text=70.9,
        segments=2,
        source="measured: 3,300 rows of test in 11 languages",
    ),
)

TASKS = (COPA, XCOPA)
