"""Downloads from the Hugging Face hub: resumed, and verified against the digests of the hub."""

import hashlib
import io
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from xstilts.errors import DataError, InfrastructureError
from xstilts.sources.hub_client import MAX_ATTEMPTS, RemoteFile, Repo, request
from xstilts.store.private_files import cache_folder

_CHUNK = 1 << 20


def read_small(repo: Repo, name: str) -> bytes:
    """The verified bytes of a small file."""
    with tempfile.TemporaryDirectory(prefix="xstilts-hub-") as scratch:
        part = Path(scratch) / "part"
        download(repo, repo.files[name], part)
        return part.read_bytes()


def cached_file(repo: Repo, file: RemoteFile) -> Path:
    """A copy of a file in the local cache, verified when it was downloaded."""
    cache = cache_folder() / "hub" / f"{repo.kind}s"
    path = cache / repo.name / repo.revision / file.name
    if not (path.is_file() and path.stat().st_size == file.size):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=path.parent) as scratch:
            part = Path(scratch) / "part"
            download(repo, file, part)
            os.replace(part, path)
    return path


def download(repo: Repo, file: RemoteFile, part: Path) -> str:
    """Downloads a file to `part`, resuming a partial download, and returns its SHA-256.

    On a checksum or size mismatch the file is downloaded once more; then DataError.
    """
    for attempt in (1, 2):
        _download(repo, file, part)
        sha256, mismatch = _verified(file, part)
        if not mismatch:
            return sha256
        part.unlink()
        if attempt == 2:
            raise DataError(
                f"{repo.name}/{file.name} at {repo.revision[:12]}: {mismatch}, also after a second "
                "download; the file was not kept; check proxies between here and the hub"
            )
    raise AssertionError("unreachable")


def _verified(file: RemoteFile, part: Path) -> tuple[str, str]:
    """(SHA-256, mismatch with the hub's listing or an empty text)."""
    sha256, size = hashlib.sha256(), part.stat().st_size
    git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with open(part, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            sha256.update(chunk)
            git.update(chunk)
    if size != file.size:
        return "", f"size mismatch ({size} bytes, the hub lists {file.size})"
    if file.sha256:
        digest, expected = sha256.hexdigest(), file.sha256
    else:
        digest, expected = git.hexdigest(), file.git_sha1
    if digest == expected:
        return sha256.hexdigest(), ""
    return (
        sha256.hexdigest(),
        f"checksum mismatch ({digest[:16]}…, the hub lists {expected[:16]}…)",
    )


def _download(repo: Repo, file: RemoteFile, part: Path) -> None:
    """Appends to `part` until it is complete. Broken connections are resumed as long as bytes
    arrive.
    """
    import httpx2
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repo.name, file.name, repo_type=repo.kind, revision=repo.revision)
    failures = 0
    while True:
        size = _size(part)
        if size > file.size:
            part.unlink()
            size = 0
        if size == file.size and part.exists():
            return
        try:
            request(repo.kind, repo.name, partial(_stream, url, part, size), streamed=True)
        except httpx2.TransportError as error:
            new_size = _size(part)
            failures = 1 if new_size > size else failures + 1
            if failures >= MAX_ATTEMPTS:
                raise InfrastructureError(
                    f"{repo.name}/{file.name}: the connection to the hub keeps breaking "
                    f"({type(error).__name__}: {error}), after {new_size} of {file.size} bytes; "
                    "run the same command to resume"
                ) from error
            continue
        if _size(part) < file.size:
            failures += 1
            if failures >= MAX_ATTEMPTS:
                return  # reported as a size mismatch


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _stream(url: str, part: Path, offset: int, _: Any) -> None:
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    headers = {
        **build_hf_headers(),
        **({"Range": f"bytes={offset}-"} if offset else {}),
        "Accept-Encoding": "identity",
    }
    with get_session().stream("GET", url, headers=headers, follow_redirects=True) as response:
        hf_raise_for_status(response)
        with open(part, "ab" if offset and response.status_code == 206 else "wb") as out:
            for chunk in response.iter_bytes():
                out.write(chunk)
                out.flush()  # a broken connection must not lose the bytes before it


class _RangedFile(io.RawIOBase):
    """A file on the hub that is read with Range requests."""

    def __init__(self, repo: Repo, file: RemoteFile) -> None:
        self.repo, self.file, self.position = repo, file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.file.size}
        self.position = offset + origins[whence]
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: Any) -> int:
        end = min(self.position + len(buffer), self.file.size)
        if end <= self.position:
            return 0
        read = partial(_read_range, self.repo, self.file, self.position, end)
        data = request(self.repo.kind, self.repo.name, read)
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)


def _read_range(repo: Repo, file: RemoteFile, first: int, end: int, _: Any) -> bytes:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    url = hf_hub_url(repo.name, file.name, repo_type=repo.kind, revision=repo.revision)
    headers = {
        **build_hf_headers(),
        "Range": f"bytes={first}-{end - 1}",
        "Accept-Encoding": "identity",
    }
    response = get_session().get(url, headers=headers, follow_redirects=True)
    hf_raise_for_status(response)
    data: bytes = response.content
    return data if response.status_code == 206 else data[first:end]


def open_remote(repo: Repo, file: RemoteFile) -> io.BufferedReader:
    """Opens a file on the hub for random access: only the parts that are read are downloaded, in
    blocks of 1 MiB. Not verified.
    """
    return io.BufferedReader(_RangedFile(repo, file), _CHUNK)
