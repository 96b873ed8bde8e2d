"""CCG supertags of CCGbank (Hockenmaier and Steedman 2007), read from the user's licensed copy."""

from functools import partial

from xstilts.tasks.tag_rows import named
from xstilts.tasks.task import RowEstimate, Source, Task

CCG = Task(
    name="ccg",
    title="CCG supertags (CCGbank)",
    role="intermediate",
    format="tagging",
    modality="text",
    splits={
        "train": Source("ldc/ccgbank", None, "train"),
        "select": Source("ldc/ccgbank", None, "dev"),
    },
    to_example=partial(named, "tags"),
    objectives=("head", "lm"),
    instruction="Categories:",
    metrics=("token_accuracy",),
    licence="LDC2005T13, no redistribution",
    licensed="CCGbank is licensed (LDC2005T13): set CCGBANK_DIR to your own copy",
    citation="Hockenmaier and Steedman 2007",
    sizes={"train": 39_604, "select": 1_913},
    sizes_source="Hockenmaier and Steedman 2007: sections 2 to 21, and 0",
    overlap={"ud_en": "same-format", "panx_en": "same-format"},
    estimate=RowEstimate(
        text=26,
        lm=150,
        answer=120,
        source="as ud_en; a category has about 5 tokens; rows: CCGbank, sections 2 to 21",
    ),
)

TASKS = (CCG,)
