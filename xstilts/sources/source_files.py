"""The data files of a source in a mirror or on the hub, and the identity of their bytes."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from xstilts.errors import DataError
from xstilts.sources import ccgbank, conllu_rows, hub, hub_download
from xstilts.sources.hub_client import RemoteFile
from xstilts.sources.mirrors import Mirror
from xstilts.sources.shard_names import KINDS, IncompleteSplit, check_shards
from xstilts.tasks.task import Source

_NAME = re.compile(
    r"(?P<split>.+?)(?:-\d{5}-of-\d{5})?(?P<suffix>" + "|".join(map(re.escape, KINDS)) + ")"
)


def split_files(
    folder: Path, config: str | None, names: Sequence[str] | None = None
) -> dict[str, list[Path]]:
    """Split → its data files in order, by name (`<split>-00000-of-00001.parquet`).

    The files are in `<folder>/<config>`; without such a folder, the config `default` is in the
    folder itself.

    Args:
        folder: of the data set.
        config: or None for the folder itself.
        names: of the files, if they are not on this disk.
    """
    in_config = config and (names is not None or (folder / config).is_dir())
    base = folder / config if config and in_config else folder
    if config and base == folder and config != "default":
        return {}
    if names is None:
        names = [path.name for path in base.iterdir() if path.is_file()] if base.is_dir() else []
    splits: dict[str, list[Path]] = {}
    for name in sorted(names):
        if match := _NAME.fullmatch(name):
            splits.setdefault(match["split"], []).append(base / name)
    return splits


def _mirror_splits(mirror: Mirror, path: str, config: str | None) -> dict[str, list[Path]]:
    assert mirror.folder is not None
    folder = mirror.folder / path
    if mirror.listing is None:
        return split_files(folder, config)
    names = mirror.listing.files_in(f"{path}/{config}" if config else path)
    if config == "default" and not names:
        return split_files(folder, None, mirror.listing.files_in(path))
    return split_files(folder, config, names) if names else {}


def data_files(mirror: Mirror, source: Source, language: str) -> list[Path]:
    """The data files of a source on this disk, downloaded if necessary. DataError names what is
    missing and what is available.
    """
    if source.path == ccgbank.PATH:
        return ccgbank.auto_files(source.split)
    if mirror.kind == "hub":
        repository = hub.repo("dataset", source.path, mirror.revision(source.path))
        files = _hub_files(mirror, source, language)
        return [hub_download.cached_file(repository, file) for file in files]
    paths = _mirror_files(mirror, source, language)
    if mirror.listing is not None:
        assert mirror.folder is not None
        for path in paths:
            mirror.listing.download(path.relative_to(mirror.folder).as_posix(), path)
    return paths


def _hub_files(mirror: Mirror, source: Source, language: str) -> list[RemoteFile]:
    if source.path == conllu_rows.PATH:
        raise DataError(
            f"{source.path}: not on the hub; unpack the releases of UD into a mirror (docs/data.md)"
        )
    if source.files:
        raise DataError(
            f"{source.path}: not on the hub; copy the files into a mirror "
            f"({', '.join(source.files)})"
        )
    config, split = source.config_for(language), source.split_for(language)
    by_split = hub.split_files(source.path, mirror.revision(source.path), config, split)
    files = [file for files in by_split.values() for file in files]
    if other := [f.name for f in files if not any(f.name.endswith(suffix) for suffix in KINDS)]:
        raise DataError(
            f"{source.path} ({config}): {other[0]} has an unsupported format; supported: "
            f"{', '.join(KINDS)}"
        )
    return files


def _mirror_files(mirror: Mirror, source: Source, language: str) -> list[Path]:
    """The paths of a source's data files in a mirror folder, downloaded or not."""
    assert mirror.folder is not None
    config = source.config_for(language)
    name = source.path if config is None else f"{source.path} ({config})"
    if source.path == conllu_rows.PATH:
        return _treebank_files(mirror, source, language)
    if source.files:
        return _named_files(mirror, source, language)
    splits = _mirror_splits(mirror, source.path, config)
    if not splits:
        exists = (
            any(key.startswith(f"{source.path}/") for key in mirror.listing.names)
            if mirror.listing
            else (mirror.folder / source.path).is_dir()
        )
        lacks = f"config {config} of {source.path}" if exists else f"folder {source.path}"
        raise DataError(f"{name}: the mirror {mirror.address} has no {lacks}")
    parts = source.split_for(language).split("+")
    if absent := [part for part in parts if part not in splits]:
        raise DataError(
            f"{name}: the mirror {mirror.address} has no split {', '.join(absent)}; available: "
            f"{', '.join(sorted(splits))}"
        )
    for part in parts:
        check_shards(
            [path.name for path in splits[part]],
            f"{name}, split {part}: the mirror {mirror.address}",
        )
    return [path for part in parts for path in splits[part]]


def _treebank_files(mirror: Mirror, source: Source, language: str) -> list[Path]:
    """The CoNLL-U files of a language, by file name; DataError if there are none."""
    assert mirror.folder is not None
    base = mirror.folder / conllu_rows.PATH
    if mirror.listing is not None:
        prefix = f"{conllu_rows.PATH}/"
        names = [key[len(prefix) :] for key in mirror.listing.names if key.startswith(prefix)]
    else:
        names = [
            path.relative_to(base).as_posix()
            for path in base.glob("ud-treebanks-*/**/*.conllu")
            if path.is_file()
        ]
    selected = conllu_rows.file_names(
        names, str(source.config_for(language)), source.split_for(language)
    )
    return [base / name for name in selected]


def _named_files(mirror: Mirror, source: Source, language: str) -> list[Path]:
    """The files that a source lists by name, in that order; DataError if one is missing."""
    assert mirror.folder is not None
    folder, paths = f"{source.path}/{source.config_for(language)}", []
    for name in source.files_for(language):
        path = mirror.folder / folder / name
        listing = mirror.listing
        if not (listing.contains(f"{folder}/{name}") if listing else path.is_file()):
            raise DataError(f"{folder}: the mirror {mirror.address} has no file {name}")
        paths.append(path)
    return paths


def _check_language(paths: Sequence[Path], source: Source, language: str) -> None:
    """DataError if a file of many languages has no row in this one. Files on the hub are not
    checked: they contain all languages.
    """
    if not source.id_prefixes:
        return
    prefix = source.id_prefixes.get(language, language)
    if not any(prefix in _id_prefixes(path) for path in paths):
        raise DataError(
            f"{source.path} ({source.config}, {source.split}): no row with an id that begins with "
            f"{prefix}-"
        )


@cache
def _id_prefixes(path: Path) -> frozenset[str]:
    import pyarrow.parquet as pq

    if path.suffix != ".parquet":
        raise DataError(f"{path}: a file of many languages must be Parquet")
    return frozenset(
        str(name).partition("-")[0]
        for name in pq.read_table(path, columns=["id"]).column("id").to_pylist()
    )


def missing_reason(mirror: Mirror, source: Source, language: str) -> str | None:
    """Why a mirror does not have a source in a language, or None if it does.

    IncompleteSplit if some files of a split are missing.
    """
    try:
        for part in (source, *source.plus, *([source.pictures] if source.pictures else [])):
            if part.path == ccgbank.PATH:
                ccgbank.auto_files(part.split)
            elif mirror.kind == "hub":
                _hub_files(mirror, part, language)
            elif part.id_prefixes:
                _check_language(data_files(mirror, part, language), part, language)
            else:
                _mirror_files(mirror, part, language)
    except IncompleteSplit:
        raise
    except DataError as error:
        return str(error)
    return None


def identity(mirror: Mirror, source: Source, language: str) -> dict[str, Any]:
    """What identifies the exact bytes of a source.

    The hub's commit; for a mirror the commit that `mirror pull` recorded for all of these files,
    else a digest of the files.
    """
    further = (*source.plus, *([source.pictures] if source.pictures else []))
    if further:
        first = identity(mirror, replace(source, plus=(), pictures=None), language)
        return {**first, "with": [identity(mirror, part, language) for part in further]}
    if source.path == ccgbank.PATH:
        return ccgbank.identity(ccgbank.auto_files(source.split))
    if mirror.kind == "hub":
        return {"hub": source.path, "revision": mirror.revision(source.path)}
    assert mirror.folder is not None
    paths, record = data_files(mirror, source, language), mirror.record(source.path)
    if record and (revision := record.revision_of(mirror.folder / source.path, paths)):
        return {"hub": source.path, "revision": revision}
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as stream:
            total.update(
                path.name.encode() + b"\0" + hashlib.file_digest(stream, "sha256").digest()
            )
    return {"sha256": total.hexdigest()}


def open_first_file(mirror: Mirror, source: Source, language: str) -> tuple[str, Any]:
    """(name, open file) of the first data file of a source. On the hub, only the parts that are
    read are downloaded.
    """
    if mirror.kind == "hub":
        file = _hub_files(mirror, source, language)[0]
        repository = hub.repo("dataset", source.path, mirror.revision(source.path))
        return file.name, hub_download.open_remote(repository, file)
    path = data_files(mirror, source, language)[0]
    return path.name, path.open("rb")
