"""CCG supertags of CCGbank (Hockenmaier and Steedman 2007), read from the user's licensed copy."""

from functools import partial

from xstilts.tasks.tag_rows import named
from xstilts.tasks.task import Source, Task

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
    overlap={"ud_en": "same-format", "panx_en": "same-format"},
)

TASKS = (CCG,)
