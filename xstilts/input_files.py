"""Reads files and documents that come from outside: JSON, YAML, gzip, with limits.

Every parser of the project goes through this module, so that all of them refuse the same things: a
path that is not a regular file (opening a FIFO waits forever), text that is not UTF-8, documents
that are too large or nested too deeply, duplicate keys, and numbers that other programs cannot
hold. `parse_…` raise InvalidDocument, `read_…` DataError with the path.
"""

import errno
import gzip
import io
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NoReturn, cast

from xstilts.errors import DataError, counted

if TYPE_CHECKING:
    import yaml

#: Most bytes of a document, where the caller names no other limit.
LARGEST = 64 << 20
#: Most bytes of a YAML file. PyYAML parses about 100 kB per second.
LARGEST_YAML = 4 << 20
#: Most levels of nesting. Recursive code further on stays far from Python's limit of 1000 calls.
DEEPEST = 100
_TOO_DEEP = f"nested too deeply (more than {DEEPEST} levels)"
#: Most values of a YAML document, those behind aliases counted at each use.
MOST_VALUES = 200_000
#: Integers of a document fit into 64 bits, as in Arrow, JavaScript and most databases.
_INTEGERS = range(-(2**63), 2**64)
_INFINITE = (float("inf"), float("-inf"))
#: Most bytes that a gzip file expands to, beyond RATIO times its size. JSON shrinks to a tenth, and
#: a file of nothing but zeros to a thousandth.
EXPANDED, RATIO = 64 << 20, 100
#: Most bytes that a gzip file of unknown size expands to.
LARGEST_EXPANDED = 4 << 30
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_REASONS = {
    errno.ENOENT: "no such file",
    errno.ELOOP: "a symbolic link that leads back to itself",
    errno.ENXIO: "a socket, not a file",  # what open(2) answers for one
    errno.ENOTDIR: "no such file",
    errno.ENAMETOOLONG: "the name is too long",
}


Pairs = Callable[[list[tuple[str, Any]]], Any]


class InvalidDocument(ValueError):
    """A document cannot be parsed, or exceeds a limit. The message says why."""


def open_file(path: Path | str) -> io.BufferedReader:
    """Opens a regular file for reading. DataError for anything else: without waiting for the other
    end of a FIFO, and without reading from a device.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {_reason(error)}") from error
    except ValueError as error:  # a null byte in the name
        raise DataError(f"{str(path)!r}: cannot be read: {error}") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = next((name for test, name in _KINDS if test(mode)), "not a regular file")
        raise DataError(f"{path}: cannot be read: {kind}, not a file")
    return os.fdopen(descriptor, "rb")


def resolved(path: Path | str) -> Path:
    """The absolute path without symbolic links, `~` expanded. DataError for links in a circle, and
    for the home of an unknown user.
    """
    try:
        return Path(path).expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(f"{str(path)!r}: not a usable path: {error}") from error


def read_bytes(path: Path | str, largest: int = LARGEST) -> bytes:
    """The bytes of a regular file. DataError if it cannot be read or is larger than `largest`."""
    with open_file(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > largest:
            raise DataError(f"{path}: {size:,} bytes; at most {largest:,} are read")
        try:
            return stream.read(largest + 1)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {_reason(error)}") from error


def read_text(path: Path | str, largest: int = LARGEST) -> str:
    """The UTF-8 text of a regular file, without a byte order mark. DataError otherwise."""
    try:
        return decoded(read_bytes(path, largest))
    except InvalidDocument as error:
        raise DataError(f"{path}: {error}") from error


def read_json(path: Path | str, largest: int = LARGEST) -> Any:
    """The value in a JSON file. DataError with the path if it is not valid (see parse_json)."""
    try:
        return parse_json(read_bytes(path, largest), largest)
    except InvalidDocument as error:
        raise DataError(f"{path}: {error}") from error


def read_object(path: Path | str, largest: int = LARGEST) -> dict[str, Any]:
    """The object in a JSON file. DataError with the path otherwise."""
    value = read_json(path, largest)
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, not {named(value)}")
    return value


def parse_json(data: bytes | str, largest: int = LARGEST) -> Any:
    """The value of a JSON document.

    Raises:
        InvalidDocument: the document is larger than `largest` bytes, not UTF-8, not JSON, nested
            deeper than DEEPEST, or has a duplicate key, NaN, Infinity, an integer of more than 64
            bits or half of a surrogate pair.
    """
    if len(data) > largest:
        raise InvalidDocument(f"{len(data):,} bytes; at most {largest:,} are read")
    text = decoded(data) if isinstance(data, bytes) else data
    value = _loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    _check_values(value, numbers=True)
    _check_surrogates(text, value)
    return value


def parse_row(data: bytes | str, pairs: Pairs | None = None) -> Any:
    """The value of a row of a data set, or of a file of rows. Unlike in documents, NaN is allowed
    and of duplicate keys the last one counts, as for every program that reads such files.

    Args:
        data: the row.
        pairs: (key, value) pairs of an object → its value; None: a dict.

    Raises:
        InvalidDocument: not UTF-8, not JSON, nested deeper than DEEPEST, or half of a surrogate
            pair.
    """
    text = decoded(data) if isinstance(data, bytes) else data
    value = _loads(text, object_pairs_hook=pairs) if pairs else _loads(text)
    _check_values(value, numbers=False)
    _check_surrogates(text, value)
    return value


def decoded(data: bytes) -> str:
    """UTF-8 text without a byte order mark. InvalidDocument for other bytes."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidDocument(
            f"not UTF-8 text (byte {error.start:,}: {error.reason}); save the file as UTF-8"
        ) from error


def _check_values(value: Any, numbers: bool) -> None:
    """InvalidDocument if lists and objects are nested deeper than DEEPEST. numbers: also for
    infinite numbers (1e999) and integers of more than 64 bits.
    """
    level: list[Any] = [[value]]
    for _ in range(DEEPEST + 1):
        inner = [part for outer in level for part in _members(outer)]
        if numbers:
            _check_numbers(inner)
        level = [part for part in inner if type(part) in _NESTED]
        if not level:
            return
    raise InvalidDocument(_TOO_DEEP)


#: JSON types and those of values, as messages name them.
_TYPES: Mapping[type, str] = {
    dict: "an object", list: "a list", str: "text", int: "an integer", bool: "a boolean",
    NoneType: "null",
}  # fmt: skip
_VALUES: Mapping[type, str] = {**_TYPES, int: "a number", float: "a number"}


def named(value: Any) -> str:
    """The JSON type of a value, for messages; of another type its name."""
    return _VALUES.get(type(value), type(value).__name__)


_NESTED = (dict, list)


def _members(value: Any) -> Any:
    return value.values() if type(value) is dict else value


def _loads(text: str, **hooks: Any) -> Any:
    try:
        return json.loads(text, **hooks)
    except RecursionError as error:
        raise InvalidDocument(_TOO_DEEP) from error
    except json.JSONDecodeError as error:
        raise InvalidDocument(f"not valid JSON: {error}") from error
    except InvalidDocument:
        raise
    except ValueError as error:  # an integer of more than 4300 digits
        raise InvalidDocument(f"not valid JSON: {error}") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidDocument(f"duplicate key {twice[:60]!r}")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidDocument(f"{name} is not a JSON value")


def _check_numbers(values: list[Any]) -> None:
    for number in values:
        if type(number) is int and number not in _INTEGERS:
            raise InvalidDocument(f"the integer {str(number)[:20]}… has more than 64 bits")
        if type(number) is float and number in _INFINITE:
            raise InvalidDocument("a number is too large")


def _check_surrogates(text: str, value: Any) -> None:
    """InvalidDocument for half of a surrogate pair, which no UTF-8 file can hold."""
    if _ESCAPED_SURROGATE.search(text) is None:
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidDocument("text with half of a surrogate pair (\\ud800 to \\udfff)") from error


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0, error.strerror or str(error))


# ---- YAML ----


def read_yaml(path: Path | str) -> Any:
    """The value of a YAML file. DataError with the path and line if it is not valid."""
    try:
        return parse_yaml(read_bytes(path, LARGEST_YAML))
    except InvalidDocument as error:
        raise DataError(f"{path}: {error}") from error


def parse_yaml(data: bytes | str) -> Any:
    """The value of a YAML document.

    Raises:
        InvalidDocument: with the line: the document is too large, not UTF-8, not YAML, nested too
            deeply, has a duplicate key, an alias within its own anchor, more than MOST_VALUES
            values with aliases expanded, or an invalid value such as the date 2024-13-45.
    """
    documents = list(parse_yaml_stream(data, most=1))
    return documents[0] if documents else None


def parse_yaml_stream(data: bytes | str, most: int = 1000) -> Iterator[Any]:
    """The values of a YAML stream of at most `most` documents. See parse_yaml."""
    import yaml

    if len(data) > LARGEST_YAML:
        raise InvalidDocument(f"{len(data):,} bytes; at most {LARGEST_YAML:,} are read")
    text = decoded(data) if isinstance(data, bytes) else data
    try:
        loader = _loader()(text)
        count = 0
        while loader.check_node():
            count += 1
            node = loader.get_node()
            if count > most:
                raise InvalidDocument(
                    f"line {node.start_mark.line + 1}: a second document; keep one"
                    if most == 1
                    else f"more than {counted(most, 'document')}"
                )
            _check_nodes(node)
            yield loader.construct_document(node)
    except RecursionError as error:
        raise InvalidDocument(_TOO_DEEP) from error
    except yaml.YAMLError as error:
        raise InvalidDocument(_yaml_problem(error)) from error


def _check_nodes(root: Any) -> None:
    """InvalidDocument if a node is nested too deeply, or aliases expand to too many values."""
    sizes: dict[int, int] = {}

    def size(node: Any, depth: int) -> int:
        where = f"line {node.start_mark.line + 1}: "
        if id(node) in sizes:
            if sizes[id(node)] == 0:
                raise InvalidDocument(f"{where}an alias within its own anchor")
            return sizes[id(node)]
        if isinstance(node.value, str):
            return 1
        if depth > DEEPEST:
            raise InvalidDocument(f"{where}{_TOO_DEEP}")
        sizes[id(node)] = 0  # being counted
        inner = [
            part for item in node.value for part in (item if isinstance(item, tuple) else [item])
        ]
        total = 1 + sum(size(part, depth + 1) for part in inner)
        if total > MOST_VALUES:
            raise InvalidDocument(f"{where}more than {MOST_VALUES:,} values, with aliases expanded")
        sizes[id(node)] = total
        return total

    size(root, 1)


def _yaml_problem(error: "yaml.YAMLError") -> str:
    """What is wrong with the YAML, and in which line."""
    import yaml

    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"invalid YAML: {' '.join(str(error).split())}"
    kind = "" if error.note == _DUPLICATE else "invalid YAML: "
    context = f"{error.context}, " if error.context else ""
    return f"line {error.problem_mark.line + 1}: {kind}{context}{error.problem}"


_DUPLICATE = "duplicate key"
_LOADERS: list[type[Any]] = []


def _loader() -> type[Any]:
    """A safe YAML loader that rejects duplicate keys and reports the line of every invalid value.
    Made once, when YAML is first read.
    """
    if _LOADERS:
        return _LOADERS[0]
    import yaml

    class Strict(yaml.SafeLoader):
        def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except (ValueError, OverflowError) as error:  # such as the date 2024-13-45
                value = str(node.value)[:40]
                raise yaml.constructor.ConstructorError(
                    None, None, f"invalid value {value!r}: {error}; quote it", node.start_mark
                ) from error

    def mapping(loader: Strict, node: yaml.MappingNode) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                problem = f"duplicate key {name!r}, first used in line {lines[name]}; keep one"
                raise yaml.constructor.ConstructorError(
                    None, None, problem, key.start_mark, _DUPLICATE
                )
            lines[name] = line
        value: dict[Any, Any] = loader.construct_mapping(node, deep=True)
        return value

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    _LOADERS.append(Strict)
    return Strict


# ---- compression ----


class Limited(io.RawIOBase):
    """A stream that stops with InvalidDocument after `largest` bytes: what a decompression bomb
    expands to is never held.
    """

    def __init__(
        self,
        stream: IO[bytes],
        largest: int = LARGEST_EXPANDED,
        source: IO[bytes] | None = None,
    ) -> None:
        """source: what `stream` reads from, which is closed with it."""
        self._stream, self._left, self._largest = stream, largest, largest
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise InvalidDocument(f"expands to more than {self._largest:,} bytes")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            if self._source is not None:
                self._source.close()
        super().close()


def open_gzip(path: Path | str) -> BinaryIO:
    """Opens a gzip file, decompressed while it is read. Reading raises InvalidDocument once it
    expands to more than text does.
    """
    stream = open_file(path)
    size = os.fstat(stream.fileno()).st_size
    if size == 0:  # which Python's gzip takes for no data
        stream.close()
        raise InvalidDocument("an empty file is not a gzip file")
    return gunzipped(stream, EXPANDED + RATIO * size)


def gunzipped(stream: BinaryIO, largest: int = LARGEST_EXPANDED) -> BinaryIO:
    """A gzip stream, decompressed while it is read. Reading raises InvalidDocument after `largest`
    bytes.
    """
    expanded = cast(IO[bytes], gzip.GzipFile(fileobj=stream, mode="rb"))
    return cast(BinaryIO, io.BufferedReader(Limited(expanded, largest, stream), 1 << 20))


def expected_types(types: tuple[type, ...]) -> str:
    """The JSON types that a value may have, for messages."""
    if float in types:  # an integer is a number
        types = tuple(kind for kind in types if kind is not int)
    return " or ".join(_TYPES.get(kind, "a number") for kind in types)


def check_type(value: Any, types: type | tuple[type, ...], where: str) -> None:
    """DataError unless a value is of one of the types."""
    if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
        expected = expected_types(types if isinstance(types, tuple) else (types,))
        raise DataError(f"{where} must be {expected}, not {named(value)}")


def strings(value: Any, where: str) -> Mapping[str, str]:
    """`value` if it is an object of texts; DataError otherwise."""
    check_type(value, dict, where)
    for name, text in value.items():
        check_type(text, str, f"{where}: {name[:60]!r}")
    return cast(Mapping[str, str], value)
