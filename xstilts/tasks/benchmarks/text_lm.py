"""Plain English text (WikiText-103, Merity et al. 2017): the control for "more English"."""

from xstilts.tasks.exposure import ANY_WEB_PAGE
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import RowEstimate, Source, Task
from xstilts.tasks.text_rows import paragraph

TEXT_LM = Task(
    name="text_lm",
    title="Plain English text",
    role="intermediate",
    format="generation",
    modality="text",
    splits={
        "train": Source(
            "Salesforce/wikitext",
            "wikitext-103-raw-v1",
            "train",
            alternatives=(Source("xstilts/miniature-text", "en", "train"),),
        ),
        "select": Source("Salesforce/wikitext", "wikitext-103-raw-v1", "validation"),
    },
    to_example=paragraph,
    objectives=("lm",),
    licence="cc-by-sa-3.0",
    citation="Merity et al. 2017",
    sizes={"train": 1_801_350, "select": 3_760},
    sizes_source=infos("wikitext"),
    estimate=RowEstimate(
        text=135,
        windows=1.6,
        rows=860_000,
        source="Merity et al. 2017: 103 M words, in 0.86 M paragraphs that are kept",
    ),
    maybe_seen_by={"xlm-r": ANY_WEB_PAGE},
)

TASKS = (TEXT_LM,)
