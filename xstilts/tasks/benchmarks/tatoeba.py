"""Tatoeba (Artetxe and Schwenk 2019) in XTREME-R's 41 languages: an English query finds its
translation.

`tatoeba` is scored without a trained target, as in XTREME-1 and Phang et al.; `tatoeba_squad` after
SQuAD, as in the official XLM-R run of XTREME-R.
"""

from dataclasses import replace

from xstilts.tasks.bitext_rows import bitext
from xstilts.tasks.languages import ISO3
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import RowEstimate, Source, Task

TATOEBA_LANGUAGES = tuple(
    (
        "af ar az bg bn de el es et eu fa fi fr he hi hu id it ja jv ka kk ko lt ml mr "
        "nl pl pt ro ru sw ta te th tl tr uk ur vi zh"
    ).split()
)


#: 1,000 pairs a language, but of these fewer.
_FEWER = {"jv": 205, "te": 234, "ta": 307, "sw": 390, "th": 548, "kk": 575, "ml": 687, "ka": 746}


_LASER = "facebookresearch/LASER 74bc6ae7ffb7, data/tatoeba/v1 (lines)"

TATOEBA = Task(
    name="tatoeba",
    title="Tatoeba (raw encoder)",
    role="evaluation",
    format="retrieval",
    modality="text",
    splits={
        "test": Source(
            "mteb/tatoeba-bitext-mining",
            "{language}-eng",
            "test",
            names=ISO3,
            alternatives=(Source("google/xtreme", "tatoeba.{language}", "validation", names=ISO3),),
        )
    },
    to_example=bitext,
    languages=TATOEBA_LANGUAGES,
    metrics=("retrieval_accuracy",),
    trained_target=(),
    licence="cc-by-2.0",
    citation="Artetxe and Schwenk 2019",
    sizes={f"test:{code}": _FEWER.get(code, 1_000) for code in TATOEBA_LANGUAGES},
    sizes_source=f"{infos('xtreme')}; az lt pl ro uk: {_LASER}",
    estimate=RowEstimate(
        text=26.9,
        segments=2,
        source="measured: 12,139 rows of validation in 41 languages",
    ),
)


TATOEBA_SQUAD = replace(
    TATOEBA, name="tatoeba_squad", title="Tatoeba (after SQuAD)", trained_target=("squad",)
)

TASKS = (TATOEBA, TATOEBA_SQUAD)
