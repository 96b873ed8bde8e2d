"""Tatoeba sentence retrieval (Artetxe and Schwenk 2019) in XTREME-R's 41 languages, English query → foreign sentence.

Scored at the road's end without target training (XTREME-1's and Phang et al.'s protocol)."""

from xstilts.tasks.languages import ISO3
from xstilts.tasks.task import Example, Row, Source, Task

TATOEBA_LANGUAGES = (
    "af",
    "ar",
    "az",
    "bg",
    "bn",
    "de",
    "el",
    "es",
    "et",
    "eu",
    "fa",
    "fi",
    "fr",
    "he",
    "hi",
    "hu",
    "id",
    "it",
    "ja",
    "jv",
    "ka",
    "kk",
    "ko",
    "lt",
    "ml",
    "mr",
    "nl",
    "pl",
    "pt",
    "ro",
    "ru",
    "sw",
    "ta",
    "te",
    "th",
    "tl",
    "tr",
    "uk",
    "ur",
    "vi",
    "zh",
)


def pair(row: Row, index: int, language: str) -> Example:
    """google/xtreme's source_sentence (foreign) and target_sentence (English), or mteb's sentence1 and sentence2."""
    foreign, english = (
        ("source_sentence", "target_sentence") if "source_sentence" in row else ("sentence1", "sentence2")
    )
    return Example(id=str(index), text=str(row[foreign]), text_pair=str(row[english]))


TATOEBA = Task(
    name="tatoeba", title="Tatoeba (raw encoder)", role="evaluation", format="retrieval", modality="text",
    splits={
        "test": Source(
            "mteb/tatoeba-bitext-mining", "{language}-eng", "test", names=ISO3,
            alternatives=(Source("google/xtreme", "tatoeba.{language}", "validation", names=ISO3),),
        )
    },
    to_example=pair, languages=TATOEBA_LANGUAGES, metrics=("retrieval_accuracy",), trained_target=(),
    licence="cc-by-2.0", citation="Artetxe and Schwenk 2019",
)  # fmt: skip

TASKS = (TATOEBA,)
