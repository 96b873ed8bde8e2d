"""What a Kubeflow Pipelines server, or the way to it, can answer, in words: who was asked, for
what, what to do.
"""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xstilts.errors import InfrastructureError

#: HTTP status → what it means here and what to do about it.
MEANING = {
    400: "the server refuses the request",
    401: (
        "the server does not know who asks: put a token into XSTILTS_KFP_TOKEN, a session cookie into "
        "XSTILTS_KFP_COOKIE, or in a pod mount a token and name its file in KF_PIPELINES_SA_TOKEN_PATH"
    ),
    403: "this is not allowed: ask for a role that may use Kubeflow Pipelines here, or give --namespace",
    404: "there is no such thing there: check the name, and that --host is the root of the KFP API (not one of its pages)",
    409: "it is there already, made by somebody else meanwhile: run the same command again",
    429: "the server is asked too much: wait a minute and run the same command again",
}
SERVER = (
    "the server failed: look at the log of deployment/ml-pipeline, then run the same command again"
)
SILENT = "it did not answer in time: check that ml-pipeline runs and that the address leads to it, then try again"
CUT = "it broke off before it had answered: check that ml-pipeline runs and what stands between, then try again"
ABSENT = "it cannot be reached: check --host, and that the port is forwarded (kubectl port-forward svc/ml-pipeline 8888)"
FOREIGN = "what answers there is no KFP API (a sign-in page, or another service): check --host and the credentials"


class KfpError(InfrastructureError):
    """An answer of the server; `status` is HTTP's, 0 where there was no answer. `unsure`: what
    was asked may have been done all the same: the server failed, answered too late, or broke
    off.
    """

    def __init__(self, message: str, status: int = 0, late: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.unsure = late or status >= 500


@contextmanager
def explained(host: str, asked: str) -> Iterator[None]:
    """Turns everything that the KFP client raises into a KfpError. asked: what was wanted, in
    words.
    """
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError, ReadTimeoutError

    try:
        yield
    except ApiException as error:
        status = int(error.status or 0)
        if status == 0:  # how the client reports TLS
            raise KfpError(f"KFP at {host}, asked to {asked}: {_tls(error.reason)}") from error
        meaning = (
            SERVER if status >= 500 else MEANING.get(status, f"it answered with status {status}")
        )
        raise KfpError(
            f"KFP at {host}, asked to {asked}: {status}, {meaning}{_said(error.body)}", status
        ) from error
    except HTTPError as error:
        cause = error.reason if isinstance(error, MaxRetryError) else error
        if isinstance(cause, ssl.SSLError) or type(cause).__name__ == "SSLError":
            raise KfpError(f"KFP at {host}, asked to {asked}: {_tls(cause)}") from error
        late, cut = isinstance(cause, ReadTimeoutError), isinstance(cause, ProtocolError)
        said = SILENT if late else CUT if cut else ABSENT
        raise KfpError(f"KFP at {host}, asked to {asked}: {said}", late=late or cut) from error
    except (AttributeError, ValueError, TypeError) as error:
        raise KfpError(f"KFP at {host}, asked to {asked}: {FOREIGN}") from error


def _tls(reason: Any) -> str:
    return f"its certificate is not accepted ({reason}): name the authority's file with --ca-cert"


def _said(body: Any) -> str:
    """The server's own words, shortened: `message` of its JSON, else nothing (pages of proxies
    help nobody).
    """
    try:
        answer = json.loads(body or b"")
    except ValueError:
        return ""
    words = (
        str(answer.get("message") or answer.get("error") or "") if isinstance(answer, dict) else ""
    )
    return f' (it says: "{" ".join(words.split())[:300]}")' if words else ""
