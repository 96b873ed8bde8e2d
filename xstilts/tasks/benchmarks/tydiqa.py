"""TyDiQA-GoldP (Clark et al. 2020): question answering in 9 languages; English trains."""

from xstilts.tasks.sizes import by_language
from xstilts.tasks.squad_rows import squad
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task

TYDIQA_SIZES = "tensorflow/datasets 0a77a814ef4f, docs/catalog/tydi_qa.md"
TEST_SIZES = by_language("ar 921 bn 113 en 440 fi 782 id 565 ko 276 ru 812 sw 499 te 669")

#: TyDiQA writes the language's name before each id, as in `english-…`.
TYDIQA_LANGUAGES = {
    "ar": "arabic",
    "bn": "bengali",
    "en": "english",
    "fi": "finnish",
    "id": "indonesian",
    "ko": "korean",
    "ru": "russian",
    "sw": "swahili",
    "te": "telugu",
}


def typological(row: Row, index: int, language: str) -> Example | None:
    """SQuAD's columns with all languages in one file; a row of another language is dropped."""
    name = TYDIQA_LANGUAGES.get(language, language)
    return squad(row, index, language) if str(row["id"]).startswith(f"{name}-") else None


def _tydiqa(split: str) -> Source:
    return Source(
        "google-research-datasets/tydiqa",
        "secondary_task",
        split,
        id_prefixes=TYDIQA_LANGUAGES,
        alternatives=(Source("google/xtreme", "tydiqa", split, id_prefixes=TYDIQA_LANGUAGES),),
    )


TYDIQA_EN = Task(
    name="tydiqa_en",
    title="TyDiQA-GoldP English",
    role="target",
    format="span",
    modality="text",
    splits={"train": _tydiqa("train"), "select": _tydiqa("validation")},
    to_example=typological,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("squad_f1", "squad_em"),
    licence="apache-2.0",
    citation="Clark et al. 2020",
    overlap={"tydiqa_en": "same-data", "squad": "same-format"},
    sizes={"select": 440},
    sizes_source=TYDIQA_SIZES,
    estimate=RowEstimate(
        text=197,
        windows=1.12,
        lm=162.3,
        answer=9.4,
        rows=3_696,
        source="measured: 300 rows of train",
    ),
)


TYDIQA = Task(
    name="tydiqa",
    title="TyDiQA-GoldP",
    role="evaluation",
    format="span",
    modality="text",
    splits={"test": _tydiqa("validation")},
    to_example=typological,
    languages=tuple(TYDIQA_LANGUAGES),
    metrics=("squad_f1", "squad_em"),
    trained_target=("tydiqa_en",),
    licence="apache-2.0",
    citation="Clark et al. 2020",
    sizes=TEST_SIZES,
    sizes_source=TYDIQA_SIZES,
    estimate=RowEstimate(
        text=261.3,
        windows=1.25,
        source="measured: 900 rows of train in 3 languages",
    ),
)

TASKS = (TYDIQA_EN, TYDIQA)
