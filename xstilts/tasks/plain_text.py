"""Plain text: what a tokenizer and a tiny backbone of the miniature are taught with; English
text as the control for "more English" (`text_lm`); text of all the benchmark's languages, to be
mixed in so that they are not forgotten.
"""

from dataclasses import replace

from xstilts.tasks.languages import LANGUAGES
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import Example, Row, Source, Task, text_of


def line(row: Row, index: int, language: str) -> Example:
    """id, text: one document, or one word of the word list."""
    return Example(id=str(row.get("id", index)), targets=(text_of(row, "text"),))


MINIATURE_TEXT = Task(
    name="miniature_text",
    title="The miniature's text",
    role="intermediate",
    format="generation",
    modality="text",
    splits={"text": Source("xstilts/miniature-text", "{language}", "train")},
    to_example=line,
    objectives=("lm",),
    licence="generated",
    citation="docs/miniature.md",
)


def paragraph(row: Row, index: int, language: str) -> Example | None:
    """text; empty lines and headings (`= … =`) are dropped."""
    text = text_of(row, "text").strip()
    return (
        None
        if not text or text.startswith("=")
        else Example(id=str(row.get("id", index)), targets=(text,))
    )


TEXT_LM = Task(
    name="text_lm",
    title="Plain English text",
    role="intermediate",
    format="generation",
    modality="text",
    splits={
        split: Source(
            "Salesforce/wikitext",
            "wikitext-103-raw-v1",
            name,
            alternatives=(Source("xstilts/miniature-text", "en", "train"),)
            if split == "train"
            else (),
        )
        for split, name in (("train", "train"), ("select", "validation"))
    },
    to_example=paragraph,
    objectives=("lm",),
    licence="cc-by-sa-3.0",
    citation="Merity et al. 2017",
    sizes={"train": 1_801_350, "select": 3_760},
    sizes_source=infos("wikitext"),
)


def _wikipedia(code: str) -> Source:
    return Source(
        "wikimedia/wikipedia",
        f"20231101.{code}",
        "train",
        alternatives=(Source("xstilts/miniature-text", code, "train"),),
    )


MULTILINGUAL_TEXT = Task(
    name="multilingual_text",
    title="Text of the benchmark's languages",
    role="intermediate",
    format="generation",
    modality="text",
    splits={"train": replace(_wikipedia("{language}"), each=True)},
    to_example=paragraph,
    languages=tuple(LANGUAGES),
    objectives=("lm",),
    licence="cc-by-sa-3.0",
    citation="Wikipedia",
)

TASKS = (MINIATURE_TEXT, TEXT_LM, MULTILINGUAL_TEXT)
