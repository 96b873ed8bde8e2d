"""Multiple choice: CommonsenseQA (Talmor et al. 2019), Social IQa (Sap et al. 2019), COPA (Roemmele et al. 2011) and its
translation XCOPA (Ponti et al. 2020), which XTREME-R trains on Social IQa and then COPA."""

from xstilts.tasks.task import Example, Row, Source, Task


def commonsense(row: Row, index: int, language: str) -> Example | None:
    """question, choices{label, text}, answerKey; an empty key (the hidden test) drops the row."""
    if not row["answerKey"]:
        return None
    keys = list(row["choices"]["label"])
    if row["answerKey"] not in keys:
        raise ValueError(f"answerKey {row['answerKey']!r} is not one of {keys}")
    return Example(
        id=str(row["id"]), text=str(row["question"]), choices=tuple(row["choices"]["text"]),
        label=keys.index(row["answerKey"]),
    )  # fmt: skip


def social(row: Row, index: int, language: str) -> Example:
    """context, question, answerA-C, label "1"-"3"."""
    choices = tuple(str(row[f"answer{letter}"]) for letter in "ABC")
    return Example(
        id=str(index), text=str(row["context"]), question=str(row["question"]), choices=choices,
        label=int(row["label"]) - 1,
    )  # fmt: skip


def copa(row: Row, index: int, language: str) -> Example | None:
    """premise, choice1, choice2, question (cause | effect), label; -1 (hidden) drops the row. The question in words is
    that of xtreme's third_party/run_xcopa: `What was the cause?`, `What was the effect?`."""
    if int(row["label"]) == -1:
        return None
    if row["question"] not in ("cause", "effect"):
        raise ValueError(f"question {row['question']!r} is neither cause nor effect")
    return Example(
        id=str(row["idx"]), text=str(row["premise"]), question=f"What was the {row['question']}?",
        choices=(str(row["choice1"]), str(row["choice2"])), label=int(row["label"]),
    )  # fmt: skip


COMMONSENSE_QA = Task(
    name="commonsense_qa", title="CommonsenseQA", role="intermediate", format="multiple_choice", modality="text",
    splits={
        "train": Source("tau/commonsense_qa", "default", "train"),
        "select": Source("tau/commonsense_qa", "default", "validation"),
    },
    to_example=commonsense, objectives=("head", "lm"), instruction="Answer:", metrics=("accuracy",), licence="mit",
    citation="Talmor et al. 2019", overlap={"siqa": "same-format", "copa": "same-format"},
)  # fmt: skip
SIQA = Task(
    name="siqa", title="Social IQa", role="target", format="multiple_choice", modality="text",
    splits={
        "train": Source("allenai/social_i_qa", "default", "train", alternatives=(Source("lighteval/siqa", "default", "train"),)),
        "select": Source(
            "allenai/social_i_qa", "default", "validation", alternatives=(Source("lighteval/siqa", "default", "validation"),)
        ),
    },
    to_example=social, metrics=("accuracy",), licence="cc-by-4.0", citation="Sap et al. 2019",
)  # fmt: skip
COPA = Task(
    name="copa", title="COPA", role="target", format="multiple_choice", modality="text",
    splits={
        "train": Source("aps/super_glue", "copa", "train"),
        "select": Source("aps/super_glue", "copa", "validation"),
    },
    to_example=copa, metrics=("accuracy",), licence="bsd-2-clause", citation="Roemmele et al. 2011",
)  # fmt: skip
XCOPA = Task(
    name="xcopa", title="XCOPA", role="evaluation", format="multiple_choice", modality="text",
    splits={"test": Source("cambridgeltl/xcopa", "{language}", "test")}, to_example=copa,
    languages=("et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh"), metrics=("accuracy",),
    trained_target=("siqa", "copa"), licence="cc-by-4.0", citation="Ponti et al. 2020",
)  # fmt: skip

TASKS = (COMMONSENSE_QA, SIQA, COPA, XCOPA)
