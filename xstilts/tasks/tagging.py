"""Tagging: universal part-of-speech tags (Universal Dependencies, XTREME-R's 38 languages) and
WikiANN / PAN-X named entities (Pan et al. 2017, 48 languages); English trains, the other
languages are tagged zero-shot. CCG supertags (Hockenmaier and Steedman 2007) as an intermediate
task, read from the user's own licensed copy, and UD dependency labels as a public stand-in under
their own name.
"""

from functools import partial

from xstilts.tasks import sizes
from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.languages import UD_NAMES
from xstilts.tasks.task import Example, Row, Source, Task, texts_of

#: The order of google/xtreme's class_label `pos_tags`.
UPOS = tuple(
    "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split()
)
#: The order of unimelb-nlp/wikiann's class_label `ner_tags`.
NER = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")


#: UD writes `_` where a form has no tag; such a sentence is a bad row.
POS_TAGS = LabelColumn("pos_tags", UPOS, {"_": ""})
NER_TAGS = LabelColumn("ner_tags", NER)


def named(column: str, row: Row, index: int, language: str) -> Example:
    """tokens and their tags by name; the set of tags is that of the training rows."""
    tokens, tags = texts_of(row, "tokens"), texts_of(row, column)
    if len(tokens) != len(tags) or not tokens:
        raise ValueError(f"{len(tokens)} tokens and {len(tags)} tags")
    if "" in tags:
        raise ValueError("a tag is empty")
    return Example(id=str(index), tokens=tokens, tags=tags)


def tagged(tags: LabelColumn, row: Row, index: int, language: str) -> Example:
    """tokens and their tags, by id or name; in PAN-X's raw files tokens carry a language prefix,
    which the hub has stripped.
    """
    ids = tags.ids_of(row[tags.column])
    tokens = texts_of(row, "tokens")
    if len(tokens) != len(ids) or not tokens:
        raise ValueError(f"{len(tokens)} tokens and {len(ids)} tags")
    return Example(id=str(index), tokens=tokens, tags=tuple(tags.labels[tag] for tag in ids))


POS_LANGUAGES = tuple(
    "af ar bg de el en es et eu fa fi fr he hi hu id it ja kk ko lt mr nl pl pt ro ru ta te th tl tr uk ur vi wo yo zh".split()
)
NER_LANGUAGES = tuple(
    (
        "af ar az bg bn de el en es et eu fa fi fr gu he hi hu id it ja jv ka kk ko lt ml mr ms my nl pa pl pt qu ro ru sw "
        "ta te th tl tr uk ur vi yo zh"
    ).split()
)


#: Where XTREME-R takes a language's treebanks from: release 2.7 for the languages that it adds to
#: XTREME's.
UD_RELEASES = {
    code: f"ud-treebanks-v{'2.7' if code in 'lt pl ro uk wo'.split() else '2.5'}/{code}"
    for code in POS_LANGUAGES
}


def _ud(split: str) -> Source:
    """The treebanks, converted as officially, where the mirror has them; else the hub's copies,
    which give syntactic words.
    """
    return Source(
        "universal-dependencies", "{language}", split, names=UD_RELEASES,
        alternatives=(
            Source("google/xtreme", "udpos.{language}", split, names=UD_NAMES),
            Source("izhx/xtreme-r-udpos", "{language}", split),
        ),
    )  # fmt: skip


def _panx(split: str) -> Source:
    return Source(
        "unimelb-nlp/wikiann",
        "{language}",
        split,
        alternatives=(Source("google/xtreme", "PAN-X.{language}", split),),
    )


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
    instruction="Parts of speech:",
    labels=UPOS,
    licence="per treebank",
    metrics=("udpos_f1", "token_accuracy", "macro_f1"),
    citation="Nivre et al. 2018",
    overlap={"ud_en": "same-data"},
    sizes={"train": 21_253, "select": 3_974},
    sizes_source=sizes.infos("xtreme"),
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
    sizes=sizes.UDPOS_TEST,
    sizes_source=sizes.UDPOS_SOURCE,
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
    instruction="Names:",
    labels=NER,
    metrics=("ner_f1",),
    licence="derived from Wikipedia; unstated",
    citation="Pan et al. 2017",
    overlap={"panx_en": "same-data"},
    sizes={"train": 20_000, "select": 10_000},
    sizes_source=sizes.infos("wikiann"),
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
    sizes=sizes.wikiann_test(NER_LANGUAGES),
    sizes_source=sizes.infos("wikiann"),
)

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
    citation="Hockenmaier and Steedman 2007",
    overlap={"ud_en": "same-format", "panx_en": "same-format"},
    licensed="CCGbank is licensed (LDC2005T13): set CCGBANK_DIR to your own copy",
)
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
    sizes_source=sizes.UD_TREEBANKS,
)

TASKS = (UD_EN, UDPOS, PANX_EN, WIKIANN, CCG, UD_DEPREL)
