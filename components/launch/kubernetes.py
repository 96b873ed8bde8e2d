"""A small client of the Kubernetes API over urllib3, for the launcher.

429, 5xx and dropped connections are retried with exponential backoff. Other failures raise an
ApiError with the verb, the resource, the status and what to do.
"""

import json
import os
import random
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from xstilts.errors import InfrastructureError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
RAYJOBS = "/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
_RETRIED = (429, 500, 502, 503, 504)
_WHAT_TO_DO = {
    401: "not authenticated: check that the service account's token is mounted and not expired",
    403: "permission denied for the step's service account: apply k8s/base (Role xstilts-step), or "
    "run `xstilts doctor --cluster`",
    404: "not found; for rayjobs: check that KubeRay's CRDs are installed, and the namespace",
    422: "the API server rejects the object",
}


class ApiError(InfrastructureError):
    """A failed request; `status` is the HTTP status, 0 if the server was unreachable."""

    def __init__(self, what: str, status: int, message: str) -> None:
        self.status = status
        hint = f"; {_WHAT_TO_DO[status]}" if status in _WHAT_TO_DO else ""
        super().__init__(f"{what}: {f'HTTP {status}: ' if status else ''}{message}{hint}")


@dataclass
class Api:
    """One API server. token: called for each request, since mounted tokens rotate. patience:
    seconds during which a failing request is retried.
    """

    host: str
    token: Callable[[], str | None] = lambda: None
    pool: urllib3.PoolManager = field(default_factory=urllib3.PoolManager)
    patience: float = 300.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def in_cluster(cls) -> "Api":
        """The API server of this pod, or the one at XSTILTS_KUBERNETES_API, without a token."""
        if other := os.environ.get("XSTILTS_KUBERNETES_API"):
            return cls(other.rstrip("/"))
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
        return cls(f"https://{name}:{port}", lambda: (ACCOUNT / "token").read_text().strip(), pool)

    @classmethod
    def from_kubeconfig(cls) -> "Api":
        """The API server of the current context of KUBECONFIG or ~/.kube/config."""
        from kubernetes import client, config

        settings = client.Configuration()
        try:
            config.load_kube_config(client_configuration=settings)
        except (config.ConfigException, OSError) as error:
            raise InfrastructureError(
                f"no Kubernetes cluster configured ({error}): set KUBECONFIG, or run this in a pod"
            ) from error
        context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
        if not settings.verify_ssl:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file)
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
        until = self.clock() + (self.patience if patience is None else patience)
        url, what = self.host + path + (f"?{urlencode(query)}" if query else ""), f"{verb} {path}"
        pause = 0.5
        while True:
            status, message, retry_after = 0, "", None
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
                    return dict(json.loads(answer.data)) if answer.data else {}
                message = _error_message(answer.data)
                retry_after = answer.headers.get("Retry-After")
            except (urllib3.exceptions.HTTPError, json.JSONDecodeError) as error:
                status = 0
                message = f"{self.host} unreachable ({type(error).__name__}: {error})"
            if status not in (0, *_RETRIED) or self.clock() + pause > until:
                raise ApiError(what, status, message)
            wait = pause * (0.5 + random.random())
            if retry_after and retry_after.isdigit():
                wait = float(retry_after)
            self.sleep(min(wait, max(until - self.clock(), 0)))
            pause = min(pause * 2, 30)


def _error_message(data: bytes) -> str:
    try:
        return str(json.loads(data).get("message", "")) or data.decode(errors="replace")[-500:]
    except (json.JSONDecodeError, AttributeError):
        return data.decode(errors="replace")[-500:]


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
            if error.status == 404 and f'"{name}" not found' in str(error):
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

    def warnings(self, name: str, limit: int = 5) -> list[str]:
        """The last warning events of a RayJob and its pods: why pods do not start."""
        path = f"/api/v1/namespaces/{self.namespace}/events"
        try:
            events = self.api.request(
                "GET", path, query={"fieldSelector": "type=Warning", "limit": "500"}, patience=5
            )
        except ApiError as error:
            return [f"(cannot read its events: {error})"]
        about = [
            e
            for e in events.get("items", [])
            if e.get("involvedObject", {}).get("name", "").startswith(name)
        ]
        about.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
        lines = [
            f"{e['involvedObject'].get('kind', '')} {e.get('reason')}: {e.get('message')}"
            for e in about
        ]
        return list(dict.fromkeys(lines))[-limit:]
