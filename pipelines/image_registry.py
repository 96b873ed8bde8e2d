"""What an image's digest is, from the bytes of its manifest, by the registry's HTTP API v2 (OCI
distribution).
"""

import base64
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from xstilts.errors import InfrastructureError, PlanError

#: What a tag may stand for: an index of platforms or one image, in OCI's words and in Docker's.
ACCEPTED = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
DOCKER_HUB = "registry-1.docker.io"
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class Name:
    """host[:port], the repository on it, and the tag of an image."""

    host: str
    repository: str
    tag: str

    @property
    def url(self) -> str:
        """Of its manifest. A registry on this machine is asked over plain HTTP, as Docker does."""
        plain = re.match(r"(localhost|127\.0\.0\.1|\[::1\])(:|$)", self.host)
        return f"{'http' if plain else 'https'}://{self.host}/v2/{self.repository}/manifests/{self.tag}"


def parse(reference: str) -> Name:
    """A reference by tag in parts: `python:3.11` is docker.io's library/python. PlanError for
    one without a tag.
    """
    head, colon, tag = reference.rpartition(":")
    if not colon or not _TAG.fullmatch(tag) or "@" in reference:
        raise PlanError(f"{reference!r} is no image by tag; expected [registry/]name:tag")
    first, slash, rest = head.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        host, repository = first, rest
    else:
        host, repository = "docker.io", head
    if host == "docker.io":
        return Name(DOCKER_HUB, repository if "/" in repository else f"library/{repository}", tag)
    return Name(host, repository, tag)


def digest(reference: str) -> str:
    """`sha256:…` of what a tag stands for now: computed here from the manifest's bytes, and
    compared with what the registry says. InfrastructureError says what the registry answered.
    """
    name = parse(reference)
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5, read=30), retries=urllib3.Retry(2, redirect=3)
    )
    headers = {"Accept": ", ".join(ACCEPTED)}
    answer = _get(pool, reference, name.url, headers)
    if answer.status == 401:
        headers["Authorization"] = _authorisation(
            pool, name, answer.headers.get("WWW-Authenticate", "")
        )
        answer = _get(pool, reference, name.url, headers)
    if answer.status == 404:
        raise InfrastructureError(f"{reference}: {name.host} has no such image; push it first")
    if answer.status in (401, 403):
        raise InfrastructureError(
            f"{reference}: {name.host} refuses ({answer.status}); log in with `docker login {name.host}`"
        )
    if answer.status != 200:
        raise InfrastructureError(
            f"{reference}: {name.host} answers {answer.status}: {answer.data[:200]!r}"
        )
    computed = f"sha256:{hashlib.sha256(answer.data).hexdigest()}"
    told = answer.headers.get("Docker-Content-Digest")
    if told not in (None, computed):
        raise InfrastructureError(
            f"{reference}: {name.host} says {told}, but its bytes are {computed}; something changes them"
        )
    return computed


def _get(pool: urllib3.PoolManager, reference: str, url: str, headers: dict[str, str]) -> Any:
    try:
        return pool.request("GET", url, headers=headers)
    except urllib3.exceptions.HTTPError as error:
        raise InfrastructureError(
            f"{reference}: {url} cannot be reached ({type(error).__name__}: {error})"
        ) from error


def _authorisation(pool: urllib3.PoolManager, name: Name, challenge: str) -> str:
    """The Authorization header that a challenge asks for; with the credentials of `docker login`
    where there are some, else anonymous.
    """
    scheme, _, rest = challenge.partition(" ")
    stored = _stored(name.host)
    if scheme.lower() == "basic" and stored:
        return f"Basic {stored}"
    asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    if scheme.lower() != "bearer" or "realm" not in asked:
        raise InfrastructureError(
            f"{name.host} asks for credentials; log in with `docker login {name.host}`"
        )
    fields = {key: asked[key] for key in ("service", "scope") if key in asked}
    headers = {"Authorization": f"Basic {stored}"} if stored else {}
    answer = _get(pool, name.repository, f"{asked['realm']}?{urlencode(fields)}", headers)
    if answer.status != 200:
        raise InfrastructureError(f"{name.host}: {asked['realm']} gives no token ({answer.status})")
    document = json.loads(answer.data)
    return f"Bearer {document.get('token') or document['access_token']}"


def _stored(host: str) -> str | None:
    """base64 of user:password from Docker's configuration, where it keeps them in the file
    itself.
    """
    folder = os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
    file = Path(folder) / "config.json"
    if not file.is_file():
        return None
    known = json.loads(file.read_text()).get("auths", {})
    for key in (
        host,
        f"https://{host}",
        "https://index.docker.io/v1/" if host == DOCKER_HUB else host,
    ):
        entry = known.get(key, {})
        if entry.get("auth"):
            return str(entry["auth"])
        if entry.get("username") and entry.get("password"):
            return base64.b64encode(f"{entry['username']}:{entry['password']}".encode()).decode()
    return None
