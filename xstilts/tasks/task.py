"""What a task is: a frozen record of a data set in one role. A benchmark is data, not a subclass.

Each file in `xstilts/tasks/benchmarks/` defines `TASKS`, a tuple of Task records; so does a private
task file (docs/adding-a-task.md).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, Literal

from xstilts.input_files import named
from xstilts.tasks.labels import LabelColumn

Role = Literal["intermediate", "target", "evaluation"]
Format = Literal[
    "classification",
    "multiple_choice",
    "tagging",
    "span",
    "generation",
    "retrieval",
    "ranking",
    "mining",
]
Modality = Literal["text", "image"]
Objective = Literal["head", "lm"]
Overlap = Literal["same-data", "same-format", "unrelated"]
Row = Mapping[str, Any]
#: From the most distant to the closest.
OVERLAPS: tuple[Overlap, ...] = ("unrelated", "same-format", "same-data")
#: The image conditions (data/image_conditions.py) that show pixels; `removed` and `caption` do not.
SHOWN = ("real", "blank", "shuffled")


def text_of(row: Row, column: str) -> str:
    """The text in a column. KeyError for a missing column, ValueError for null or another type."""
    return _text(row[column], column)


def texts_of(row: Row, column: str) -> tuple[str, ...]:
    """The texts in a column of lists. KeyError and ValueError as in text_of."""
    if not isinstance(row[column], list | tuple):
        raise ValueError(f"{column} must be a list, not {named(row[column])}")
    return tuple(_text(item, column) for item in row[column])


def _text(value: Any, column: str) -> str:
    if value is None:
        raise ValueError(f"{column} is null")
    if not isinstance(value, str):
        raise ValueError(f"{column} must be text, not {named(value)}")
    return value


@dataclass(frozen=True)
class Source:
    """The location of a split's rows: a hub id (also the path inside a mirror), config and split.

    config and split may contain `{language}`.

    Attributes:
        names: language code → what replaces `{language}` (udpos.{Swahili}, tatoeba.{swh}).
        alternatives: tried in order when this source is absent; the first that exists is used and
            recorded.
        plus: further sources whose rows follow (ANLI+); all of them must exist.
        field: the key of the rows in a JSON file.
        pictures: a source whose `image` belongs to the row whose `id` a row names in `pictures_key`
            (GQA).
        each: read all languages as one split.
        files: file names, for data without hub tables (BUCC's pools).
        id_prefixes: for one file with all languages: language → what precedes the hyphen in its
            rows' ids. A language that is not listed has its own code as prefix.
    """

    path: str
    config: str | None
    split: str
    names: Mapping[str, str] = dataclass_field(default_factory=dict)
    alternatives: tuple["Source", ...] = ()
    plus: tuple["Source", ...] = ()
    field: str | None = None
    pictures: "Source | None" = None
    pictures_key: str = ""
    each: bool = False
    files: tuple[str, ...] = ()
    id_prefixes: Mapping[str, str] = dataclass_field(default_factory=dict)

    @property
    def by_language(self) -> bool:
        """Whether each language has rows of its own, so that a mirror can lack some languages."""
        return "{language}" in f"{self.config}{self.split}" or bool(self.id_prefixes)

    def config_for(self, language: str) -> str | None:
        return (
            self.config.format(language=self.names.get(language, language)) if self.config else None
        )

    def split_for(self, language: str) -> str:
        return self.split.format(language=self.names.get(language, language))

    def files_for(self, language: str) -> tuple[str, ...]:
        return tuple(
            name.format(language=self.names.get(language, language)) for name in self.files
        )


@dataclass(frozen=True)
class Example:
    """The canonical record. Each format uses some of the fields; the others stay empty.

    | format | fields |
    |---|---|
    | classification | text, text_pair?, label, images? |
    | multiple_choice | text, question?, choices, label, images? |
    | tagging | tokens, tags (names) |
    | span | question, text (context), answers ((text, start), …) |
    | generation | text (prompt, may be empty), targets (the first is trained on), images? |
    | retrieval | text (foreign side), text_pair (English side) |
    | ranking | text; a query names its answers in `relevant`, a candidate has a `candidate` name. \
In training, text_pair is the candidate that answers the query |
    | mining | text, of either side of a pool; `relevant` of a foreign sentence names its \
translations in the gold standard |

    Attributes:
        id: the data set's own id. It may be missing or repeated. It is written out and identifies
            nothing: a row is identified by its position in records.parquet.
        candidate: the name of a sentence or entity of a pool; empty for all other rows.
        parallel: equal for the translations of one example; set by the task's `parallel`.
        cluster: passage, premise or image that groups examples of one language. They are resampled
            together.
        images: encoded bytes as in the source.
        caption: words that describe the images, where the source has them.
        flaw: why an example of a row with several cannot be used.
    """

    id: str
    text: str = ""
    text_pair: str | None = None
    question: str | None = None
    choices: tuple[str, ...] = ()
    label: int | None = None
    tokens: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    answers: tuple[tuple[str, int], ...] = ()
    targets: tuple[str, ...] = ()
    images: tuple[bytes, ...] = ()
    cluster: str = ""
    relevant: tuple[str, ...] = ()
    caption: str = ""
    flaw: str = ""
    candidate: str = ""
    parallel: str = ""


#: What a reader raises for a row that cannot be used.
UNUSABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


def each(entries: Iterable[Any], make: Callable[[int, Any], Example]) -> list[Example]:
    """The examples of a row with several, made from (number, entry).

    An entry that cannot be read becomes an example with a `flaw`: it is reported as a bad row, and
    the others are kept.
    """
    examples = []
    for number, entry in enumerate(entries):
        try:
            examples.append(make(number, entry))
        except UNUSABLE as error:
            examples.append(Example(id=str(number), flaw=f"{type(error).__name__}: {error}"))
    return examples


@dataclass(frozen=True)
class RecipeRow:
    """Where a task's recipe differs from that of its format.

    Attributes:
        recipes: the recipe set (`xtreme_r`, `phang_2020`, `vlm`, `miniature`). `vlm` inherits the
            row of `xtreme_r`, except its rate.
        changes: recipe key → value.
        families: the backbone families that the row applies to; empty: all.
    """

    recipes: str
    changes: Mapping[str, Any]
    families: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowEstimate:
    """Means of training rows, or of an evaluation's test rows, for the cost estimate of a plan.

    Tokens are those of Qwen2's tokenizer; `python -m xstilts.mirror.row_lengths` measures them.

    Attributes:
        text: Text tokens with a head, in all sequences of the row; of a task without heads, under
            `lm`.
        segments: Sequences that are read apart: choices, or the two texts of a pair.
        windows: Encoded rows of a row: windows of a long text.
        lm: Text tokens under `lm`, with the answer; 0: those of `text`.
        answer: Supervised tokens under `lm`; 0: all.
        images: Images of a row. Their tokens depend on the backbone.
        rows: Number of rows, where `sizes` does not have it.
        source: Where the means come from.
    """

    text: float
    segments: float = 1.0
    windows: float = 1.0
    lm: float = 0.0
    answer: float = 0.0
    images: float = 0.0
    rows: int | None = None
    source: str = ""


@dataclass(frozen=True)
class Task:
    """One data set in one role.

    `to_example(row, index, language)` is pure. It returns an Example; several, for a row that holds
    several; None, to drop the row by rule (no gold label); or raises ValueError with the name of
    the bad field.

    Attributes:
        splits: `train`, `select` (English dev); `test` of an evaluation; `text` of a text corpus or
            a pool.
        labels: class or tag names in the order of their ids. Empty for tagging: the sorted tags of
            the training rows (CCG).
        label_column: the column whose classes are read by name.
        verbalised: the words of each class for the objective `lm`.
        instruction: what `lm` puts after the input.
        metrics: the first is the official one.
        trained_target: of an evaluation, the target tasks that are trained in turn; () for none.
        pool: the task with a ranking's candidates, where they are not among its own rows.
        parallel: what is equal for the translations of one example: the data set's `id`, the `row`
            number of the source, or nothing.
        captioned: the examples have captions, which can replace their images.
        licensed: how to get a data set whose licence forbids copies. Without it the task is skipped
            and reported.
        overlap: trained target → how close the training data is to it; missing: unrelated.
        sizes: split → rows, or `test:<language>` → rows, as `sizes_source` states them.
        estimate: input of the cost estimate; None: the cost of a plan with this task is a lower
            bound.
        recipes: where the recipe differs from the one of the format.
        seen_by: published training mixture (exposure.py) → what of this task it contains: the
            `data`, or the `photographs` under other texts.
        maybe_seen_by: published training mixture → why it is unknown whether it contains this task.
        file_sha256: of the private file that defines the task; empty for a shipped task.
    """

    name: str
    title: str
    role: Role
    format: Format
    modality: Modality
    splits: Mapping[str, Source]
    to_example: Callable[[Row, int, str], Example | Sequence[Example] | None]
    languages: tuple[str, ...] = ("en",)
    objectives: tuple[Objective, ...] = ("head",)
    labels: tuple[str, ...] = ()
    label_column: LabelColumn | None = None
    verbalised: tuple[str, ...] = ()
    instruction: str = ""
    metrics: tuple[str, ...] = ()
    trained_target: tuple[str, ...] | None = None
    pool: str = ""
    parallel: Literal["", "id", "row"] = ""
    captioned: bool = False
    licence: str = ""
    licensed: str = ""
    citation: str = ""
    overlap: Mapping[str, Overlap] = dataclass_field(default_factory=dict)
    sizes: Mapping[str, int] = dataclass_field(default_factory=dict)
    sizes_source: str = ""
    estimate: RowEstimate | None = None
    recipes: tuple[RecipeRow, ...] = ()
    seen_by: Mapping[str, Literal["data", "photographs"]] = dataclass_field(default_factory=dict)
    maybe_seen_by: Mapping[str, str] = dataclass_field(default_factory=dict)
    file_sha256: str = ""

    def rows(self, split: str, language: str) -> int | None:
        """Rows of a split in a language for the cost estimate; None where nothing states them."""
        estimated = "test" if self.role == "evaluation" else "train"
        if self.estimate is not None and self.estimate.rows is not None and split == estimated:
            return self.estimate.rows
        size = self.sizes.get(f"{split}:{language}", self.sizes.get(split))
        if size is not None:
            return size
        known = [rows for name, rows in self.sizes.items() if name.startswith(f"{split}:")]
        return sum(known) // len(known) if known else None


def closeness(task: Task, target: str) -> Overlap:
    """How close a task's training data is to a trained target's."""
    return "same-data" if task.name == target else task.overlap.get(target, "unrelated")
