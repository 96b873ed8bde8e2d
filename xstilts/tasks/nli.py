"""Sentence pairs: SNLI (Bowman et al. 2015), ANLI (Nie et al. 2020), MultiNLI (Williams et al.
2018) and QQP as training data, XNLI (Conneau et al. 2018) and PAWS-X (Yang et al. 2019) as targets.
NLI labels: entailment, neutral, contradiction.
"""

from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.sizes import infos
from xstilts.tasks.span import passage_name
from xstilts.tasks.task import Example, Row, Source, Task, text_of

LABELS = ("entailment", "neutral", "contradiction")
#: SNLI's and MultiNLI's own files have `-` where the annotators did not agree, ANLI's the first
#: letters.
LABEL = LabelColumn(
    "label", LABELS, {"-": "", "e": "entailment", "n": "neutral", "c": "contradiction"}
)
INSTRUCTION = "Entailment, neutral or contradiction?"
XNLI_LANGUAGES = (
    "ar",
    "bg",
    "de",
    "el",
    "en",
    "es",
    "fr",
    "hi",
    "ru",
    "sw",
    "th",
    "tr",
    "ur",
    "vi",
    "zh",
)
QQP_LABEL = LabelColumn("label", ("different", "duplicate"), {"not_duplicate": "different"})
PAWS_LABEL = LabelColumn("label", ("different", "paraphrase"))
PAWSX_LANGUAGES = ("de", "en", "es", "fr", "ja", "ko", "zh")


def pair(row: Row, index: int, language: str) -> Example | None:
    """premise, hypothesis, label; label -1 (no gold) drops the row. The hypotheses of one
    premise are one cluster.
    """
    label = LABEL.id_of(row["label"])
    if label is None:
        return None
    premise = text_of(row, "premise")
    return Example(
        id=str(row.get("uid") or index),
        text=premise,
        text_pair=text_of(row, "hypothesis"),
        label=label,
        cluster=passage_name(premise),
    )


def questions(row: Row, index: int, language: str) -> Example | None:
    """question1, question2, label (1: duplicates); -1 (the hidden test) drops the row."""
    label = QQP_LABEL.id_of(row["label"])
    if label is None:
        return None
    return Example(
        id=str(row.get("idx", index)),
        text=text_of(row, "question1"),
        text_pair=text_of(row, "question2"),
        label=label,
    )


def paraphrase(row: Row, index: int, language: str) -> Example:
    """id, sentence1, sentence2, label (1: paraphrases)."""
    return Example(
        id=str(row.get("id", index)),
        text=text_of(row, "sentence1"),
        text_pair=text_of(row, "sentence2"),
        label=PAWS_LABEL.id_of(row["label"]),
    )


def _source(
    path: str, config: str | None, split: str, *alternatives: Source, plus: tuple[Source, ...] = ()
) -> Source:
    return Source(path, config, split, alternatives=alternatives, plus=plus)


def _mnli(train: str) -> Source:
    return _source("nyu-mll/glue", "mnli", train, _source("nyu-mll/multi_nli", "default", train))


_SNLI = {
    split: _source("stanfordnlp/snli", "plain_text", split) for split in ("train", "validation")
}
_ANLI = {
    split: _source(
        "facebook/anli", "plain_text", "+".join(f"{split}_r{number}" for number in (1, 2, 3))
    )
    for split in ("train", "dev")
}


def _task(
    name: str,
    title: str,
    licence: str,
    citation: str,
    sizes: dict[str, int],
    source: str,
    **splits: Source,
) -> Task:
    return Task(
        name=name,
        title=title,
        role="target" if name == "mnli" else "intermediate",
        format="classification",
        modality="text",
        splits=splits,
        to_example=pair,
        objectives=("head", "lm"),
        labels=LABELS,
        verbalised=LABELS,
        instruction=INSTRUCTION,
        metrics=("accuracy",),
        licence=licence,
        citation=citation,
        sizes=sizes,
        sizes_source=source,
        label_column=LABEL,
        overlap={"mnli": "same-data" if name in ("mnli", "anli_plus") else "same-format"},
    )


SNLI = _task(
    "snli",
    "SNLI",
    "cc-by-sa-4.0",
    "Bowman et al. 2015",
    {"train": 550_152, "select": 10_000},
    infos("snli"),
    train=_SNLI["train"],
    select=_SNLI["validation"],
)
ANLI = _task(
    "anli",
    "ANLI rounds 1-3",
    "cc-by-nc-4.0",
    "Nie et al. 2020",
    {"train": 162_865, "select": 3_200},
    infos("anli"),
    train=_ANLI["train"],
    select=_ANLI["dev"],
)
MNLI = _task(
    "mnli",
    "MultiNLI",
    "oanc, cc-by-sa-3.0, mit",
    "Williams et al. 2018",
    {"train": 392_702, "select": 9_815},
    infos("glue"),
    train=_mnli("train"),
    select=_mnli("validation_matched"),
)
#: Phang et al.: the three sets under one head, drawn in proportion to their rows; here they are one
#: set of rows.
ANLI_PLUS = _task(
    "anli_plus",
    "ANLI+ (SNLI, MultiNLI, ANLI)",
    "cc-by-sa-4.0; oanc, cc-by-sa-3.0, mit; cc-by-nc-4.0",
    "Phang et al. 2020",
    {"train": 550_152 + 392_702 + 162_865, "select": 10_000 + 9_815 + 3_200},
    infos("snli", "glue", "anli"),
    train=_source("stanfordnlp/snli", "plain_text", "train", plus=(_mnli("train"), _ANLI["train"])),
    select=_source(
        "stanfordnlp/snli",
        "plain_text",
        "validation",
        plus=(_mnli("validation_matched"), _ANLI["dev"]),
    ),
)
QQP = Task(
    name="qqp",
    title="Quora Question Pairs",
    role="intermediate",
    format="classification",
    modality="text",
    splits={
        "train": _source("nyu-mll/glue", "qqp", "train"),
        "select": _source("nyu-mll/glue", "qqp", "validation"),
    },
    to_example=questions,
    objectives=("head", "lm"),
    labels=QQP_LABEL.labels,
    label_column=QQP_LABEL,
    verbalised=("no", "yes"),
    instruction="Do these ask the same?",
    metrics=("accuracy", "binary_f1"),
    licence="Quora's terms",
    citation="Iyer et al. 2017",
    sizes={"train": 363_846, "select": 40_430},
    sizes_source=infos("glue"),
    overlap={"paws_en": "same-format"},
)
XNLI = Task(
    name="xnli",
    title="XNLI",
    role="evaluation",
    format="classification",
    modality="text",
    to_example=pair,
    splits={"test": _source("facebook/xnli", "{language}", "test")},
    languages=XNLI_LANGUAGES,
    labels=LABELS,
    label_column=LABEL,
    metrics=("accuracy",),
    trained_target=("mnli",),
    licence="cc-by-nc-4.0",
    citation="Conneau et al. 2018",
    sizes={"test": 5_010},
    sizes_source=infos("xnli"),
    parallel="row",  # the files of all languages have the same lines
)


def _paws(language: str, split: str) -> Source:
    """Without google/xtreme's copy behind it: that is filtered (49,175 training rows), and the
    two do not mix.
    """
    return _source("google-research-datasets/paws-x", language, split)


PAWS_EN = Task(
    name="paws_en",
    title="PAWS English",
    role="target",
    format="classification",
    modality="text",
    overlap={"paws_en": "same-data"},
    splits={"train": _paws("en", "train"), "select": _paws("en", "validation")},
    to_example=paraphrase,
    objectives=("head", "lm"),
    labels=PAWS_LABEL.labels,
    label_column=PAWS_LABEL,
    verbalised=("no", "yes"),
    instruction="Do these say the same?",
    metrics=("accuracy",),
    licence="free use with attribution",
    citation="Zhang et al. 2019",
    sizes={"train": 49_401, "select": 2_000},
    sizes_source=infos("paws-x"),
)
PAWSX = Task(
    name="pawsx",
    title="PAWS-X (XTREME)",
    role="evaluation",
    format="classification",
    modality="text",
    splits={"test": _paws("{language}", "test")},
    to_example=paraphrase,
    languages=PAWSX_LANGUAGES,
    labels=PAWS_LABEL.labels,
    label_column=PAWS_LABEL,
    metrics=("accuracy",),
    trained_target=("paws_en",),
    licence="free use with attribution",
    citation="Yang et al. 2019",
    sizes={"test": 2_000},
    sizes_source=infos("paws-x"),
    parallel="id",
)

TASKS = (SNLI, ANLI, MNLI, ANLI_PLUS, QQP, XNLI, PAWS_EN, PAWSX)
