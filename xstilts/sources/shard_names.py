"""Names of data files: their suffixes, and a check that the shards of a split
(`train-00001-of-00003.parquet`) are complete.
"""

import re
from collections.abc import Iterable

from xstilts.errors import DataError

#: Suffix of a data file → its format.
KINDS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".json": "json",
    ".jsonl.gz": "json",
    ".json.gz": "json",
    ".jsonl.tar.gz": "json",
}
_END = "|".join(map(re.escape, KINDS))
_SHARD = re.compile(rf"(?P<stem>.+?)(?:-(?P<number>\d+)-of-(?P<total>\d+))?(?P<end>{_END})")
_CONVERTED = re.compile(r"(?P<stem>[^/]+/[^/]+)/(?P<number>\d{4,})\.parquet")


class IncompleteSplit(DataError):
    """A split with missing or duplicate shards. Alternative sources are not tried for it."""


def check_shards(names: Iterable[str], where: str) -> None:
    """Raises IncompleteSplit if a shard is missing or duplicated. Shards are numbered from 0 or 1.

    Args:
        names: paths of the files of one split.
        where: the split, for the message.
    """
    shards: dict[str, list[tuple[int, int | None, str]]] = {}
    for name in names:
        # File names of the hub's Parquet conversion do not state the number of shards.
        if match := _CONVERTED.fullmatch(name):
            shards.setdefault(match["stem"], []).append((int(match["number"]), None, name))
        elif match := _SHARD.fullmatch(name):
            number, total = (
                (int(match["number"]), int(match["total"])) if match["total"] else (0, 1)
            )
            shards.setdefault(match["stem"], []).append((number, total, name))
    for group in shards.values():
        _check(sorted(group, key=lambda shard: (shard[0], shard[2])), where)


def _check(shards: list[tuple[int, int | None, str]], where: str) -> None:
    totals = {total for _, total, _ in shards}
    if len(totals) > 1:
        names = ", ".join(name for _, _, name in shards)
        raise IncompleteSplit(
            f"{where}: files of different versions ({names}); keep the files of one version"
        )
    total = totals.pop() or len(shards)
    by_number: dict[int, str] = {}
    for number, _, name in shards:
        if number in by_number:
            raise IncompleteSplit(
                f"{where}: duplicate shard ({by_number[number]}, {name}); delete one of them"
            )
        by_number[number] = name
    first = 1 if total in by_number and 0 not in by_number else 0
    if missing := [number for number in range(first, first + total) if number not in by_number]:
        raise IncompleteSplit(
            f"{where}: shard {missing[0]:05d} of {total} is missing"
            + (f" (and {len(missing) - 1} more)" if missing[1:] else "")
            + f"; found {', '.join(by_number.values())}; fetch the missing files"
        )
    if extra := sorted(set(by_number) - set(range(first, first + total))):
        raise IncompleteSplit(
            f"{where}: {by_number[extra[0]]} is not one of {total} shards; fetch the files again"
        )


def kind_of(path: object) -> str:
    """The format of a data file: parquet or json."""
    return next(kind for suffix, kind in KINDS.items() if str(path).endswith(suffix))
