"""The files that a plan needs from the hub or from another mirror."""

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from xstilts.data.records import source_of
from xstilts.errors import DataError
from xstilts.plan.expansion import Expansion
from xstilts.plan.model_identity import model_files
from xstilts.sources import ccgbank, hub, hub_download
from xstilts.sources.hub_client import RemoteFile, Repo
from xstilts.sources.mirrors import Mirror, added_model, verify_file
from xstilts.sources.shard_names import KINDS
from xstilts.sources.source_files import data_files
from xstilts.store.store import file_sha256
from xstilts.tasks.task import Source

#: Files next to the data that state its license.
_CARDS = re.compile(r"(readme|licen[sc]es?|copying|notice)(\.md|\.txt|\.tsv)?", re.IGNORECASE)


@dataclass(frozen=True)
class RequiredFile:
    """A file to copy to a mirror.

    kind, set: of the data set or model. folder, name: in the mirror. sha256: if the origin states
    it. revision, origin: commit and name at the origin. fetch: writes the verified file to a path
    and returns its SHA-256.
    """

    kind: str
    set: str
    folder: str
    name: str
    size: int
    sha256: str | None
    revision: str | None
    origin: str
    fetch: Callable[[Path], str]


def required_files(expansion: Expansion, origin: Mirror) -> tuple[list[RequiredFile], list[str]]:
    """(all files that the steps of a plan read, what is not copied and why)."""
    sources: dict[tuple[str, str | None, str], tuple[Source, str]] = {}
    models: dict[str, str | None] = {}
    left_out = []
    for step in expansion.steps.values():
        if step.kind == "records":
            captions = [source_of(step.spec["captions"])] if step.spec.get("captions") else []
            for source in (*with_parts(source_of(step.spec["source"])), *captions):
                if source.path == ccgbank.PATH:
                    left_out.append(
                        f"{source.path}: licensed (LDC2005T13), never copied; set "
                        f"{ccgbank.VARIABLE} to your copy"
                    )
                else:
                    key = (source.path, source.config, source.split)
                    sources[key] = (source, step.spec["language"])
        for model in (step.spec.get("backbone"), step.spec.get("processor")):
            if isinstance(model, Mapping) and "hub" in model:
                models[model["hub"]] = model.get("revision")
            elif isinstance(model, Mapping) and "path" in model:
                left_out.append(f"{model['path']}: a local folder, not copied")
    at = origin.at(list(expansion.identities))
    files: dict[tuple[str, str], RequiredFile] = {}
    for source, language in sources.values():
        listed = _hub_set(at, source) if at.kind == "hub" else _mirror_set(at, source, language)
        files |= {(file.folder, file.name): file for file in listed}
    for name, revision in models.items():
        files |= {(file.folder, file.name): file for file in _model(at, name, revision)}
    return list(files.values()), list(dict.fromkeys(left_out))


def with_parts(source: Source) -> Iterator[Source]:
    """A source by itself, then the further sources that it is read with."""
    yield replace(source, plus=(), pictures=None)
    for part in (*source.plus, *([source.pictures] if source.pictures else [])):
        yield from with_parts(part)


def is_card(name: str) -> bool:
    """Whether a file states the license of a data set or model."""
    return _CARDS.fullmatch(name) is not None


def _hub_set(mirror: Mirror, source: Source) -> Iterator[RequiredFile]:
    """Files of a data set on the hub, under their names in a mirror:
    `<config>/<split>-00000-of-00001.<suffix>`.
    """
    repo = hub.repo("dataset", source.path, mirror.revision(source.path))
    splits = hub.split_files(source.path, repo.revision, source.config, source.split)
    for split, files in splits.items():
        for number, file in enumerate(files):
            suffix = next((suffix for suffix in KINDS if file.name.endswith(suffix)), None)
            if suffix is None:
                raise DataError(
                    f"{source.path}: {file.name} has a format that mirrors do not support; "
                    f"supported: {', '.join(KINDS)}"
                )
            folder = f"{source.config}/" if source.config else ""
            name = f"{folder}{split}-{number:05d}-of-{len(files):05d}{suffix}"
            yield _hub_file(repo, file, source.path, name)
    yield from (
        _hub_file(repo, repo.files[name], source.path, name) for name in repo.files if is_card(name)
    )


def _hub_file(repo: Repo, file: RemoteFile, folder: str, name: str) -> RequiredFile:
    fetch = partial(hub_download.download, repo, file)
    return RequiredFile(
        repo.kind, repo.name, folder, name, file.size, file.sha256, repo.revision, file.name, fetch
    )


def _mirror_set(mirror: Mirror, source: Source, language: str) -> Iterator[RequiredFile]:
    paths = data_files(mirror, source, language)
    yield from _copies(mirror, source.path, "dataset", source.path, paths)


def _copies(
    mirror: Mirror, folder: str, kind: str, name: str, paths: Iterable[Path]
) -> Iterator[RequiredFile]:
    """Files of another mirror with the commits that it recorded, and the cards next to them.

    Args:
        mirror: to copy from.
        folder: of the data set or model.
        kind: dataset or model.
        name: of the data set or model.
        paths: of the files.
    """
    assert mirror.folder is not None
    record, base = mirror.record(folder), mirror.folder / folder
    names = (
        mirror.listing.files_in(folder)
        if mirror.listing
        else [path.name for path in base.iterdir() if path.is_file()]
    )
    cards = [base / file for file in names if is_card(file)]
    for path in (*paths, *cards):
        relative = path.relative_to(base).as_posix()
        if mirror.listing is not None:
            mirror.listing.download(f"{folder}/{relative}", path)
        recorded = record.files.get(relative) if record else None
        size, sha256, revision = path.stat().st_size, file_sha256(path), None
        if recorded is not None and recorded.size == size:
            if recorded.sha256 != sha256:
                verify_file(path, recorded.sha256)
            revision = recorded.revision
        fetch = partial(_copy, path, sha256)
        yield RequiredFile(kind, name, folder, relative, size, sha256, revision, relative, fetch)


def _copy(path: Path, sha256: str, part: Path) -> str:
    shutil.copyfile(path, part)
    if file_sha256(part) != sha256:
        part.unlink()
        raise DataError(
            f"{path}: checksum mismatch after copying; check that nothing writes to the file, and "
            "the disk"
        )
    return sha256


def _model(mirror: Mirror, name: str, revision: str | None) -> Iterator[RequiredFile]:
    """revision: None for a model in a mirror without a recorded commit."""
    folder = f"models/{name}"
    if revision is None:
        added = added_model(mirror, name)
        assert added is not None  # its files are the identity of the plan's steps
        paths = [path for path in model_files(added) if not is_card(path.name)]
        yield from _copies(mirror, folder, "model", name, paths)
        return
    record = mirror.record(folder) if mirror.kind == "folder" else None
    if record is not None:
        assert mirror.folder is not None
        paths = [mirror.folder / folder / file for file in record.files if not is_card(file)]
        yield from _copies(mirror, folder, "model", name, paths)
        return
    repo = hub.repo("model", name, revision)
    cards = [repo.files[file] for file in repo.files if is_card(file)]
    files = {file.name: file for file in (*hub.model_files(repo), *cards)}
    yield from (_hub_file(repo, file, folder, file.name) for file in files.values())
