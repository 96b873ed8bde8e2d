"""JSON documents of a store, which are checked when they are read: nothing in it is trusted.

xstilts/stored_documents.py has the shape of each kind of document.
"""

import re
from typing import Any, cast

from xstilts.document_shape import fault
from xstilts.errors import CorruptError
from xstilts.input_files import InvalidDocument, parse_json
from xstilts.stored_documents import kind_of

#: Largest document in bytes. The largest plan that ships expands to 60 MB.
LARGEST = 512 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def parse(key: str, data: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `data`, with the shape of its kind of document.

    Args:
        key: the document's key in the store, which decides its kind.
        data: the bytes.
        where: the document's URI, for messages.

    Raises:
        CorruptError: not valid JSON, not an object, nested too deeply, or of another shape.
    """
    kind = kind_of(key)
    if len(data) > LARGEST:
        raise corrupt(where, f"{len(data)} bytes, more than {LARGEST}", kind.remedy)
    try:
        document = parse_json(data, LARGEST)
    except InvalidDocument as error:
        reason = str(error).removeprefix("not valid JSON: ")
        raise corrupt(where, f"not valid JSON ({reason})", kind.remedy) from error
    if (problem := fault(document, kind.shape)) is not None:
        raise corrupt(where, problem, kind.remedy)
    return cast(dict[str, Any], document)


def corrupt(where: str, problem: str, remedy: str) -> CorruptError:
    """The error for a document with other content than it must have."""
    return CorruptError(f"{where}: corrupt: {problem}; {remedy}")


def checked_sha256(value: Any, where: str) -> str:
    """`value` if it is a SHA-256 in hex; CorruptError otherwise. Digests become parts of paths."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise CorruptError(f"{where}: corrupt: {value!r} is not a SHA-256")
    return value


def is_name(value: str, folders: bool = True) -> bool:
    """Whether `value` names a file below a folder: relative, without `.`, `..` and control
    characters. folders: whether it may have folders of its own.
    """
    parts = value.split("/")
    valid = not _CONTROL.search(value) and not any(part in ("", ".", "..") for part in parts)
    return valid and (folders or len(parts) == 1)


def checked_name(value: str, where: str) -> str:
    """`value` if it names a file below a folder (`is_name`); CorruptError otherwise."""
    if not is_name(value):
        raise CorruptError(f"{where}: corrupt: {value!r} is not a valid file name")
    return value
