"""The hub's schemas of every data set that the miniature writes: columns, types, class names, licence line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Classes:
    """An integer that names a class."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class List:
    """A list of one type, or (the hub's old SQuAD style) a struct of lists of equal length. of: a column's type (a
    dtype's name, "image", Classes or List), or a mapping of names to types."""

    of: Any


@dataclass(frozen=True)
class DataSet:
    """A data set of the hub: its id, title and columns. `configs` overrides the columns of some configs by name."""

    path: str
    title: str
    columns: Mapping[str, Any]
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def columns_of(self, config: str) -> Mapping[str, Any]:
        return self.configs.get(config.split(".")[0], self.columns)


_NLI = Classes(("entailment", "neutral", "contradiction"))
_UPOS = tuple("ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split())
_IOB = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
_PAIR = {"premise": "string", "hypothesis": "string", "label": _NLI}
_ANSWERS = List({"text": "string", "answer_start": "int32"})
_QA = {"id": "string", "title": "string", "context": "string", "question": "string", "answers": _ANSWERS}
_COPA = {"premise": "string", "choice1": "string", "choice2": "string", "question": "string"}

DATA_SETS = {
    data_set.path: data_set
    for data_set in (
        DataSet(
            "tau/commonsense_qa",
            "CommonsenseQA",
            {
                "id": "string",
                "question": "string",
                "question_concept": "string",
                "choices": List({"label": "string", "text": "string"}),
                "answerKey": "string",
            },
        ),  # fmt: skip
        DataSet("stanfordnlp/snli", "SNLI", _PAIR),
        DataSet("rajpurkar/squad", "SQuAD v1.1", _QA),
        DataSet("facebook/anli", "ANLI", {"uid": "string", **_PAIR, "reason": "string"}),
        DataSet(
            "jxie/coco_captions",
            "COCO captions",
            {"image": "image", "filename": "string", "cocoid": "int64", "caption": "string"},
        ),
        DataSet(
            "lil-lab/nlvr",
            "NLVR",
            {
                "identifier": "string",
                "image": "image",
                "sentence": "string",
                "label": Classes(("false", "true")),
                "directory": "string",
                "permutation": "int8",
            },
        ),  # fmt: skip
        DataSet("nyu-mll/glue", "GLUE", {**_PAIR, "idx": "int32"}),
        DataSet(
            "allenai/social_i_qa",
            "Social IQa",
            dict.fromkeys(("context", "question", "answerA", "answerB", "answerC", "label"), "string"),
        ),
        DataSet("aps/super_glue", "SuperGLUE", {**_COPA, "idx": "int32", "label": Classes(("choice1", "choice2"))}),
        DataSet(
            "google/xtreme",
            "XTREME",
            {},
            {
                "udpos": {"tokens": List("string"), "pos_tags": List(Classes(_UPOS))},
                "tatoeba": dict.fromkeys(
                    ("source_sentence", "target_sentence", "source_lang", "target_lang"), "string"
                ),
            },
        ),
        DataSet(
            "mteb/tatoeba-bitext-mining",
            "Tatoeba",
            {"sentence1": "string", "sentence2": "string", "lang": "string"},
        ),
        DataSet(
            "unimelb-nlp/wikiann",
            "WikiANN",
            {
                "tokens": List("string"),
                "ner_tags": List(Classes(_IOB)),
                "langs": List("string"),
                "spans": List("string"),
            },
        ),  # fmt: skip
        DataSet("facebook/xnli", "XNLI", _PAIR),
        DataSet("cambridgeltl/xcopa", "XCOPA", {**_COPA, "label": "int32", "idx": "int32", "changed": "bool"}),
        DataSet("google/xquad", "XQuAD", {name: kind for name, kind in _QA.items() if name != "title"}),
        DataSet(
            "xstilts/miniature-text",
            "Plain text and dictionary of the miniature",
            {"id": "string", "text": "string"},
            {"dictionary": dict.fromkeys(("concept", "kind", "language", "word"), "string")},
        ),
    )
}


def class_index(kind: Any, name: str) -> int:
    """The id of a class name in a `Classes` or a list of them."""
    index: int = (kind.of if isinstance(kind, List) else kind).names.index(name)
    return index


def arrow_type(kind: Any) -> pa.DataType:
    """The arrow type under which the hub stores a column."""
    match kind:
        case Classes():
            return pa.int64()
        case "image":
            return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        case List(of=Mapping() as of):
            return pa.struct([(name, pa.list_(arrow_type(inner))) for name, inner in of.items()])
        case List(of=of):
            return pa.list_(arrow_type(of))
        case str():
            return {"bool": pa.bool_()}.get(kind) or pa.type_for_alias(kind)
    raise TypeError(f"no arrow type for {kind!r}")


def hub_feature(kind: Any) -> dict[str, Any]:
    """A column's type as `datasets` writes it into a parquet file's metadata."""
    match kind:
        case Classes(names):
            return {"names": list(names), "_type": "ClassLabel"}
        case "image":
            return {"_type": "Image"}
        case List(of=Mapping() as of):
            return {"feature": {name: hub_feature(inner) for name, inner in of.items()}, "_type": "Sequence"}
        case List(of=of):
            return {"feature": hub_feature(of), "_type": "Sequence"}
    return {"dtype": kind, "_type": "Value"}


def card_feature(name: str, kind: Any) -> dict[str, Any]:
    """A column as the YAML front matter of a hub README describes it."""
    match kind:
        case Classes(names):
            return {"name": name, "dtype": _class_label(names)}
        case List(of=Mapping() as of):
            return {"name": name, "sequence": [card_feature(inner, of[inner]) for inner in of]}
        case List(of=Classes(names)):
            return {"name": name, "sequence": _class_label(names)}
        case List(of=of):
            return {"name": name, "sequence": of}
    return {"name": name, "dtype": kind}


def _class_label(names: tuple[str, ...]) -> dict[str, Any]:
    return {"class_label": {"names": {str(index): name for index, name in enumerate(names)}}}
