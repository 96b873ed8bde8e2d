"""PAWS (Zhang et al. 2019) in English and PAWS-X (Yang et al. 2019): is a sentence a paraphrase of
another?

google/xtreme has a filtered copy (49,175 training rows). It is not an alternative: the two must not
mix.
"""

from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import Example, RecipeRow, Row, RowEstimate, Source, Task, text_of

PAWS_LABEL = LabelColumn("label", ("different", "paraphrase"))


def paraphrase(row: Row, index: int, language: str) -> Example:
    """id, sentence1, sentence2, label (1: paraphrases)."""
    return Example(
        id=str(row.get("id", index)),
        text=text_of(row, "sentence1"),
        text_pair=text_of(row, "sentence2"),
        label=PAWS_LABEL.id_of(row["label"]),
    )


PAWS_EN = Task(
    name="paws_en",
    title="PAWS English",
    role="target",
    format="classification",
    modality="text",
    splits={
        "train": Source("google-research-datasets/paws-x", "en", "train"),
        "select": Source("google-research-datasets/paws-x", "en", "validation"),
    },
    to_example=paraphrase,
    label_column=PAWS_LABEL,
    objectives=("head", "lm"),
    labels=PAWS_LABEL.labels,
    verbalised=("no", "yes"),
    instruction="Do these say the same?",
    metrics=("accuracy",),
    licence="free use with attribution",
    citation="Zhang et al. 2019",
    overlap={"paws_en": "same-data"},
    sizes={"train": 49_401, "select": 2_000},
    sizes_source=infos("paws-x"),
    estimate=RowEstimate(
        text=56,
        lm=64,
        answer=2.5,
        source="two sentences of 21 words (Zhang et al. 2019), instruction as of snli",
    ),
    recipes=(
        RecipeRow("xtreme_r", {"lr": 2e-5, "selection": 200}),
        RecipeRow("phang_2020", {"epochs": 5}),
    ),
)


PAWSX = Task(
    name="pawsx",
    title="PAWS-X (XTREME)",
    role="evaluation",
    format="classification",
    modality="text",
    splits={"test": Source("google-research-datasets/paws-x", "{language}", "test")},
    to_example=paraphrase,
    label_column=PAWS_LABEL,
    languages=("de", "en", "es", "fr", "ja", "ko", "zh"),
    labels=PAWS_LABEL.labels,
    metrics=("accuracy",),
    trained_target=("paws_en",),
    parallel="id",
    licence="free use with attribution",
    citation="Yang et al. 2019",
    sizes={"test": 2_000},
    sizes_source=infos("paws-x"),
    estimate=RowEstimate(
        text=86,
        source="as paws_en, and longer in other languages as XNLI is against MNLI",
    ),
)

TASKS = (PAWS_EN, PAWSX)
