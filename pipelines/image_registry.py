"""The digest of an image, computed from its manifest (OCI distribution, HTTP API v2)."""

import base64
import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

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
    pool = _pool(name)
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


def _pool(name: ImageName) -> urllib3.PoolManager:
    """Connections to a registry, through HTTPS_PROXY or HTTP_PROXY unless NO_PROXY has the host."""
    settings: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=5, read=30),
        "retries": urllib3.Retry(2, redirect=3),
    }
    host = name.host.rpartition("]")[2].partition(":")[0] or name.host
    proxy = getproxies().get(name.url.partition(":")[0])
    if not proxy or proxy_bypass(host):
        return urllib3.PoolManager(**settings)
    address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if address.scheme not in ("http", "https"):
        raise InfrastructureError(
            f"HTTPS_PROXY: scheme {address.scheme!r} is not supported; use an http:// proxy"
        )
    login = f"{unquote(address.username or '')}:{unquote(address.password or '')}"
    headers = urllib3.make_headers(proxy_basic_auth=login) if address.username else None
    url = f"{address.scheme}://{address.netloc.rpartition('@')[2]}"
    return urllib3.ProxyManager(url, proxy_headers=headers, **settings)


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
    """base64 of user:password from Docker's config.json or its credential helper, if they have
    them.
    """
    folder = os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
    file = Path(folder) / "config.json"
    if not file.is_file():
        return None
    config = read_object(file)
    logins, helpers = config.get("auths", {}), config.get("credHelpers", {})
    names = ("https://index.docker.io/v1/" if host == DOCKER_HUB else host, host, f"https://{host}")
    for key in dict.fromkeys(names):
        helper = helpers.get(key) or config.get("credsStore")
        if helper and (login := _of_helper(helper, key)):
            return login
        entry = logins.get(key, {})
        if entry.get("auth"):
            return str(entry["auth"])
        if entry.get("username") and entry.get("password"):
            return base64.b64encode(f"{entry['username']}:{entry['password']}".encode()).decode()
    return None


def _of_helper(helper: str, server: str) -> str | None:
    """base64 of user:password from `docker-credential-<helper>`, None if it has none. Raises
    InfrastructureError if the helper is not installed.
    """
    program = f"docker-credential-{helper}"
    try:
        answer = subprocess.run(
            [program, "get"], input=server, capture_output=True, text=True, timeout=60, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise InfrastructureError(
            f"{program}: {type(error).__name__}; Docker's config.json names it for {server}: "
            "install it, or run `docker login` without a credential helper"
        ) from error
    if answer.returncode != 0:  # it has no login of this server
        return None
    try:
        login = parse_json(answer.stdout)
    except InvalidDocument as error:
        raise InfrastructureError(f"{program}: invalid answer for {server} ({error})") from error
    return base64.b64encode(f"{login['Username']}:{login['Secret']}".encode()).decode()
