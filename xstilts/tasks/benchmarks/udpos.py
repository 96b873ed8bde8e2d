"""Universal Dependencies (Nivre et al. 2018): part-of-speech tags; English trains, XTREME-R's 38
languages are tagged zero-shot.
"""

from functools import partial

from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.languages import UD_NAMES
from xstilts.tasks.sizes import by_language, infos
from xstilts.tasks.tag_rows import tagged
from xstilts.tasks.task import RowEstimate, Source, Task

#: Sentences of the test files that XTREME-R's scripts make of UD 2.5 and 2.7 (download_data.sh,
#: utils_preprocess.py), counted as blocks of lines in a copy of their output. The hub's copy has
#: other treebanks in de el fr lt ru zh.
TEST_SIZES = by_language(
    """
    af 425 ar 1680 bg 1116 de 22358 el 456 en 5440 es 3147 et 3760 eu 1799 fa 600 fi 4422 fr 5009
    he 491 hi 2684 hu 449 id 1557 it 3518 ja 2372 kk 1047 ko 4276 lt 739 mr 47 nl 1471 pl 4942
    pt 2681 ro 2272 ru 8976 ta 120 te 146 th 1000 tl 55 tr 4785 uk 892 ur 535 vi 800 wo 470 yo 100
    zh 3455
    """
)
TEST_SIZES_SOURCE = (
    "wuhjie/few_shots_that_matters_wu 6bfe6324e428, data/udpos/test-*.tsv (blocks of lines)"
)

#: The order of google/xtreme's class_label `pos_tags`.
UPOS = tuple(
    "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split()
)


#: UD writes `_` for a form without a tag; such a sentence is a bad row.
POS_TAGS = LabelColumn("pos_tags", UPOS, {"_": ""})


POS_LANGUAGES = tuple(
    (
        "af ar bg de el en es et eu fa fi fr he hi hu id it ja kk ko lt mr nl pl pt ro ru ta te th "
        "tl tr uk ur vi wo yo zh"
    ).split()
)


#: XTREME-R takes the treebanks of the languages that it adds to XTREME's from release 2.7.
UD_RELEASES = {
    code: f"ud-treebanks-v{'2.7' if code in 'lt pl ro uk wo'.split() else '2.5'}/{code}"
    for code in POS_LANGUAGES
}


def _ud(split: str) -> Source:
    """The treebanks in their official conversion, if the mirror has them; else the hub's copies,
    which have syntactic words.
    """
    return Source(
        "universal-dependencies", "{language}", split, names=UD_RELEASES,
        alternatives=(
            Source("google/xtreme", "udpos.{language}", split, names=UD_NAMES),
            Source("izhx/xtreme-r-udpos", "{language}", split),
        ),
    )  # fmt: skip


UD_EN = Task(
    name="ud_en",
    title="UD English",
    role="target",
    format="tagging",
    modality="text",
    splits={"train": _ud("train"), "select": _ud("validation")},
    to_example=partial(tagged, POS_TAGS),
    label_column=POS_TAGS,
    objectives=("head", "lm"),
    labels=UPOS,
    instruction="Parts of speech:",
    metrics=("udpos_f1", "token_accuracy", "macro_f1"),
    licence="per treebank",
    citation="Nivre et al. 2018",
    overlap={"ud_en": "same-data"},
    sizes={"train": 21_253, "select": 3_974},
    sizes_source=infos("xtreme"),
    estimate=RowEstimate(
        text=21.6,
        lm=56.8,
        answer=32.2,
        source="measured: 300 rows of train",
    ),
)


UDPOS = Task(
    name="udpos",
    title="UD-POS",
    role="evaluation",
    format="tagging",
    modality="text",
    splits={"test": _ud("test")},
    to_example=partial(tagged, POS_TAGS),
    label_column=POS_TAGS,
    languages=POS_LANGUAGES,
    labels=UPOS,
    metrics=("udpos_f1", "token_accuracy", "macro_f1"),
    trained_target=("ud_en",),
    licence="per treebank",
    citation="Nivre et al. 2018",
    sizes=TEST_SIZES,
    sizes_source=TEST_SIZES_SOURCE,
    estimate=RowEstimate(
        text=43.8,
        windows=1.03,
        source="measured: 10,915 rows of test in 38 languages",
    ),
)

TASKS = (UD_EN, UDPOS)
