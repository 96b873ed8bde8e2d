"""The Hugging Face hub: what a repository holds at a commit, which files a config's splits are, and
fetching them.

Files are found by datasets' own rules (the card's `configs`, else file names), applied to the list
of names; a data set that the hub keeps as a script is read from the parquet files that the hub made
of it (`refs/convert/parquet`). HF_ENDPOINT names another hub, HF_TOKEN says who asks.
"""

import hashlib
import io
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar
from zipfile import BadZipFile

from xstilts.errors import DataError, InfrastructureError
from xstilts.sources.shard_names import check_shards

Kind = Literal["dataset", "model"]
T = TypeVar("T")
CONVERTED = "refs/convert/parquet"
_CONVERTED_NAME = re.compile(r"([^/]+)/(?:partial-)?([^/]+)/\d+\.parquet")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRIES = 4
_LONGEST_WAIT = 120.0
_CHUNK = 1 << 20
#: Of a model: what transformers reads. Weights in another form are taken only where there are no
#: safetensors.
_MODEL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors", "*.tiktoken")
_OTHER_WEIGHTS = ("pytorch_model*.bin",)


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it. sha256 is given for large files (LFS), git_sha1 for all."""

    name: str
    size: int
    sha256: str | None
    git_sha1: str


@dataclass(frozen=True)
class Repo:
    """A repository at a commit."""

    kind: Kind
    name: str
    revision: str
    files: Mapping[str, RemoteFile] = field(repr=False)


def newest(kind: Kind, name: str, revision: str = "main") -> str:
    """The commit that a branch or tag stands for now."""
    if _COMMIT.fullmatch(revision):
        return revision
    return str(
        _asked(kind, name, lambda api: api.repo_info(name, repo_type=kind, revision=revision).sha)
    )


@cache
def repo(kind: Kind, name: str, revision: str) -> Repo:
    """A repository's files at a commit. DataError where it, or its terms, stand in the way;
    InfrastructureError where the hub does.
    """
    listed = _asked(
        kind,
        name,
        lambda api: list(
            api.list_repo_tree(name, repo_type=kind, revision=revision, recursive=True)
        ),
    )
    files = {
        one.path: RemoteFile(one.path, one.size, one.lfs.sha256 if one.lfs else None, one.blob_id)
        for one in listed
        if hasattr(one, "blob_id") and _is_inside(one.path)
    }
    return Repo(kind, name, revision, files)


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and ".." not in parts and not name.startswith("/")


@cache
def data_revision(path: str) -> str:
    """The newest commit of a data set that holds data files: main's, else that of the hub's
    parquet copy.
    """
    revision = newest("dataset", path)
    if layout(path, revision):
        return revision
    try:
        return newest("dataset", path, CONVERTED)
    except DataError:
        return revision  # what is missing is said by whoever asks for a split


@cache
def layout(path: str, revision: str) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """config → split → its files, in order. Empty where a data set has no data files (a script)."""
    held = repo("dataset", path, revision)
    converted = {name: _CONVERTED_NAME.fullmatch(name) for name in sorted(held.files)}
    if all(converted[name] for name in held.files if name.endswith(".parquet")) and any(
        converted.values()
    ):
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for name, match in converted.items():
            if match:
                splits = found.setdefault(match[1], {})
                splits[match[2]] = (*splits.get(match[2], ()), name)
        return found
    return _by_rules_of_datasets(held)


def _by_rules_of_datasets(held: Repo) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """datasets' rules, over empty files of the same names: nothing but the card is fetched."""
    try:
        from datasets.data_files import DataFilesPatternsDict, EmptyDatasetError
        from datasets.exceptions import DataFilesNotFoundError
        from datasets.load import LocalDatasetModuleFactory
    except (
        ModuleNotFoundError
    ) as error:  # the plan component's image: datasets alone is larger than all of it
        raise InfrastructureError(
            f"{held.name}: which files its splits are is found by the package datasets, which is not installed here; give "
            "--mirror a folder or s3://bucket/prefix (`xstilts mirror pull` fills one from the hub)"
        ) from error

    with tempfile.TemporaryDirectory(prefix="xstilts-layout-") as scratch:
        base = Path(scratch).resolve()
        for name in held.files:
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).touch()
        for name in ("README.md", ".huggingface.yaml"):
            if name in held.files:
                (base / name).write_bytes(read(held, name))
        (base / "dataset_infos.json").unlink(missing_ok=True)
        try:
            module = LocalDatasetModuleFactory(str(base)).get_module()
        except (EmptyDatasetError, DataFilesNotFoundError):
            return {}
        except (OSError, ValueError, BadZipFile) as error:
            raise DataError(
                f"{held.name}: datasets cannot tell its data files ({type(error).__name__}: {error})"
            ) from error
        found = {}
        for config in module.builder_configs_parameters.builder_configs or ():
            files = config.data_files
            if isinstance(files, DataFilesPatternsDict):
                try:
                    files = files.resolve(base_path=str(base))
                except FileNotFoundError:
                    continue  # the card names files that are not there
            found[str(config.name)] = {
                str(split): tuple(Path(path).relative_to(base).as_posix() for path in paths)
                for split, paths in files.items()
            }
        return found


def split_files(
    path: str, revision: str, config: str | None, split: str
) -> dict[str, list[RemoteFile]]:
    """split → its files, of `a+b` each. DataError names what is missing and what there is."""
    configs = layout(path, revision)
    name = config or "default"
    if not configs:
        raise DataError(
            f"{path}: the hub has no data files at {revision[:12]}, only a script, which is not run"
        )
    if name not in configs:
        raise DataError(f"{path} ({name}): the hub has no config {name}; it has {_some(configs)}")
    splits, wanted = configs[name], split.split("+")
    if absent := [one for one in wanted if one not in splits]:
        raise DataError(
            f"{path} ({name}): the hub has no split {', '.join(absent)}; it has {_some(splits)}"
        )
    held = repo("dataset", path, revision)
    for one in wanted:
        check_shards(splits[one], f"{path} ({name}), split {one}: the hub at {revision[:12]}")
    return {one: [held.files[file] for file in splits[one]] for one in wanted}


def _some(names: Mapping[str, Any]) -> str:
    shown = sorted(names)[:12]
    return ", ".join(shown) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def model_files(held: Repo) -> list[RemoteFile]:
    """The files of a model that transformers reads: its top folder's configuration, tokenizer
    and weights.
    """
    top = [one for name, one in sorted(held.files.items()) if "/" not in name]
    kept = [one for one in top if any(fnmatch(one.name, pattern) for pattern in _MODEL_FILES)]
    if not any(one.name.endswith(".safetensors") for one in kept):
        kept += [
            one for one in top if any(fnmatch(one.name, pattern) for pattern in _OTHER_WEIGHTS)
        ]
        kept = [one for one in kept if not one.name.endswith("safetensors.index.json")]
    if not any(one.name == "config.json" for one in kept):
        raise DataError(
            f"{held.name}: the hub's repository holds no config.json, so it is no model"
        )
    return kept


# ---- bytes ----


def read(held: Repo, name: str) -> bytes:
    """A small file's bytes, verified."""
    with tempfile.TemporaryDirectory(prefix="xstilts-hub-") as scratch:
        part = Path(scratch) / "part"
        fetch(held, held.files[name], part)
        return part.read_bytes()


class _Ranged(io.RawIOBase):
    """A file of the hub, read by ranges."""

    def __init__(self, held: Repo, file: RemoteFile) -> None:
        self.held, self.file, self.place = held, file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = (
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.file.size}[whence]
        )
        return self.place

    def tell(self) -> int:
        return self.place

    def readinto(self, buffer: Any) -> int:
        last = min(self.place + len(buffer), self.file.size)
        if last <= self.place:
            return 0
        data = _asked(
            self.held.kind, self.held.name, partial(_range, self.held, self.file, self.place, last)
        )
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)


def _range(held: Repo, file: RemoteFile, first: int, last: int, _: Any) -> bytes:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    url = hf_hub_url(held.name, file.name, repo_type=held.kind, revision=held.revision)
    headers = {
        **build_hf_headers(),
        "Range": f"bytes={first}-{last - 1}",
        "Accept-Encoding": "identity",
    }
    response = get_session().get(url, headers=headers, follow_redirects=True)
    hf_raise_for_status(response)
    data: bytes = response.content
    return data if response.status_code == 206 else data[first:last]


def open_remote(held: Repo, file: RemoteFile) -> io.BufferedReader:
    """A file of the hub for reading here and there: only what is read is fetched, a megabyte at
    a time. Not verified.
    """
    return io.BufferedReader(_Ranged(held, file), _CHUNK)


def local(held: Repo, file: RemoteFile) -> Path:
    """A verified copy of a file in the local cache."""
    root = Path(os.environ.get("XSTILTS_CACHE", tempfile.gettempdir())) / "hub" / f"{held.kind}s"
    path = root / held.name / held.revision / file.name
    if not (path.is_file() and path.stat().st_size == file.size):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=path.parent) as scratch:
            part = Path(scratch) / "part"
            fetch(held, file, part)
            os.replace(part, path)
    return path


def fetch(held: Repo, file: RemoteFile, part: Path) -> str:
    """Fetches a file into `part`, going on where an earlier attempt left it, and returns its
    SHA-256. What arrived is held against the hub's own digest and size: other bytes are fetched
    once more, then refused (DataError).
    """
    for attempt in (1, 2):
        _download(held, file, part)
        sha256, wrong = _checked(file, part)
        if not wrong:
            return sha256
        part.unlink()
        if attempt == 2:
            raise DataError(
                f"{held.name}/{file.name} at {held.revision[:12]}: {wrong}; nothing of it was kept"
            )
    raise AssertionError("unreachable")


def _checked(file: RemoteFile, part: Path) -> tuple[str, str]:
    """(SHA-256, what is wrong with the bytes or nothing)."""
    sha256, size = hashlib.sha256(), part.stat().st_size
    git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with open(part, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            sha256.update(chunk)
            git.update(chunk)
    if size != file.size:
        return "", f"{size} bytes arrived where the hub lists {file.size}"
    found, listed = (
        (sha256.hexdigest(), file.sha256) if file.sha256 else (git.hexdigest(), file.git_sha1)
    )
    return (
        sha256.hexdigest(),
        ""
        if found == listed
        else f"digest {found[:16]}… arrived where the hub lists {listed[:16]}…",
    )


def _download(held: Repo, file: RemoteFile, part: Path) -> None:
    """Streams into `part` from where it ends. A broken connection is taken up again as long as
    bytes arrive.
    """
    import httpx2
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(held.name, file.name, repo_type=held.kind, revision=held.revision)
    failures = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        if have > file.size:
            part.unlink()
            have = 0
        if have == file.size and part.exists():
            return
        try:
            _asked(held.kind, held.name, partial(_stream, url, part, have), streamed=True)
        except httpx2.TransportError as error:
            now = part.stat().st_size if part.exists() else 0
            failures = 1 if now > have else failures + 1
            if failures >= _TRIES:
                raise InfrastructureError(
                    f"{held.name}/{file.name}: the connection to the hub breaks ({type(error).__name__}: {error}) after "
                    f"{now} of {file.size} bytes; the same command goes on from there"
                ) from error
            continue
        if (part.stat().st_size if part.exists() else 0) < file.size:
            failures += 1
            if failures >= _TRIES:
                return  # the size is what is found wrong


def _stream(url: str, part: Path, have: int, _: Any) -> None:
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    headers = {
        **build_hf_headers(),
        **({"Range": f"bytes={have}-"} if have else {}),
        "Accept-Encoding": "identity",
    }
    with get_session().stream("GET", url, headers=headers, follow_redirects=True) as response:
        hf_raise_for_status(response)
        with open(part, "ab" if have and response.status_code == 206 else "wb") as out:
            for chunk in response.iter_bytes():  # as it arrives: what came before a break is kept
                out.write(chunk)
                out.flush()


# ---- asking ----


def _asked(kind: Kind, name: str, ask: Callable[[Any], T], streamed: bool = False) -> T:
    """What the hub answers. A hub that asks for patience, or fails, is asked again; the rest is
    said in words. streamed: a broken connection is the caller's to take up.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(1, _TRIES + 1):
        with _explained(kind, name):
            try:
                return ask(HfApi())
            except HfHubHTTPError as error:
                if error.response.status_code not in (429, 500, 502, 503, 504) or attempt == _TRIES:
                    raise
                wait = _wait(error.response.headers, attempt)
            except (httpx2.ReadError, httpx2.ReadTimeout, httpx2.RemoteProtocolError) as error:
                if streamed:
                    raise
                if attempt == _TRIES:
                    raise InfrastructureError(
                        f"{name}: the connection to the hub breaks ({error}); try again"
                    ) from error
                wait = _wait({}, attempt)
        time.sleep(wait)
    raise AssertionError("unreachable")


def _wait(headers: Mapping[str, str], attempt: int) -> float:
    """Seconds that the hub asks for (Retry-After, or RateLimit's `t=`), else longer each time."""
    given = headers.get("Retry-After") or next(
        iter(re.findall(r"\bt=(\d+)", headers.get("RateLimit", ""))), None
    )
    return min(_LONGEST_WAIT, float(given) if given and given.isdigit() else 2.0**attempt)


@contextmanager
def _explained(kind: Kind, name: str) -> Iterator[None]:
    """Turns the hub's errors into a DataError (it will not give this) or an InfrastructureError
    (it cannot now).
    """
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )  # fmt: skip

    try:
        yield
    except GatedRepoError as error:
        raise DataError(
            f"{name}: gated; accept its terms on its page at the hub, then set HF_TOKEN to a token of that account"
        ) from error
    except RevisionNotFoundError as error:
        raise DataError(f"{name}: the hub has no such revision ({_first_line(error)})") from error
    except RepositoryNotFoundError as error:
        raise DataError(
            f"{name}: the hub has no such {kind}, or it is private and HF_TOKEN may not read it"
        ) from error
    except HFValidationError as error:
        raise DataError(f"{name}: no name of a {kind} on the hub") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise DataError(
                f"{name}: the hub refuses it ({status}); set HF_TOKEN to a token that may read it"
            ) from error
        if status == 404:
            raise DataError(f"{name}: the hub does not have it ({_first_line(error)})") from error
        if status == 429:
            raise InfrastructureError(
                f"{name}: the hub asks for fewer requests (429) and was waited for {_TRIES} times; set HF_TOKEN, or start "
                "the same command again later: it goes on from here"
            ) from error
        raise InfrastructureError(
            f"{name}: the hub fails ({status}); start the same command again later"
        ) from error
    except (OfflineModeIsEnabled, httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise InfrastructureError(
            f"{name}: the hub cannot be reached ({type(error).__name__}: {_first_line(error)}); give --mirror a folder or "
            "s3://bucket/prefix that `xstilts mirror pull` filled"
        ) from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
