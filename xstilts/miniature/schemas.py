"""Column types of data sets on the hub, and their form in Arrow, in metadata and in cards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Classes:
    """A class number."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class List:
    """A list of one type, or a struct of lists of equal length (the old style of SQuAD).

    of: a type (name of a dtype, "image", Classes or List), or a mapping of names to types.
    """

    of: Any


@dataclass(frozen=True)
class Struct:
    """A struct, or a list of structs (many). of: a mapping of names to types."""

    of: Mapping[str, Any]
    many: bool = False


@dataclass(frozen=True)
class DataSet:
    """A data set of the hub: id, title and columns. `configs` overrides the columns of some
    configs.
    """

    path: str
    title: str
    columns: Mapping[str, Any]
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def columns_of(self, config: str) -> Mapping[str, Any]:
        return self.configs.get(config) or self.configs.get(config.split(".")[0], self.columns)


def class_index(kind: Any, name: str) -> int:
    """The number of a class name in a `Classes` or a list of them."""
    index: int = (kind.of if isinstance(kind, List) else kind).names.index(name)
    return index


def arrow_type(kind: Any) -> pa.DataType:
    """The Arrow type of a column."""
    match kind:
        case Classes():
            return pa.int64()
        case "image":
            return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        case Struct(of, many):
            struct = pa.struct([(name, arrow_type(inner)) for name, inner in of.items()])
            return pa.list_(struct) if many else struct
        case List(of=Mapping() as of):
            return pa.struct([(name, pa.list_(arrow_type(inner))) for name, inner in of.items()])
        case List(of=of):
            return pa.list_(arrow_type(of))
        case str():
            return {"bool": pa.bool_()}.get(kind) or pa.type_for_alias(kind)
    raise TypeError(f"no arrow type for {kind!r}")


def hub_feature(kind: Any) -> Any:
    """The type of a column as `datasets` writes it to the metadata of a Parquet file."""
    match kind:
        case Struct(of, many):
            struct = {name: hub_feature(inner) for name, inner in of.items()}
            return [struct] if many else struct
        case Classes(names):
            return {"names": list(names), "_type": "ClassLabel"}
        case "image":
            return {"_type": "Image"}
        case List(of=Mapping() as of):
            return {
                "feature": {name: hub_feature(inner) for name, inner in of.items()},
                "_type": "Sequence",
            }
        case List(of=of):
            return {"feature": hub_feature(of), "_type": "Sequence"}
    return {"dtype": kind, "_type": "Value"}


def card_feature(name: str, kind: Any) -> dict[str, Any]:
    """A column in the YAML front matter of a card."""
    match kind:
        case Classes(names):
            return {"name": name, "dtype": _class_label(names)}
        case Struct(of, many):
            inside = [card_feature(inner, of[inner]) for inner in of]
            return {"name": name, "list" if many else "struct": inside}
        case List(of=Mapping() as of):
            return {"name": name, "sequence": [card_feature(inner, of[inner]) for inner in of]}
        case List(of=Classes(names)):
            return {"name": name, "sequence": _class_label(names)}
        case List(of=List() as of):
            return {
                "name": name,
                "sequence": {
                    key: value for key, value in card_feature("", of).items() if key != "name"
                },
            }
        case List(of=of):
            return {"name": name, "sequence": of}
    return {"name": name, "dtype": kind}


def _class_label(names: tuple[str, ...]) -> dict[str, Any]:
    return {"class_label": {"names": {str(index): name for index, name in enumerate(names)}}}
