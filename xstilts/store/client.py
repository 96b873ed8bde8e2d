"""The S3 client, and its errors: what is wrong, where, what to do."""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

from xstilts.errors import StoreError, without_credentials
from xstilts.store.threads import THREADS

#: Largest file, in bytes, that is uploaded from memory with one request.
SMALL = 4 * 1024 * 1024
#: Largest AWS_MAX_ATTEMPTS.
MOST_ATTEMPTS = 1_000


@cache
def _descriptions() -> Any:
    """Botocore's reader of its descriptions of services, shared by all clients: reading that of S3
    takes five times as long as the rest of making a client.
    """
    from botocore.loaders import create_loader

    return create_loader()


def make_client() -> Any:
    """A boto3 S3 client with endpoint and keys from the AWS_* environment.

    Uses path-style addressing and no checksum trailers, which every S3-compatible server supports.
    Short timeouts and few retries report an unreachable server within seconds.

    Raises:
        StoreError: a variable has an invalid value.
    """
    from botocore.exceptions import BotoCoreError

    attempts = _attempts()
    try:
        return _client(attempts)
    except (BotoCoreError, ValueError) as error:
        raise StoreError(
            without_credentials(
                f"no S3 client can be made with these AWS_* settings: {error}; check "
                "AWS_ENDPOINT_URL (http://HOST:PORT), AWS_REGION and AWS_PROFILE"
            )
        ) from error


def _client(attempts: int) -> Any:
    import boto3
    import botocore
    from botocore.config import Config
    from botocore.session import Session

    log = logging.getLogger("botocore")
    if log.level == logging.NOTSET:  # each client says where its credentials are from
        log.setLevel(logging.WARNING)
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        connect_timeout=4,
        read_timeout=60,
        retries={"max_attempts": attempts, "mode": "standard"},
        max_pool_connections=THREADS * THREADS,  # parts of each of several objects
        # Botocore puts its own together from thirty parts, twice for each request.
        user_agent=f"xstilts Botocore/{botocore.__version__}",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    region = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or "us-east-1"
    session = Session()
    session.register_component("data_loader", _descriptions())
    parsers = session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=parsed_time)
    client = boto3.session.Session(botocore_session=session).client(
        "s3", region_name=region, config=config
    )
    client.meta.events.register("before-send.s3.PutObject", _send_at_once)
    return client


def _send_at_once(request: Any, **_: Any) -> None:
    """Sends a small body with its headers. Botocore asks the server first whether it wants any."""
    if int(request.headers.get("Content-Length", SMALL + 1)) <= SMALL:
        request.headers.pop("Expect", None)


def _attempts() -> int:
    """How often a request is made: AWS_MAX_ATTEMPTS, or 3."""
    text = os.environ.get("AWS_MAX_ATTEMPTS") or "3"
    if not text.isdecimal() or not 1 <= int(text) <= MOST_ATTEMPTS:
        raise StoreError(
            f"AWS_MAX_ATTEMPTS={text!r}: not a number from 1 to {MOST_ATTEMPTS:,}; unset it or "
            "correct it"
        )
    return int(text)


def parsed_time(value: Any) -> datetime:
    """A time in a response: ISO 8601 in a listing, RFC 9110 in a header. Botocore's own parser
    takes half of the time of a listing.
    """
    from botocore.utils import parse_timestamp

    try:
        is_header = str(value).endswith("GMT")
        time = parsedate_to_datetime(value) if is_header else datetime.fromisoformat(value)
    except (TypeError, ValueError):  # seconds
        return cast(datetime, parse_timestamp(value))
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def status_of(error: Any) -> int:
    """The HTTP status of a botocore ClientError."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_absent(error: Any) -> bool:
    """Whether a botocore ClientError says that an object does not exist."""
    return status_of(error) == 404 and error.response["Error"].get("Code") != "NoSuchBucket"


@contextmanager
def explained(
    where: str, path: Path | None = None, needed: Callable[[], int | None] | None = None
) -> Iterator[None]:
    """Turns errors of boto3 into a StoreError with the address and what to do.

    Args:
        where: the object's URI.
        path: the local file that is written.
        needed: returns its size in bytes.
    """
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise StoreError(
            f"{where}: no space left on the local disk{_disk(path, needed)}; free some and run the "
            "same command again"
        ) from error
    except Exception as error:
        explanation = _explanation(error)
        if explanation is None:
            raise
        text, temporary = explanation
        # botocore quotes the endpoint's URL, which may have credentials.
        raise StoreError(without_credentials(f"{where}{text}"), temporary=temporary) from error


def _explanation(error: Exception) -> tuple[str, bool] | None:
    """(what is wrong and what to do, whether it may pass) for an error of boto3, or None."""
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        EndpointProviderError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
    match error:
        case NoCredentialsError() | PartialCredentialsError():
            return ": no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", False
        case ClientError():
            status = status_of(error)
            return f" at {endpoint}: {_client_error(error)}", status == 429 or status >= 500
        case S3UploadFailedError():
            advice = "check the free disk space of the server"
            return f" at {endpoint}: the upload failed ({error}); {advice}", False
        case EndpointProviderError():
            return (
                f": the S3 address {endpoint} is invalid ({error}); check AWS_ENDPOINT_URL",
                False,
            )
        case BotoCoreError():
            return (
                f": the S3 server at {endpoint} cannot be reached ({type(error).__name__}: "
                f"{error}); check AWS_ENDPOINT_URL, and that the server is running",
                True,
            )
    return None


def _client_error(error: Any) -> str:
    code, status = error.response.get("Error", {}).get("Code", ""), status_of(error)
    if code == "NoSuchBucket":
        return "the bucket does not exist; create it, or set --store to another"
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch") or status in (401, 403):
        return (
            f"access denied ({code or status}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
            "the policy of the bucket"
        )
    if status in (500, 507):
        return f"server error ({code} {status}: {error}); check its log and its free disk space"
    return str(error)


def _disk(path: Path | None, needed: Callable[[], int | None] | None) -> str:
    """The file on a full disk, the bytes that it needs and those that are free, for a message."""
    if path is None:
        return ""
    folder = next(each for each in path.absolute().parents if each.is_dir())
    size = needed() if needed else None
    wanted = "" if size is None else f"{size:,} bytes needed, "
    return f" of {path} ({wanted}{shutil.disk_usage(folder).free:,} free)"
