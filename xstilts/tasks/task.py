"""What a task is: a frozen record of data, so that a benchmark is a table and not a subclass."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, Literal

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
#: From the farthest to the closest.
OVERLAPS: tuple[Overlap, ...] = ("unrelated", "same-format", "same-data")
#: The rungs of the image ladder (data/ladder.py) that show pixels; `removed` and `caption` do not.
SHOWN = ("real", "blank", "shuffled")


def text_of(row: Row, column: str) -> str:
    """The text in a column. KeyError where the row has no such column, ValueError where it is
    null or no text.
    """
    return _text(row[column], column)


def texts_of(row: Row, column: str) -> tuple[str, ...]:
    """The texts in a column of lists; as text_of."""
    if not isinstance(row[column], list | tuple):
        raise ValueError(f"{column} is no list but {type(row[column]).__name__}")
    return tuple(_text(one, column) for one in row[column])


def _text(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise ValueError(
            f"{column} is {'null' if value is None else f'{type(value).__name__} and no text'}"
        )
    return value


@dataclass(frozen=True)
class Source:
    """Where the rows of one split lie: a hub id (also the path inside a mirror), a config and a
    split.

    config and split may hold `{language}`; `names` maps a language code to what stands there
    (udpos.{Swahili}, tatoeba.{swh}). `alternatives` are tried in order when this one is absent (the
    first that exists wins; which one is recorded). plus: further sources whose rows follow (ANLI+);
    all must be there. field: where the rows lie in a JSON file. id_prefixes: where one file holds
    all languages, language → what comes before the hyphen in its rows' ids (a code that is not
    named: the code itself). files: the names of its files where they are no table of the hub's
    kinds (BUCC's pools). pictures: a source whose `image` belongs to the row whose `id` a row names
    in `pictures_key` (GQA).
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
        """Whether each language has rows of its own here, so that a mirror can hold some
        languages and not others.
        """
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
    """The canonical record. Fields that a format does not use stay empty.

    classification: text, text_pair?, label, images?       multiple_choice: text, question?,
    choices, label, images? tagging: tokens, tags (names)                           span: question,
    text (context), answers ((text, start), …) generation: text (prompt, may be empty), targets
    (references; the first is trained on), images? retrieval: text (foreign side), text_pair
    (English side) mining: text, of either side of a pool; `relevant` of a foreign sentence names
    its translations in the gold standard ranking: text; a query names its answers in `relevant`, a
    candidate has its name in `candidate`. In training text_pair is the candidate that answers the
    query. id: the data set's own id. It may be missing or repeated: it is written out and
    identifies nothing. A row is identified by its position in records.parquet.  candidate: the name
    of a sentence or entity of a pool, empty for all other rows. parallel: equal for the
    translations of one example, empty where the data set has no translations; set by the task's
    `parallel`.  cluster: passage, premise or image that groups examples of one language (resampled
    together). images: encoded bytes as they stand in the source.  caption: words that say what the
    images show, where the source has them.
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
    flaw: str = ""  # why an example of a row with several cannot be used
    candidate: str = ""
    parallel: str = ""


#: What a reader of rows raises for one that cannot be used.
UNUSABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


def each(entries: Iterable[Any], make: Callable[[int, Any], Example]) -> list[Example]:
    """The examples of a row that holds several, made from (number, entry). An entry that cannot
    be read becomes an example with a `flaw`: it is named as a bad row, and the others are kept.
    """
    examples = []
    for number, entry in enumerate(entries):
        try:
            examples.append(make(number, entry))
        except UNUSABLE as error:
            examples.append(Example(id=str(number), flaw=f"{type(error).__name__}: {error}"))
    return examples


@dataclass(frozen=True)
class Task:
    """One data set in one role. `to_example(row, index, language)` is pure: it returns the
    canonical record, None for a row to drop by rule (no gold label), several for a row that holds
    several, or raises ValueError naming the bad field.

    labels: class or tag names in the order of their ids; empty for tagging means that the
    training rows' own set, sorted, is it (CCG). sizes: rows of the official splits (of a test:
    in each language), where a source states them, which is sizes_source; of one language
    `test:<language>`. licensed: whose licence forbids copies; without the user's own the task is
    skipped and named. pool: the task that holds a ranking's candidates where they are not among
    its own rows. captioned: its examples carry captions, which can stand for their pictures.
    parallel: what is equal for the translations of one example in all languages: the data set's
    `id`, the `row` number of the source, or nothing. label_column: the column whose classes are
    read by name.
    """

    name: str
    title: str
    role: Role
    format: Format
    modality: Modality
    splits: Mapping[str, Source]  # train, select (English dev) and, for evaluations, test
    to_example: Callable[[Row, int, str], Example | Sequence[Example] | None]
    languages: tuple[str, ...] = ("en",)
    objectives: tuple[Objective, ...] = ("head",)
    labels: tuple[str, ...] = ()
    verbalised: tuple[str, ...] = ()  # the words of each class for the `lm` objective
    instruction: str = (
        ""  # what `lm` puts after the input, e.g. "entailment, neutral or contradiction?"
    )
    metrics: tuple[str, ...] = ()  # the first is the official one
    trained_target: tuple[str, ...] | None = (
        None  # evaluation: the target tasks trained in turn; () = none
    )
    licence: str = ""
    citation: str = ""
    overlap: Mapping[str, Overlap] = dataclass_field(
        default_factory=dict
    )  # target name → overlap; missing = unrelated
    sizes: Mapping[str, int] = dataclass_field(default_factory=dict)
    sizes_source: str = ""
    licensed: str = ""
    pool: str = ""
    captioned: bool = False
    parallel: Literal["", "id", "row"] = ""
    label_column: LabelColumn | None = None


def closeness(task: Task, target: str) -> Overlap:
    """How close a task's training data is to a trained target's."""
    return "same-data" if task.name == target else task.overlap.get(target, "unrelated")
