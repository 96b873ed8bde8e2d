"""Bitext retrieval. Tatoeba (Artetxe and Schwenk 2019) in XTREME-R's 41 languages, English query → foreign sentence:
scored raw at the road's end, as XTREME-1 and Phang et al. do, and after SQuAD, as the official XLM-R run of XTREME-R does.
BUCC (Zweigenbaum et al. 2018): the hub gives gold pairs only, without the pool to mine, so these rows give alignment
accuracy; mining F1 is scored where predictions over the pool are given (`xstilts grade`)."""

from dataclasses import replace

from xstilts.tasks.languages import ISO3
from xstilts.tasks.sizes import LASER, infos
from xstilts.tasks.task import Example, Row, Source, Task, text_of

TATOEBA_LANGUAGES = tuple(
    "af ar az bg bn de el es et eu fa fi fr he hi hu id it ja jv ka kk ko lt ml mr nl pl pt ro ru sw ta te th tl tr uk ur vi zh".split()
)


def pair(row: Row, index: int, language: str) -> Example:
    """google/xtreme's source_sentence (foreign) and target_sentence (English), or mteb's sentence1 and sentence2."""
    foreign, english = (
        ("source_sentence", "target_sentence") if "source_sentence" in row else ("sentence1", "sentence2")
    )
    return Example(id=str(index), text=text_of(row, foreign), text_pair=text_of(row, english))


#: 1,000 pairs a language, but of these fewer.
_FEWER = {"jv": 205, "te": 234, "ta": 307, "sw": 390, "th": 548, "kk": 575, "ml": 687, "ka": 746}

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
    sizes={f"test:{code}": _FEWER.get(code, 1_000) for code in TATOEBA_LANGUAGES},
    sizes_source=f"{infos('xtreme')}; az lt pl ro uk: {LASER}",
)  # fmt: skip

TATOEBA_SQUAD = replace(
    TATOEBA, name="tatoeba_squad", title="Tatoeba (after SQuAD)", trained_target=("squad",)
)
BUCC = Task(
    name="bucc", title="BUCC 2018 gold pairs (XTREME)", role="evaluation", format="retrieval", modality="text",
    splits={"test": Source("google/xtreme", "bucc18.{language}", "test")}, to_example=pair,
    languages=("de", "fr", "ru", "zh"), metrics=("retrieval_accuracy",), trained_target=(), licence="research use",
    citation="Zweigenbaum et al. 2018",
    sizes={"test:de": 9_580, "test:fr": 9_086, "test:ru": 14_435, "test:zh": 1_899},
    sizes_source=infos("xtreme"),
)  # fmt: skip

TASKS = (TATOEBA, TATOEBA_SQUAD, BUCC)
