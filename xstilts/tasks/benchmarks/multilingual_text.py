"""Text of all the benchmark's languages (Wikipedia), to mix in against forgetting them."""

from xstilts.tasks.exposure import ANY_WEB_PAGE
from xstilts.tasks.languages import LANGUAGES
from xstilts.tasks.task import RowEstimate, Source, Task
from xstilts.tasks.text_rows import paragraph

MULTILINGUAL_TEXT = Task(
    name="multilingual_text",
    title="Text of the benchmark's languages",
    role="intermediate",
    format="generation",
    modality="text",
    splits={
        "train": Source(
            "wikimedia/wikipedia",
            "20231101.{language}",
            "train",
            alternatives=(Source("xstilts/miniature-text", "{language}", "train"),),
            each=True,
        )
    },
    to_example=paragraph,
    languages=tuple(LANGUAGES),
    objectives=("lm",),
    licence="cc-by-sa-3.0",
    citation="Wikipedia",
    estimate=RowEstimate(
        text=500,
        windows=2.5,
        rows=20_000_000,
        source="Wikipedia articles: about 500 tokens, half of them in one window",
    ),
    maybe_seen_by={"xlm-r": ANY_WEB_PAGE},
)

TASKS = (MULTILINGUAL_TEXT,)
