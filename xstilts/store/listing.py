"""Listings of a bucket, which are checked for signs that they are incomplete."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xstilts.errors import StoreError
from xstilts.store.threads import in_threads

HEX = "0123456789abcdef"
#: What follows digits in a key: more of them, or the end of a folder's name.
_FOLLOWING = f"{HEX}/"


@dataclass(frozen=True)
class Entry:
    """An object in a listing. written: seconds since 1970 by the server's clock. etag: empty if the
    server has none.
    """

    size: int
    written: float
    etag: str

    @property
    def version(self) -> str:
        """Changes whenever the object is written."""
        return f"{self.etag or self.written}:{self.size}"


#: Lists one page: (prefix, arguments of ListObjectsV2) → its answer.
Page = Callable[..., Mapping[str, Any]]


def pages(page: Page, prefix: str, **arguments: str) -> Iterator[Mapping[str, Any]]:
    """All pages of a listing. StoreError for a listing that ends early or repeats itself."""
    tokens: set[str] = set()
    following: dict[str, str] = {}
    while True:
        answer = page(prefix, **arguments, **following)
        yield answer
        if not answer.get("IsTruncated"):
            return
        token = _token(answer, prefix)
        if token in tokens:
            raise _unreliable(prefix, "a repeated NextContinuationToken")
        tokens.add(token)
        following = {"ContinuationToken": token}


def items(page: Page, prefix: str) -> Iterator[tuple[str, Entry]]:
    """(key, entry) of everything below a prefix."""
    for answer in pages(page, prefix):
        yield from _entries(answer)


def hashed_items(page: Page, prefix: str) -> Iterator[tuple[str, Entry]]:
    """(key, entry) of everything below a prefix that continues with a hexadecimal digit.

    A prefix with more keys than a page holds is split into 16, which are listed at the same time.
    A server over a file system reads everything below a prefix for each page of it.
    """
    prefixes = [prefix]
    while prefixes:
        answers = in_threads(page, prefixes)
        split = []
        for each, answer in zip(prefixes, answers, strict=True):
            if answer.get("IsTruncated"):
                _token(answer, each)
                if not answer.get("Contents"):
                    raise _unreliable(each, "IsTruncated on an empty page")
                split += [each + character for character in _FOLLOWING]
                continue
            for key, entry in _entries(answer):
                if key[len(prefix) : len(prefix) + 1] in HEX:
                    yield key, entry
        prefixes = split


def folders(page: Page, prefix: str) -> list[str]:
    """The folders directly below a prefix, each ending with `/`."""
    return [
        folder["Prefix"]
        for answer in pages(page, prefix, Delimiter="/")
        for folder in answer.get("CommonPrefixes", ())
    ]


def _entries(answer: Mapping[str, Any]) -> Iterator[tuple[str, Entry]]:
    for item in answer.get("Contents", ()):
        etag = str(item.get("ETag", "")).strip('"')
        yield item["Key"], Entry(item["Size"], item["LastModified"].timestamp(), etag)


def _token(answer: Mapping[str, Any], prefix: str) -> str:
    token = answer.get("NextContinuationToken")
    if not token:
        raise _unreliable(prefix, "IsTruncated without NextContinuationToken")
    return str(token)


def _unreliable(prefix: str, reason: str) -> StoreError:
    return StoreError(
        f"{prefix}: the server's listings are not reliable ({reason}); use another S3 server"
    )
