"""The few verbs of the Kubernetes API that the launcher needs, over urllib3: the step's image holds
no more than that.

429, 5xx and dropped connections are tried again, with longer and longer pauses; every other refusal
is an ApiError that names the verb, the resource, the status and what to do.
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
_AGAIN = (429, 500, 502, 503, 504)
_WHAT_TO_DO = {
    401: "the service account's token is refused; is it mounted, and not expired?",
    403: "the step's service account may not do this; apply k8s/base (Role xstilts-step), or run `xstilts doctor "
    "--cluster` to see what is missing",
    404: "it does not exist; for rayjobs: is KubeRay installed (its CRDs), and is the namespace right?",
    422: "the API server refuses the object",
}


class ApiError(InfrastructureError):
    """The API server refused; `status` is its HTTP status, 0 when it could not be reached."""

    def __init__(self, what: str, status: int, message: str) -> None:
        self.status = status
        hint = f"; {_WHAT_TO_DO[status]}" if status in _WHAT_TO_DO else ""
        super().__init__(f"{what}: {f'HTTP {status}: ' if status else ''}{message}{hint}")


@dataclass
class Api:
    """One API server. token: called for each request, since a mounted token is renewed.
    patience: seconds for which a failing request is tried again.
    """

    host: str
    token: Callable[[], str | None] = lambda: None
    pool: urllib3.PoolManager = field(default_factory=urllib3.PoolManager)
    patience: float = 300.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def in_cluster(cls) -> "Api":
        """The API server of the pod this runs in; XSTILTS_KUBERNETES_API names another, without
        a token.
        """
        if other := os.environ.get("XSTILTS_KUBERNETES_API"):
            return cls(other.rstrip("/"))
        host, port = (
            os.environ.get("KUBERNETES_SERVICE_HOST"),
            os.environ.get("KUBERNETES_SERVICE_PORT", "443"),
        )
        if not host or not (ACCOUNT / "token").is_file():
            raise InfrastructureError(
                "not in a pod with a service account: KUBERNETES_SERVICE_HOST or its token is missing; XSTILTS_LAUNCHER "
                "is rayjob only in a cluster's steps (automountServiceAccountToken must be on there)"
            )
        context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
        name = f"[{host}]" if ":" in host else host
        pool = urllib3.PoolManager(ssl_context=context)
        return cls(f"https://{name}:{port}", lambda: (ACCOUNT / "token").read_text().strip(), pool)

    @classmethod
    def from_kubeconfig(cls) -> "Api":
        """The API server of the current context of KUBECONFIG or ~/.kube/config: for people,
        outside a cluster.
        """
        from kubernetes import client, config

        found = client.Configuration()
        try:
            config.load_kube_config(client_configuration=found)
        except (config.ConfigException, OSError) as error:
            raise InfrastructureError(
                f"no cluster: {error}; set KUBECONFIG, or run this in a pod"
            ) from error
        context = ssl.create_default_context(cafile=found.ssl_ca_cert)
        if not found.verify_ssl:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if found.cert_file:
            context.load_cert_chain(found.cert_file, found.key_file)
        bearer = found.get_api_key_with_prefix("authorization")
        token = bearer.removeprefix("Bearer ") if bearer else None
        return cls(
            found.host.rstrip("/"),
            lambda: token,
            urllib3.PoolManager(ssl_context=context),
            patience=10,
        )

    def request(
        self, verb: str, path: str, body: Any = None, query: Mapping[str, str] | None = None,
        content: str = "application/json", patience: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """One request and its JSON answer. Raises ApiError."""
        until = self.clock() + (self.patience if patience is None else patience)
        url, what = self.host + path + (f"?{urlencode(query)}" if query else ""), f"{verb} {path}"
        pause = 0.5
        while True:
            status, message, again = 0, "", None
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
                message, again = _said(answer.data), answer.headers.get("Retry-After")
            except (urllib3.exceptions.HTTPError, json.JSONDecodeError) as error:
                status, message = (
                    0,
                    f"{self.host} cannot be reached, or broke off ({type(error).__name__}: {error})",
                )
            if status not in (0, *_AGAIN) or self.clock() + pause > until:
                raise ApiError(what, status, message)
            wait = float(again) if again and again.isdigit() else pause * (0.5 + random.random())
            self.sleep(min(wait, max(until - self.clock(), 0)))
            pause = min(pause * 2, 30)


def _said(data: bytes) -> str:
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
        """The RayJob, or None when there is none of that name."""
        try:
            return self.api.request("GET", self._path(name), patience=patience)
        except ApiError as error:
            if error.status == 404 and f'"{name}" not found' in str(error):
                return None
            raise

    def labelled(self, selector: str) -> Sequence[dict[str, Any]]:
        """All RayJobs with the labels."""
        return list(
            self.api.request("GET", self._path(), query={"labelSelector": selector}).get(
                "items", []
            )
        )

    def create(self, job: Mapping[str, Any]) -> bool:
        """Makes a RayJob, with strict validation of its fields. False when one of that name is
        there already.
        """
        try:
            self.api.request("POST", self._path(), body=job, query={"fieldValidation": "Strict"})
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True

    def own(self, name: str, owner: Mapping[str, Any]) -> bool:
        """Adds an owner, whatever else happens to the RayJob meanwhile. False when it is gone."""
        while (job := self.get(name)) is not None:
            owners = job["metadata"].get("ownerReferences", [])
            if any(one["uid"] == owner["uid"] for one in owners):
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
                if error.status != 409:  # 409: somebody else changed it in between; look again
                    raise
        return False

    def delete(self, name: str, uid: str | None = None) -> bool:
        """Deletes a RayJob, and by its owner references all that it made. uid: only that very
        one. False when there was none.
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

    def warnings(self, name: str, most: int = 5) -> list[str]:
        """The last warnings about a RayJob and what it made, as lines: why pods do not start."""
        path = f"/api/v1/namespaces/{self.namespace}/events"
        try:
            found = self.api.request(
                "GET", path, query={"fieldSelector": "type=Warning", "limit": "500"}, patience=5
            )
        except ApiError as error:
            return [f"(its events cannot be read: {error})"]
        about = [
            e
            for e in found.get("items", [])
            if e.get("involvedObject", {}).get("name", "").startswith(name)
        ]
        about.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
        lines = [
            f"{e['involvedObject'].get('kind', '')} {e.get('reason')}: {e.get('message')}"
            for e in about
        ]
        return list(dict.fromkeys(lines))[-most:]
