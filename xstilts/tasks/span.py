"""Extractive question answering: SQuAD v1.1 (Rajpurkar et al. 2016) and v2.0 (Rajpurkar et al.
2018) for training, XQuAD (Artetxe et al. 2020), MLQA (Lewis et al. 2020) and TyDiQA-GoldP (Clark
et al. 2020) as targets.
"""

import hashlib

from xstilts.tasks import sizes
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import Example, Row, Source, Task, text_of, texts_of

XQUAD_LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")
MLQA_LANGUAGES = ("ar", "de", "en", "es", "hi", "vi", "zh")
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


def squad(row: Row, index: int, language: str) -> Example:
    """id, question, context, answers{text, answer_start}. Examples of one passage are one
    cluster.
    """
    example = squad_v2(row, index, language)
    if not example.answers:
        raise ValueError("answers is empty")
    return example


def squad_v2(row: Row, index: int, language: str) -> Example:
    """As SQuAD; no answers: the context does not answer the question."""
    context = text_of(row, "context")
    answers = tuple(
        (text, _offset(context, text, int(start)))
        for text, start in zip(
            texts_of(row["answers"], "text"), row["answers"]["answer_start"], strict=True
        )
    )
    return Example(
        id=str(row["id"]),
        text=context,
        question=text_of(row, "question"),
        answers=answers,
        cluster=passage_name(context),
    )


def typological(row: Row, index: int, language: str) -> Example | None:
    """SQuAD's columns with all languages in one file; a row of another language is dropped."""
    name = TYDIQA_LANGUAGES.get(language, language)
    return squad(row, index, language) if str(row["id"]).startswith(f"{name}-") else None


def passage_name(text: str) -> str:
    """A short stable name for a passage."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _offset(context: str, text: str, start: int) -> int:
    """`start`, where the answer is at that character of the context. ValueError where it is not:
    a wrong offset would train on another place, or shift all of a file's.
    """
    if text and start >= 0 and context.startswith(text, start):
        return start
    raise ValueError(f"answers: {text!r} is not at character {start} of the context (answer_start)")


_METRICS = ("squad_f1", "squad_em")


def _tydiqa(split: str) -> Source:
    return Source(
        "google-research-datasets/tydiqa",
        "secondary_task",
        split,
        id_prefixes=TYDIQA_LANGUAGES,
        alternatives=(Source("google/xtreme", "tydiqa", split, id_prefixes=TYDIQA_LANGUAGES),),
    )


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
    metrics=_METRICS,
    licence="cc-by-sa-4.0",
    citation="Rajpurkar et al. 2016",
    sizes={"train": 87_599, "select": 10_570},
    sizes_source=infos("squad"),
    overlap={"squad": "same-data", "squad_dual": "same-data", "tydiqa_en": "same-format"},
)
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
    sizes={"train": 130_319, "select": 11_873},
    sizes_source=infos("squad_v2"),
    overlap={"squad": "same-data", "squad_dual": "same-data", "tydiqa_en": "same-format"},
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
    metrics=_METRICS,
    licence="apache-2.0",
    citation="Clark et al. 2020",
    overlap={"tydiqa_en": "same-data", "squad": "same-format"},
    sizes={"select": 440},
    sizes_source=sizes.TYDIQA,
)
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
            alternatives=(
                Source("google-research-datasets/xquad_r", "{language}", "validation"),
            ),  # the same questions
        )
    },
    to_example=squad,
    languages=XQUAD_LANGUAGES,
    metrics=_METRICS,
    trained_target=("squad",),
    licence="cc-by-sa-4.0",
    citation="Artetxe et al. 2020",
    sizes={"test": 1_190},
    sizes_source=infos("xquad"),
    parallel="id",
)
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
    languages=MLQA_LANGUAGES,
    metrics=("mlqa_f1", "mlqa_em"),
    trained_target=("squad",),
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
    parallel="id",
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
    metrics=_METRICS,
    trained_target=("tydiqa_en",),
    licence="apache-2.0",
    citation="Clark et al. 2020",
    sizes=sizes.TYDIQA_TEST,
    sizes_source=sizes.TYDIQA,
)

TASKS = (SQUAD, SQUAD_V2, TYDIQA_EN, XQUAD, MLQA, TYDIQA)
