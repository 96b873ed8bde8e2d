"""Natural language inference: SNLI (Bowman et al. 2015), ANLI (Nie et al. 2020), MultiNLI (Williams et al. 2018) as
training data, XNLI (Conneau et al. 2018) in 15 languages. Label order in all: entailment, neutral, contradiction."""

from xstilts.tasks.task import Example, Row, Source, Task

LABELS = ("entailment", "neutral", "contradiction")
INSTRUCTION = "Entailment, neutral or contradiction?"


def pair(row: Row, index: int, language: str) -> Example | None:
    """premise, hypothesis, label; label -1 (no gold) drops the row."""
    label = int(row["label"])
    if label == -1:
        return None
    return Example(
        id=str(row.get("uid") or index), text=str(row["premise"]), text_pair=str(row["hypothesis"]), label=label
    )


def _task(name: str, title: str, licence: str, citation: str, role: str = "intermediate", **splits: Source) -> Task:
    return Task(
        name=name, title=title, role=role, format="classification", modality="text", splits=splits, to_example=pair,  # type: ignore[arg-type]
        objectives=("head", "lm"), labels=LABELS, verbalised=LABELS, instruction=INSTRUCTION, metrics=("accuracy",),
        licence=licence, citation=citation, overlap={"mnli": "same-format"},
    )  # fmt: skip


def _source(path: str, config: str | None, split: str, *alternatives: Source) -> Source:
    return Source(path, config, split, alternatives=alternatives)


SNLI = _task(
    "snli", "SNLI", "cc-by-sa-4.0", "Bowman et al. 2015",
    train=_source("stanfordnlp/snli", "plain_text", "train"),
    select=_source("stanfordnlp/snli", "plain_text", "validation"),
)  # fmt: skip
ANLI = _task(
    "anli", "ANLI rounds 1-3", "cc-by-nc-4.0", "Nie et al. 2020",
    train=_source("facebook/anli", "plain_text", "train_r1+train_r2+train_r3"),
    select=_source("facebook/anli", "plain_text", "dev_r1+dev_r2+dev_r3"),
)  # fmt: skip
MNLI = _task(
    "mnli", "MultiNLI", "oanc, cc-by-sa-3.0, mit", "Williams et al. 2018", role="target",
    train=_source("nyu-mll/glue", "mnli", "train", _source("nyu-mll/multi_nli", "default", "train")),
    select=_source("nyu-mll/glue", "mnli", "validation_matched", _source("nyu-mll/multi_nli", "default", "validation_matched")),
)  # fmt: skip
XNLI = Task(
    name="xnli", title="XNLI", role="evaluation", format="classification", modality="text", to_example=pair,
    splits={"test": _source("facebook/xnli", "{language}", "test")},
    languages=("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh"), labels=LABELS, metrics=("accuracy",),
    trained_target=("mnli",), licence="cc-by-nc-4.0", citation="Conneau et al. 2018",
)  # fmt: skip

TASKS = (SNLI, ANLI, MNLI, XNLI)
