"""Bitext retrieval. Tatoeba (Artetxe and Schwenk 2019) in XTREME-R's 41 languages, English query
→ foreign sentence: scored raw at the road's end, as XTREME-1 and Phang et al. do, and after
SQuAD, as the official XLM-R run of XTREME-R does. BUCC (Zweigenbaum et al. 2018) twice: the
hub's gold pairs without the pool to mine give alignment accuracy (`bucc`); the shared task's own
pools, where the mirror has them, give the mining F1 of XTREME (`bucc_mining`).
"""

from dataclasses import replace

from xstilts.tasks.languages import ISO3
from xstilts.tasks.sizes import LASER, infos
from xstilts.tasks.task import Example, Row, Source, Task, text_of

TATOEBA_LANGUAGES = tuple(
    "af ar az bg bn de el es et eu fa fi fr he hi hu id it ja jv ka kk ko lt ml mr nl pl pt ro ru sw ta te th tl tr uk ur vi zh".split()
)


def pair(row: Row, index: int, language: str) -> Example:
    """google/xtreme's source_sentence (foreign) and target_sentence (English), or mteb's
    sentence1 and sentence2.
    """
    foreign, english = (
        ("source_sentence", "target_sentence")
        if "source_sentence" in row
        else ("sentence1", "sentence2")
    )
    return Example(id=str(index), text=text_of(row, foreign), text_pair=text_of(row, english))


#: 1,000 pairs a language, but of these fewer.
_FEWER = {"jv": 205, "te": 234, "ta": 307, "sw": 390, "th": 548, "kk": 575, "ml": 687, "ka": 746}

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
    to_example=pair,
    languages=TATOEBA_LANGUAGES,
    metrics=("retrieval_accuracy",),
    trained_target=(),
    licence="cc-by-2.0",
    citation="Artetxe and Schwenk 2019",
    sizes={f"test:{code}": _FEWER.get(code, 1_000) for code in TATOEBA_LANGUAGES},
    sizes_source=f"{infos('xtreme')}; az lt pl ro uk: {LASER}",
)

TATOEBA_SQUAD = replace(
    TATOEBA, name="tatoeba_squad", title="Tatoeba (after SQuAD)", trained_target=("squad",)
)
BUCC = Task(
    name="bucc",
    title="BUCC 2018 gold pairs (XTREME)",
    role="evaluation",
    format="retrieval",
    modality="text",
    splits={"test": Source("google/xtreme", "bucc18.{language}", "test")},
    to_example=pair,
    languages=("de", "fr", "ru", "zh"),
    metrics=("retrieval_accuracy",),
    trained_target=(),
    licence="research use",
    citation="Zweigenbaum et al. 2018",
    sizes={"test:de": 9_580, "test:fr": 9_086, "test:ru": 14_435, "test:zh": 1_899},
    sizes_source=infos("xtreme"),
)


def sentence(row: Row, index: int, language: str) -> Example:
    """part (dev or test), id, text, answers: a sentence of either side of a pool. Its id here is
    `<part>/<id>`; an English sentence is a candidate.
    """
    name, part = text_of(row, "id"), text_of(row, "part")
    return Example(
        id=f"{part}/{name}",
        text=text_of(row, "text"),
        relevant=tuple(f"{part}/{answer}" for answer in row["answers"]),
        candidate=f"{part}/{name}" if name.startswith("en-") else "",
    )


def _pool_files(part: str) -> tuple[str, ...]:
    return tuple(f"{{language}}-en.{part}.{side}" for side in ("{language}", "en", "gold"))


#: As the shared task's archives unpack (bucc2018-<language>-en.{sample,training}-gold). Its sample
#: is XTREME's dev, where the threshold is chosen, and its training part XTREME's test
#: (download_data.sh, download_bucc18, commit 0918248).
BUCC_MINING = Task(
    name="bucc_mining",
    title="BUCC 2018 mining (XTREME)",
    role="evaluation",
    format="mining",
    modality="text",
    splits={
        "test": Source(
            "bucc2018",
            "{language}-en",
            "training",
            files=(*_pool_files("sample"), *_pool_files("training")),
        )
    },
    to_example=sentence,
    languages=("de", "fr", "ru", "zh"),
    metrics=("bucc_f1", "bucc_precision", "bucc_recall"),
    trained_target=(),
    licence="research use",
    citation="Zweigenbaum et al. 2018",
)

TASKS = (TATOEBA, TATOEBA_SQUAD, BUCC, BUCC_MINING)
