"""The digest of an image, computed from its manifest (OCI distribution, HTTP API v2)."""

import base64
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from xstilts.errors import InfrastructureError, PlanError
from xstilts.input_files import InvalidDocument, parse_json, read_object

#: Media types of a tag's manifest: a platform index or one image, by OCI and by Docker.
ACCEPTED = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
DOCKER_HUB = "registry-1.docker.io"
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class ImageName:
    """Registry host[:port], repository and tag of an image."""

    host: str
    repository: str
    tag: str

    @property
    def url(self) -> str:
        """URL of the manifest. Like Docker, it uses plain HTTP for a registry on this machine."""
        local = re.match(r"(localhost|127\.0\.0\.1|\[::1\])(:|$)", self.host)
        scheme = "http" if local else "https"
        return f"{scheme}://{self.host}/v2/{self.repository}/manifests/{self.tag}"


def parse(reference: str) -> ImageName:
    """Parses a reference with a tag; `python:3.11` is library/python on docker.io. Raises PlanError
    for one without a tag.
    """
    head, colon, tag = reference.rpartition(":")
    if not colon or not _TAG.fullmatch(tag) or "@" in reference:
        raise PlanError(f"{reference!r}: not an image tag; expected [registry/]name:tag")
    first, slash, rest = head.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        host, repository = first, rest
    else:
        host, repository = "docker.io", head
    if host == "docker.io":
        return ImageName(
            DOCKER_HUB, repository if "/" in repository else f"library/{repository}", tag
        )
    return ImageName(host, repository, tag)


def digest(reference: str) -> str:
    """Returns the current `sha256:…` of a tag, computed from the manifest's bytes and compared with
    the registry's own. Raises InfrastructureError with the registry's answer.
    """
    name = parse(reference)
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5, read=30), retries=urllib3.Retry(2, redirect=3)
    )
    headers = {"Accept": ", ".join(ACCEPTED)}
    answer = _get(pool, reference, name.url, headers)
    if answer.status == 401:
        headers["Authorization"] = _authorization(
            pool, name, answer.headers.get("WWW-Authenticate", "")
        )
        answer = _get(pool, reference, name.url, headers)
    if answer.status == 404:
        raise InfrastructureError(f"{reference}: no such image on {name.host}; push it first")
    if answer.status in (401, 403):
        raise InfrastructureError(
            f"{reference}: {name.host} denied access ({answer.status}); run "
            f"`docker login {name.host}`"
        )
    if answer.status != 200:
        raise InfrastructureError(
            f"{reference}: {name.host} returned status {answer.status}: {answer.data[:200]!r}"
        )
    computed = f"sha256:{hashlib.sha256(answer.data).hexdigest()}"
    declared = answer.headers.get("Docker-Content-Digest")
    if declared not in (None, computed):
        raise InfrastructureError(
            f"{reference}: digest mismatch: {name.host} declares {declared}, its manifest has "
            f"{computed}; check for a proxy in between"
        )
    return computed


def _get(pool: urllib3.PoolManager, reference: str, url: str, headers: dict[str, str]) -> Any:
    try:
        return pool.request("GET", url, headers=headers)
    except urllib3.exceptions.HTTPError as error:
        raise InfrastructureError(
            f"{reference}: cannot reach {url} ({type(error).__name__}: {error})"
        ) from error


def _authorization(pool: urllib3.PoolManager, name: ImageName, challenge: str) -> str:
    """The Authorization header for a challenge, with the credentials of `docker login` if there are
    any, else anonymous.
    """
    scheme, _, rest = challenge.partition(" ")
    stored = _stored(name.host)
    if scheme.lower() == "basic" and stored:
        return f"Basic {stored}"
    parameters = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    if scheme.lower() != "bearer" or "realm" not in parameters:
        raise InfrastructureError(
            f"{name.host} requires credentials; run `docker login {name.host}`"
        )
    fields = {key: parameters[key] for key in ("service", "scope") if key in parameters}
    headers = {"Authorization": f"Basic {stored}"} if stored else {}
    answer = _get(pool, name.repository, f"{parameters['realm']}?{urlencode(fields)}", headers)
    if answer.status != 200:
        raise InfrastructureError(
            f"{name.host}: no token from {parameters['realm']} (status {answer.status})"
        )
    try:
        document = parse_json(answer.data)
    except InvalidDocument as error:
        raise InfrastructureError(
            f"{name.host}: {parameters['realm']} answered with no token ({error})"
        ) from error
    return f"Bearer {document.get('token') or document['access_token']}"


def _stored(host: str) -> str | None:
    """base64 of user:password from Docker's config.json, if it has them."""
    folder = os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
    file = Path(folder) / "config.json"
    if not file.is_file():
        return None
    logins = read_object(file).get("auths", {})
    for key in (
        host,
        f"https://{host}",
        "https://index.docker.io/v1/" if host == DOCKER_HUB else host,
    ):
        entry = logins.get(key, {})
        if entry.get("auth"):
            return str(entry["auth"])
        if entry.get("username") and entry.get("password"):
            return base64.b64encode(f"{entry['username']}:{entry['password']}".encode()).decode()
    return None
