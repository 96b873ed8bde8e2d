"""JSON documents of a store, which are checked when they are read: nothing in it is trusted.

`MEMBERS` lists what each kind of document must contain. Further members are allowed, since later
versions add some.
"""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from xstilts.errors import CorruptError
from xstilts.input_files import InvalidDocument, named, parse_json

#: Largest document in bytes. The largest plan that ships expands to 60 MB.
LARGEST = 512 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_Number = (int, float)
Types = type | tuple[type, ...]

#: Pattern of a key → member → its types. The first pattern that matches a key counts.
MEMBERS: Mapping[str, Mapping[str, Types]] = {
    "steps/*/manifest.json": {
        "kind": str, "fingerprint": str, "files": dict, "step": dict, "info": dict,
    },
    "runs/*/expanded.json": {"steps": dict},
    "runs/*/work.json": {"groups": list},
    "runs/*/specs/*.json": {"spec": dict, "steps": dict},
    "runs/*/run.json": {"run": str, "mirror": str},
    "runs/*/report_inputs.json": {"inputs": str, "files": dict},
    "runs/*/status.json": {"exit_code": int},
    "runs/*/failures/*.json": {"error": str},
    "runs/*/leases/*.json": {"renewed": _Number, "seconds": _Number},
    "runs/*/kfp.json": {"host": str, "run_id": str},
    "runs/*/tasks/*.json": {"files": dict},
    "schedules/*/schedule.json": {"mirror": str, "held": dict},
    "schedules/*/images.json": {"images": dict},
    "schedules/*/firings/*.json": {"run": str, "number": int, "at": _Number},
    "index/manifests.json": {"sha256": str, "manifests": dict},
    "work/*/state.json": {"update": int, "time": _Number, "files": dict},
}  # fmt: skip


def parse(key: str, data: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `data`, with the members that its kind of document must have.

    Args:
        key: the document's key in the store, which decides its members.
        data: the bytes.
        where: the document's URI, for messages.

    Raises:
        CorruptError: not valid JSON, not an object, nested too deeply, or a member is missing or of
            another type.
    """
    if len(data) > LARGEST:
        raise CorruptError(f"{where}: corrupt: {len(data)} bytes, more than {LARGEST}")
    try:
        document = parse_json(data, LARGEST)
    except InvalidDocument as error:
        reason = str(error).removeprefix("not valid JSON: ")
        raise CorruptError(f"{where}: corrupt: not valid JSON ({reason})") from error
    if not isinstance(document, dict):
        raise CorruptError(f"{where}: corrupt: expected a JSON object, not {named(document)}")
    for member, types in _members(key).items():
        if member not in document:
            raise CorruptError(f"{where}: corrupt: `{member}` is missing")
        value = document[member]
        if not isinstance(value, types) or isinstance(value, bool):
            raise CorruptError(
                f"{where}: corrupt: `{member}` must be {_type_names(types)}, not {named(value)}"
            )
    return document


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


def _members(key: str) -> Mapping[str, Types]:
    return next((members for glob, members in MEMBERS.items() if fnmatchcase(key, glob)), {})


def _type_names(types: Types) -> str:
    names = {dict: "an object", list: "a list", str: "text", int: "an integer", float: "a number"}
    return names[types[-1] if isinstance(types, tuple) else types]
