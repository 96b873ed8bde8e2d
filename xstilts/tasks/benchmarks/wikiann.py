"""WikiANN or PAN-X (Pan et al. 2017): named entities; English trains, 48 languages are tagged
zero-shot.
"""

from functools import partial

from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.sizes import infos
from xstilts.tasks.tag_rows import tagged
from xstilts.tasks.task import RecipeRow, RowEstimate, Source, Task

#: 10,000 sentences, but of these languages fewer.
_SMALL_TESTS = {
    **dict.fromkeys("af az bn hi kk ml mr ms sw ta te tl ur".split(), 1_000),
    **dict.fromkeys("gu jv my pa qu yo".split(), 100),
}

#: The order of unimelb-nlp/wikiann's class_label `ner_tags`.
NER = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")


NER_TAGS = LabelColumn("ner_tags", NER)


NER_LANGUAGES = tuple(
    (
        "af ar az bg bn de el en es et eu fa fi fr gu he hi hu id it ja jv ka kk ko lt ml mr ms my "
        "nl pa pl pt qu ro ru sw ta te th tl tr uk ur vi yo zh"
    ).split()
)


def _panx(split: str) -> Source:
    return Source(
        "unimelb-nlp/wikiann",
        "{language}",
        split,
        alternatives=(Source("google/xtreme", "PAN-X.{language}", split),),
    )


PANX_EN = Task(
    name="panx_en",
    title="WikiANN English",
    role="target",
    format="tagging",
    modality="text",
    splits={"train": _panx("train"), "select": _panx("validation")},
    to_example=partial(tagged, NER_TAGS),
    label_column=NER_TAGS,
    objectives=("head", "lm"),
    labels=NER,
    instruction="Names:",
    metrics=("ner_f1",),
    licence="derived from Wikipedia; unstated",
    citation="Pan et al. 2017",
    overlap={"panx_en": "same-data"},
    sizes={"train": 20_000, "select": 10_000},
    sizes_source=infos("wikiann"),
    estimate=RowEstimate(
        text=13.4,
        lm=31.7,
        answer=17.3,
        source="measured: 300 rows of train",
    ),
    recipes=(RecipeRow("xtreme_r", {"selection": 1000}),),
)


WIKIANN = Task(
    name="wikiann",
    title="WikiANN-NER",
    role="evaluation",
    format="tagging",
    modality="text",
    splits={"test": _panx("test")},
    to_example=partial(tagged, NER_TAGS),
    label_column=NER_TAGS,
    languages=NER_LANGUAGES,
    labels=NER,
    metrics=("ner_f1",),
    trained_target=("panx_en",),
    licence="derived from Wikipedia; unstated",
    citation="Pan et al. 2017",
    sizes={f"test:{code}": _SMALL_TESTS.get(code, 10_000) for code in NER_LANGUAGES},
    sizes_source=infos("wikiann"),
    estimate=RowEstimate(
        text=27.3,
        windows=1.02,
        source="measured: 12,900 rows of validation in 47 languages",
    ),
)

TASKS = (PANX_EN, WIKIANN)
