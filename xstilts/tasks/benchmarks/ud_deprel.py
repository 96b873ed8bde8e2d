"""Dependency labels of Universal Dependencies (Nivre et al. 2018): a public stand-in for CCG
supertags, under its own name.
"""

from functools import partial

from xstilts.tasks.sizes import infos
from xstilts.tasks.tag_rows import named
from xstilts.tasks.task import RowEstimate, Source, Task

UD_DEPREL = Task(
    name="ud_deprel",
    title="UD dependency labels (stand-in for CCG)",
    role="intermediate",
    format="tagging",
    modality="text",
    splits={
        "train": Source("universal-dependencies/universal_dependencies", "en_ewt", "train"),
        "select": Source("universal-dependencies/universal_dependencies", "en_ewt", "dev"),
    },
    to_example=partial(named, "deprel"),
    objectives=("head", "lm"),
    instruction="Relations:",
    metrics=("token_accuracy",),
    licence="cc-by-sa-4.0",
    citation="Nivre et al. 2018",
    overlap={"ud_en": "same-data", "panx_en": "same-format"},
    sizes={"train": 12_543, "select": 2_002},
    sizes_source=f"{infos('universal_dependencies')} (UD 2.7)",
    estimate=RowEstimate(
        text=21.6,
        lm=65,
        answer=40,
        source="as ud_en; a relation and its space have 2 tokens",
    ),
)

TASKS = (UD_DEPREL,)
