"""Readable errors of the Kubeflow Pipelines client: which server, which action, what to do."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xstilts.errors import InfrastructureError

#: HTTP status → what it means and what to do.
MEANING = {
    400: "invalid request",
    401: (
        "not authenticated: set XSTILTS_KFP_TOKEN or XSTILTS_KFP_COOKIE, or in a pod mount a token "
        "and set KF_PIPELINES_SA_TOKEN_PATH to its file"
    ),
    403: "permission denied: ask for a role in this namespace, or set --namespace",
    404: "not found: check the name, and that --host is the root of the KFP API, not one of its "
    "pages",
    409: "already exists, created by someone else in the meantime: run the same command again",
    429: "rate-limited: wait a minute and run the same command again",
}
SERVER_ERROR = "server error: check the log of deployment/ml-pipeline, then run the command again"
TIMED_OUT = (
    "timed out: check that ml-pipeline runs and that the address leads to it, then try again"
)
DISCONNECTED = (
    "the connection was closed before the response: check ml-pipeline and the proxies in front of "
    "it, then try again"
)
UNREACHABLE = (
    "unreachable: check --host and the port forwarding (kubectl port-forward svc/ml-pipeline 8888)"
)
NOT_KFP = (
    "the response is not from a KFP API (a sign-in page, or another service): check --host and the "
    "credentials"
)


class KfpError(InfrastructureError):
    """A failed request. status: the HTTP status, 0 without a response. unsure: the server may have
    carried out the request, since it failed, timed out or disconnected. temporary: the same request
    may succeed later.
    """

    def __init__(
        self, message: str, status: int = 0, late: bool = False, unreachable: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.unsure = late or status >= 500
        self.temporary = unreachable or self.unsure or status == 429


@contextmanager
def readable_errors(host: str, action: str) -> Iterator[None]:
    """Turns every error of the KFP client into a KfpError. action: for example "find the run x"."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError, ReadTimeoutError

    prefix = f"KFP at {host}: cannot {action}"
    try:
        yield
    except ApiException as error:
        status = int(error.status or 0)
        if status == 0:  # how the client reports TLS errors
            raise KfpError(f"{prefix}: {_tls(error.reason)}") from error
        meaning = SERVER_ERROR if status >= 500 else MEANING.get(status, "unexpected status")
        message = f"{prefix}: {status}, {meaning}{_server_message(error.body)}"
        raise KfpError(message, status) from error
    except HTTPError as error:
        cause = error.reason if isinstance(error, MaxRetryError) else error
        if isinstance(cause, ssl.SSLError) or type(cause).__name__ == "SSLError":
            raise KfpError(f"{prefix}: {_tls(cause)}") from error
        timed_out = isinstance(cause, ReadTimeoutError)
        disconnected = isinstance(cause, ProtocolError)
        meaning = TIMED_OUT if timed_out else DISCONNECTED if disconnected else UNREACHABLE
        late = timed_out or disconnected
        if not late:  # such as: [Errno 111] Connection refused
            reason = str(cause).rpartition(": ")[2]
            meaning = meaning.replace("unreachable", f"unreachable ({reason})", 1)
        raise KfpError(f"{prefix}: {meaning}", late=late, unreachable=True) from error
    except (AttributeError, ValueError, TypeError) as error:
        raise KfpError(f"{prefix}: {NOT_KFP}") from error


def _tls(reason: Any) -> str:
    return f"certificate not trusted ({reason}): set --ca-cert to the CA's certificate"


def _server_message(body: Any) -> str:
    """`message` of the server's JSON, shortened; nothing for other bodies, such as proxy pages."""
    try:
        document = json.loads(body or b"")
    except ValueError:
        return ""
    text = ""
    if isinstance(document, dict):
        text = str(document.get("message") or document.get("error") or "")
    return f' (server message: "{" ".join(text.split())[:300]}")' if text else ""
