"""Names files of a mirror in S3, and of the hub, by what a user can correct.

They are read through a cache on the machine of the step, whose paths say nothing to a user.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from xstilts.errors import DataError

#: The cache folder of a mirror in S3 (mirrors.py), after any folders.
_MIRROR = re.compile(r"(?:/[^/\s'\"(),;]+)*/mirror-[0-9a-f]{16}/")
#: A file in the cache of huggingface_hub.
_HUB = re.compile(
    r"(?:/[^/\s'\"(),;]+)*/(datasets|models)--([^/\s]+?)--([^/\s]+)/snapshots/([0-9a-f]{12})[0-9a-f]*/"
)


def with_objects(text: str, address: str | None) -> str:
    """A text with objects of a mirror, and files of the hub, instead of paths in their caches."""
    if address is not None and address.startswith("s3://"):
        text = _MIRROR.sub(f"{address.rstrip('/')}/", text)
    return _HUB.sub(r"\2/\3 on the hub at \4: ", text)


def corrected(text: str, address: str | None) -> str:
    """`with_objects`, with what to do if the text names an object of a mirror."""
    named = with_objects(text, address)
    if address is None or named == text or f"{address.rstrip('/')}/" not in named:
        return named
    return (
        f"{named}. Correct this object (`xstilts mirror verify {address}` lists all that differ "
        "from their record, `xstilts mirror pull` copies them again), then start the plan again"
    )


@contextmanager
def naming_objects(address: str) -> Iterator[None]:
    """Raises a DataError of the body with objects instead of paths in a cache."""
    try:
        yield
    except DataError as error:
        text = corrected(str(error), address)
        if text == str(error):
            raise
        raise DataError(text) from error
