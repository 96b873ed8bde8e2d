"""A small client of the Kubernetes API over urllib3, for the launcher.

429, 5xx, TLS errors and dropped connections are retried with exponential backoff. An API server
that starts answers 403, or 404 without an object, before it has read its rules and CRDs: after a
first success, these are retried too. Other failures raise an ApiError with the verb, the resource,
the status and what to do.
"""

import json
import os
import random
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from xstilts.errors import InfrastructureError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
RAYJOBS = "/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
_RETRIED = (429, 500, 502, 503, 504)
#: What a starting API server may answer to a request that it answered before.
_DOUBTED = (401, 403, 404)
#: How long such an answer is retried.
DOUBT_SECONDS = 120.0
_WHAT_TO_DO = {
    401: "not authenticated: check that the service account's token is mounted and not expired",
    403: "permission denied for the step's service account: apply k8s/base (Role xstilts-step), or "
    "run `xstilts doctor --cluster`",
    404: "not found; for rayjobs: check that KubeRay's CRDs are installed, and the namespace",
    422: "the API server rejects the object",
}


class ApiError(InfrastructureError):
    """A failed request. status: the HTTP status, 0 if the server was unreachable. names_object:
    whether the answer names the object that it is about.
    """

    def __init__(self, what: str, status: int, message: str, names_object: bool = False) -> None:
        self.status, self.names_object = status, names_object
        hint = f"; {_WHAT_TO_DO[status]}" if status in _WHAT_TO_DO else ""
        super().__init__(f"{what}: {f'HTTP {status}: ' if status else ''}{message}{hint}")


def load_kubeconfig(otherwise: str, **options: Any) -> None:
    """Loads the current context of KUBECONFIG or ~/.kube/config.

    Args:
        otherwise: what to do without a kubeconfig.
        options: of the client's `load_kube_config`.

    Raises:
        InfrastructureError: there is none, or it is invalid.
    """
    from kubernetes import config
    from yaml import YAMLError

    try:
        config.load_kube_config(**options)
    except (config.ConfigException, OSError) as error:
        raise InfrastructureError(
            f"no Kubernetes cluster configured ({error}): set KUBECONFIG, {otherwise}"
        ) from error
    # The client indexes the document without looking what it is.
    except (YAMLError, UnicodeError, TypeError, KeyError, AttributeError, ValueError) as error:
        cause = " ".join(str(error).split())
        raise InfrastructureError(
            f"the kubeconfig is invalid ({type(error).__name__}: {cause}); correct the file, or "
            f"set KUBECONFIG to another, {otherwise}"
        ) from error


@dataclass
class Api:
    """One API server.

    Attributes:
        token: Called for each request, since mounted tokens rotate.
        patience: Seconds during which a failing request is retried.
        doubt: Seconds during which 401, 403 and a 404 that names no object are retried after a
            first success.
        proven: Whether a request has succeeded.
    """

    host: str
    token: Callable[[], str | None] = lambda: None
    pool: urllib3.PoolManager = field(default_factory=urllib3.PoolManager)
    patience: float = 300.0
    doubt: float = 0.0
    proven: bool = False
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def in_cluster(cls) -> "Api":
        """The API server of this pod, or the one at XSTILTS_KUBERNETES_API, without a token."""
        if other := os.environ.get("XSTILTS_KUBERNETES_API"):
            return cls(other.rstrip("/"), doubt=DOUBT_SECONDS)
        host, port = (
            os.environ.get("KUBERNETES_SERVICE_HOST"),
            os.environ.get("KUBERNETES_SERVICE_PORT", "443"),
        )
        if not host or not (ACCOUNT / "token").is_file():
            raise InfrastructureError(
                "not in a pod with a service account: KUBERNETES_SERVICE_HOST or the token is "
                "missing; XSTILTS_LAUNCHER=rayjob works only in a cluster's steps, with "
                "automountServiceAccountToken"
            )
        context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
        name = f"[{host}]" if ":" in host else host
        pool = urllib3.PoolManager(ssl_context=context)
        return cls(
            f"https://{name}:{port}",
            lambda: (ACCOUNT / "token").read_text().strip(),
            pool,
            doubt=DOUBT_SECONDS,
        )

    @classmethod
    def from_kubeconfig(cls) -> "Api":
        """The API server of the current context of KUBECONFIG or ~/.kube/config."""
        from kubernetes import client

        settings = client.Configuration()
        load_kubeconfig("or run this in a pod", client_configuration=settings)
        try:
            context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
            if not settings.verify_ssl:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if settings.cert_file:
                context.load_cert_chain(settings.cert_file, settings.key_file)
        except OSError as error:  # also of an invalid certificate
            raise InfrastructureError(
                f"a certificate of the kubeconfig cannot be used ({error}); correct the file, or "
                "set KUBECONFIG to another"
            ) from error
        bearer = settings.get_api_key_with_prefix("authorization")
        token = bearer.removeprefix("Bearer ") if bearer else None
        return cls(
            settings.host.rstrip("/"),
            lambda: token,
            urllib3.PoolManager(ssl_context=context),
            patience=10,
        )

    def request(
        self, verb: str, path: str, body: Any = None, query: Mapping[str, str] | None = None,
        content: str = "application/json", patience: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Sends a request and returns the JSON response. Raises ApiError."""
        started, patience = self.clock(), self.patience if patience is None else patience
        url, what = self.host + path + (f"?{urlencode(query)}" if query else ""), f"{verb} {path}"
        pause = 0.5
        while True:
            status, message, named, retry_after = 0, "", False, None
            try:
                headers = {"Accept": "application/json", "Content-Type": content}
                if token := self.token():
                    headers["Authorization"] = f"Bearer {token}"
                answer = self.pool.request(
                    verb,
                    url,
                    body=None if body is None else json.dumps(body).encode(),
                    headers=headers,
                    timeout=urllib3.Timeout(connect=5, read=30),
                    retries=False,
                    redirect=False,
                )
                status = answer.status
                if status < 300:
                    document = dict(json.loads(answer.data)) if answer.data else {}
                    self.proven = True
                    return document
                message, named = _error_message(answer.data)
                retry_after = answer.headers.get("Retry-After")
            except (urllib3.exceptions.HTTPError, json.JSONDecodeError) as error:
                status = 0
                message = f"{self.host} unreachable ({type(error).__name__}: {error})"
            if self.proven and status in _DOUBTED and not (status == 404 and named):
                until = started + min(self.doubt, patience)
            elif status not in (0, *_RETRIED):
                raise ApiError(what, status, message, named)
            else:
                until = started + patience
            if self.clock() + pause > until:
                raise ApiError(what, status, message, named)
            wait = pause * (0.5 + random.random())
            if retry_after and retry_after.isdigit():
                wait = float(retry_after)
            self.sleep(min(wait, max(until - self.clock(), 0)))
            pause = min(pause * 2, 30)


def epoch(timestamp: str) -> float:
    """Seconds since 1970 of a time stamp of an object."""
    return datetime.fromisoformat(timestamp).timestamp()


def _error_message(data: bytes) -> tuple[str, bool]:
    """(message, whether it names an object) of the body of an error."""
    text = data.decode(errors="replace")[-500:]
    try:
        document = json.loads(data)
        details = document.get("details") or {}
        return str(document.get("message", "")) or text, bool(details.get("name"))
    except (json.JSONDecodeError, AttributeError):
        return text, False


@dataclass
class RayJobs:
    """The RayJobs of one namespace."""

    api: Api
    namespace: str

    def _path(self, name: str = "") -> str:
        return RAYJOBS.format(namespace=self.namespace) + (f"/{name}" if name else "")

    def get(self, name: str, patience: float | None = None) -> dict[str, Any] | None:
        """The RayJob with this name, or None."""
        try:
            return self.api.request("GET", self._path(name), patience=patience)
        except ApiError as error:
            if error.status == 404 and error.names_object:
                return None
            raise

    def labelled(self, selector: str) -> Sequence[dict[str, Any]]:
        """All RayJobs that match a label selector."""
        return list(
            self.api.request("GET", self._path(), query={"labelSelector": selector}).get(
                "items", []
            )
        )

    def create(self, job: Mapping[str, Any]) -> bool:
        """Creates a RayJob, with strict validation of its fields. False if the name exists."""
        try:
            self.api.request("POST", self._path(), body=job, query={"fieldValidation": "Strict"})
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True

    def own(self, name: str, owner: Mapping[str, Any]) -> bool:
        """Adds an owner, retrying on concurrent changes. False if the RayJob does not exist."""
        while (job := self.get(name)) is not None:
            owners = job["metadata"].get("ownerReferences", [])
            if any(other["uid"] == owner["uid"] for other in owners):
                return True
            patch = {
                "resourceVersion": job["metadata"]["resourceVersion"],
                "ownerReferences": [*owners, dict(owner)],
            }
            try:
                self.api.request(
                    "PATCH",
                    self._path(name),
                    body={"metadata": patch},
                    content="application/merge-patch+json",
                )
                return True
            except ApiError as error:
                if error.status == 404:
                    return False
                if error.status != 409:  # 409: concurrent change, read it again
                    raise
        return False

    def delete(self, name: str, uid: str | None = None) -> bool:
        """Deletes a RayJob and, through owner references, everything it created. uid: only the
        job with this uid. False if it does not exist.
        """
        body: dict[str, Any] = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
        }
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            self.api.request("DELETE", self._path(name), body=body)
        except ApiError as error:
            if error.status == 404 or (error.status == 409 and uid):
                return False
            raise
        return True

    def pods(self, cluster: str) -> list[dict[str, Any]]:
        """The pods of a Ray cluster."""
        return self._read(
            f"/api/v1/namespaces/{self.namespace}/pods",
            {"labelSelector": f"ray.io/cluster={cluster}"},
        )

    def workloads(self, uid: str) -> list[dict[str, Any]]:
        """Kueue's Workloads of the RayJob with this uid, from the newest version of its API."""
        query = {"labelSelector": f"kueue.x-k8s.io/job-uid={uid}"}
        path = f"namespaces/{self.namespace}/workloads"
        try:
            return self._read(f"/apis/kueue.x-k8s.io/v1beta2/{path}", query)
        except ApiError as error:
            if error.status != 404:
                raise
            return self._read(f"/apis/kueue.x-k8s.io/v1beta1/{path}", query)

    def events(self, kind: str, name: str) -> list[dict[str, Any]]:
        """The warnings about an object."""
        about = f"type=Warning,involvedObject.kind={kind},involvedObject.name={name}"
        return self._read(
            f"/api/v1/namespaces/{self.namespace}/events",
            {"fieldSelector": about, "limit": "100"},
        )

    def _read(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Lists objects that only explain something: without patience."""
        return list(self.api.request("GET", path, query=query, patience=0).get("items", []))
