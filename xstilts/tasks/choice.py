"""Multiple choice: CommonsenseQA (Talmor et al. 2019), HellaSwag (Zellers et al. 2019) and
Cosmos QA (Huang et al. 2019) as intermediate tasks; Social IQa (Sap et al. 2019), COPA (Roemmele
et al. 2011) and its translation XCOPA (Ponti et al. 2020), which XTREME-R trains on Social IQa
and then COPA.
"""

from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import Example, Row, Source, Task, text_of, texts_of

COPA_LABEL = LabelColumn("label", ("choice1", "choice2"))


def commonsense(row: Row, index: int, language: str) -> Example | None:
    """question, choices{label, text}, answerKey; an empty key (the hidden test) drops the row."""
    if not row["answerKey"]:
        return None
    keys = list(row["choices"]["label"])
    if row["answerKey"] not in keys:
        raise ValueError(f"answerKey {row['answerKey']!r} is not one of {keys}")
    return Example(
        id=str(row["id"]), text=text_of(row, "question"), choices=texts_of(row["choices"], "text"),
        label=keys.index(row["answerKey"]),
    )  # fmt: skip


def ending(row: Row, index: int, language: str) -> Example | None:
    """ctx_a, ctx_b, endings, label as text; an empty label (the hidden test) drops the row. The
    choice is `ctx_b ending`, as jiant's hellaswag task joins them.
    """
    if row["label"] == "":
        return None
    choices = tuple(
        " ".join(f"{row['ctx_b'] or ''} {one}".split()) for one in texts_of(row, "endings")
    )
    return Example(
        id=str(row.get("ind", index)),
        text=text_of(row, "ctx_a"),
        choices=choices,
        label=int(row["label"]),
        cluster=str(row.get("source_id") or ""),
    )


def cosmos(row: Row, index: int, language: str) -> Example | None:
    """id, context, question, answer0-3, label; -1 (the hidden test) drops the row."""
    if int(row["label"]) == -1:
        return None
    return Example(
        id=str(row["id"]),
        text=text_of(row, "context"),
        question=text_of(row, "question"),
        choices=tuple(text_of(row, f"answer{number}") for number in range(4)),
        label=int(row["label"]),
    )


def social(row: Row, index: int, language: str) -> Example:
    """context, question, answerA-C, label "1"-"3"."""
    choices = tuple(text_of(row, f"answer{letter}") for letter in "ABC")
    return Example(
        id=str(index),
        text=text_of(row, "context"),
        question=text_of(row, "question"),
        choices=choices,
        label=int(row["label"]) - 1,
    )


def copa(row: Row, index: int, language: str) -> Example | None:
    """premise, choice1, choice2, question (cause | effect), label; -1 (hidden) drops the row.
    The question in words is that of xtreme's third_party/run_xcopa: `What was the cause?`, `What
    was the effect?`.
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


COMMONSENSE_QA = Task(
    name="commonsense_qa",
    title="CommonsenseQA",
    role="intermediate",
    format="multiple_choice",
    modality="text",
    splits={
        "train": Source("tau/commonsense_qa", "default", "train"),
        "select": Source("tau/commonsense_qa", "default", "validation"),
    },
    to_example=commonsense,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("accuracy",),
    licence="mit",
    citation="Talmor et al. 2019",
    overlap={"siqa": "same-format", "copa": "same-format"},
    sizes={"train": 9_741, "select": 1_221},
    sizes_source=infos("commonsense_qa"),
)
HELLASWAG = Task(
    name="hellaswag",
    title="HellaSwag",
    role="intermediate",
    format="multiple_choice",
    modality="text",
    splits={
        "train": Source("Rowan/hellaswag", "default", "train"),
        "select": Source("Rowan/hellaswag", "default", "validation"),
    },
    to_example=ending,
    objectives=("head", "lm"),
    instruction="What comes next?",
    metrics=("accuracy",),
    licence="mit",
    citation="Zellers et al. 2019",
    overlap={"siqa": "same-format", "copa": "same-format"},
    sizes={"train": 39_905, "select": 10_042},
    sizes_source=infos("hellaswag"),
)
COSMOS_QA = Task(
    name="cosmos_qa",
    title="Cosmos QA",
    role="intermediate",
    format="multiple_choice",
    modality="text",
    splits={
        "train": Source("allenai/cosmos_qa", "default", "train"),
        "select": Source("allenai/cosmos_qa", "default", "validation"),
    },
    to_example=cosmos,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("accuracy",),
    licence="cc-by-4.0",
    citation="Huang et al. 2019",
    overlap={"siqa": "same-format", "copa": "same-format"},
    sizes={"train": 25_262, "select": 2_985},
    sizes_source=infos("cosmos_qa"),
)
SIQA = Task(
    name="siqa",
    title="Social IQa",
    role="target",
    format="multiple_choice",
    modality="text",
    splits={
        "train": Source(
            "allenai/social_i_qa",
            "default",
            "train",
            alternatives=(Source("lighteval/siqa", "default", "train"),),
        ),
        "select": Source(
            "allenai/social_i_qa",
            "default",
            "validation",
            alternatives=(Source("lighteval/siqa", "default", "validation"),),
        ),
    },
    to_example=social,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("accuracy",),
    licence="cc-by-4.0",
    citation="Sap et al. 2019",
    overlap={"siqa": "same-data", "copa": "same-format"},
    sizes={"train": 33_410, "select": 1_954},
    sizes_source=infos("social_i_qa"),
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
    licence="cc-by-4.0",
    citation="Ponti et al. 2020",
    sizes={"test": 500},
    sizes_source=infos("xcopa"),
    parallel="id",
)

TASKS = (COMMONSENSE_QA, HELLASWAG, COSMOS_QA, SIQA, COPA, XCOPA)
