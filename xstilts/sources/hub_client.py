"""Requests to the Hugging Face hub: retries, and errors that say what to do.

HF_ENDPOINT sets another hub, HF_TOKEN authenticates.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from xstilts.errors import DataError, InfrastructureError

Kind = Literal["dataset", "model"]
T = TypeVar("T")
MAX_ATTEMPTS = 4
_MAX_WAIT = 120.0
_RETRIED_STATUS = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class RemoteFile:
    """A file in the hub's listing. sha256: of large files (LFS) only; git_sha1: of all files."""

    name: str
    size: int
    sha256: str | None
    git_sha1: str


@dataclass(frozen=True)
class Repo:
    """A repository at a commit."""

    kind: Kind
    name: str
    revision: str
    files: Mapping[str, RemoteFile] = field(repr=False)


def request(kind: Kind, name: str, call: Callable[[Any], T], streamed: bool = False) -> T:
    """Calls the hub and retries rate limits (429), server errors and broken connections.

    Other errors become a DataError or an InfrastructureError.

    Args:
        kind: of the repository, for messages.
        name: of the repository, for messages.
        call: gets an HfApi and returns the result.
        streamed: broken connections are raised for the caller to resume.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(1, MAX_ATTEMPTS + 1):
        with _explained(kind, name):
            try:
                return call(HfApi())
            except HfHubHTTPError as error:
                if error.response.status_code not in _RETRIED_STATUS or attempt == MAX_ATTEMPTS:
                    raise
                wait = _wait_seconds(error.response.headers, attempt)
            except (httpx2.ReadError, httpx2.ReadTimeout, httpx2.RemoteProtocolError) as error:
                if streamed:
                    raise
                if attempt == MAX_ATTEMPTS:
                    raise InfrastructureError(
                        f"{name}: the connection to the hub broke {MAX_ATTEMPTS} times ({error}); "
                        "run the same command to retry"
                    ) from error
                wait = _wait_seconds({}, attempt)
        time.sleep(wait)
    raise AssertionError("unreachable")


def _wait_seconds(headers: Mapping[str, str], attempt: int) -> float:
    """Seconds to wait, as requested by the hub (Retry-After, or `t=` in RateLimit), else
    exponential.
    """
    requested = headers.get("Retry-After") or next(
        iter(re.findall(r"\bt=(\d+)", headers.get("RateLimit", ""))), None
    )
    seconds = float(requested) if requested and requested.isdigit() else 2.0**attempt
    return min(_MAX_WAIT, seconds)


@contextmanager
def _explained(kind: Kind, name: str) -> Iterator[None]:
    """Turns errors of huggingface_hub into a DataError (missing, no access) or an
    InfrastructureError (rate-limited, failing, unreachable).
    """
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise DataError(
            f"{name}: gated; accept the terms on its page at the hub, then set HF_TOKEN to a token "
            "of that account"
        ) from error
    except RevisionNotFoundError as error:
        raise DataError(
            f"{name}: the revision does not exist on the hub ({_first_line(error)})"
        ) from error
    except RepositoryNotFoundError as error:
        raise DataError(
            f"{name}: no such {kind} on the hub, or it is private and HF_TOKEN has no access"
        ) from error
    except HFValidationError as error:
        raise DataError(f"{name}: not a valid name of a {kind} on the hub") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise DataError(
                f"{name}: not authenticated (401); set HF_TOKEN to a token with access"
            ) from error
        if status == 403:
            raise DataError(
                f"{name}: access denied (403); set HF_TOKEN to a token with access"
            ) from error
        if status == 404:
            raise DataError(f"{name}: not found on the hub ({_first_line(error)})") from error
        if status == 429:
            raise InfrastructureError(
                f"{name}: rate-limited by the hub (429), also after {MAX_ATTEMPTS} attempts; set "
                "HF_TOKEN, or run the same command later to resume"
            ) from error
        raise InfrastructureError(
            f"{name}: server error of the hub ({status}); run the same command later to resume"
        ) from error
    except (
        OfflineModeIsEnabled,
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.ProxyError,
        httpx2.UnsupportedProtocol,
        httpx2.InvalidURL,
        httpx2.TooManyRedirects,
        httpx2.DecodingError,
    ) as error:
        raise InfrastructureError(
            f"{name}: the hub cannot be reached ({type(error).__name__}: {_first_line(error)}); "
            "set --mirror to a folder or s3://bucket/prefix that `xstilts mirror pull` filled"
        ) from error
    except ValueError as error:
        if "proxy" not in str(error).lower():
            raise
        raise InfrastructureError(
            f"{name}: the proxy in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY is not usable: {error}"
        ) from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
