"""Where rows come from: the hub, a mirror folder laid out like it, or an s3:// mirror. One loader
for all three: `datasets.load_dataset` on data files, never a script.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from xstilts.errors import DataError, PlanError
from xstilts.sources import bucc, ccgbank, conllu_rows, hub
from xstilts.sources.class_names import named_rows
from xstilts.sources.concat import Chained, Mixed, Pictured
from xstilts.sources.json_rows import JsonRows
from xstilts.sources.provenance import RECORD, Record
from xstilts.sources.shard_names import KINDS, IncompleteSplit, check_shards
from xstilts.store.store import file_sha256
from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.task import Source

_NAME = re.compile(
    r"(?P<split>.+?)(?:-\d{5}-of-\d{5})?(?P<suffix>" + "|".join(map(re.escape, KINDS)) + ")"
)


@dataclass(frozen=True)
class Mirror:
    """Where data sets are looked for. kind: hub | folder. s3:// mirrors are folders that are
    filled on demand from `keys`. revisions: data set → the hub's commit to read, where it is not
    the newest.
    """

    kind: str
    folder: Path | None = None
    address: str = "hub"
    revisions: Mapping[str, str] = field(default_factory=dict)
    keys: "Keys | None" = None

    def at(self, identities: Any) -> "Mirror":
        """This mirror at the commits that identities name, wherever they stand in a JSON value."""
        return replace(self, revisions={**self.revisions, **dict(_commits(identities))})

    def revision(self, path: str) -> str:
        """The hub's commit of a data set: the one to read, else the newest."""
        return self.revisions.get(path) or _hub_revision(path)

    def record(self, path: str) -> Record | None:
        """What `mirror pull` recorded of a data set (`xstilts/data/set`) or a model (`models/…`)
        here, or None.
        """
        assert self.folder is not None
        file = self.folder / path / RECORD
        if self.keys is not None and self.keys.holds(f"{path}/{RECORD}"):
            self.keys.fetch(f"{path}/{RECORD}", file)
        return Record.from_json(json.loads(file.read_text())) if file.is_file() else None


def _commits(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if "hub" in value and "revision" in value:
            yield str(value["hub"]), str(value["revision"])
        value = list(value.values())
    for one in value if isinstance(value, list | tuple) else ():
        yield from _commits(one)


@dataclass(frozen=True, eq=False)
class Keys:
    """What lies under an s3:// mirror, listed once; files are copied when they are read."""

    store: Any
    names: frozenset[str]

    def holds(self, name: str) -> bool:
        return name in self.names

    def fetch(self, name: str, path: Path) -> None:
        """Copies one file, unless it is there; a half copy never stands under its name."""
        if path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=path.parent) as scratch:
            os.replace(self.store.get_file(name, Path(scratch) / "file"), path)

    def below(self, folder: str) -> list[str]:
        """Names of the files that lie in a folder itself."""
        head = f"{folder}/"
        return [
            name[len(head) :]
            for name in self.names
            if name.startswith(head) and "/" not in name[len(head) :]
        ]


def open_mirror(text: str) -> Mirror:
    """`hub`, a folder, or s3://bucket/prefix (read into a local cache). PlanError when the
    folder is not there.
    """
    if text == "hub":
        return Mirror("hub")
    if text.startswith("s3://"):
        return _open_s3(text)
    folder = Path(text).expanduser().resolve()
    if not folder.is_dir():
        raise PlanError(
            f"--mirror {text!r}: no such folder; give hub, miniature, a folder, or s3://bucket/prefix"
        )
    return Mirror("folder", folder, str(folder))


def _open_s3(uri: str) -> Mirror:
    """The local folder is named after what is listed, ETags among it: a mirror that has changed
    gets a new one.
    """
    from xstilts.store.store import Store

    store = Store.open(uri)
    listed = store.listing("")
    name = hashlib.sha256(json.dumps([uri, sorted(listed.items())]).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XSTILTS_CACHE", tempfile.gettempdir())) / f"mirror-{name}"
    return Mirror("folder", folder, uri, keys=Keys(store, frozenset(listed)))


def split_files(
    folder: Path, config: str | None, names: Sequence[str] | None = None
) -> dict[str, list[Path]]:
    """split → its data files, by name (`<split>-00000-of-00001.parquet`), below
    `<folder>/<config>`; without such a folder, those of the config `default` in the folder
    itself. names: of the files there, where they are not on this disk.
    """
    found: dict[str, list[Path]] = {}
    where = (
        folder / config if config and (names is not None or (folder / config).is_dir()) else folder
    )
    if config and where == folder and config != "default":
        return {}
    there = (
        names
        if names is not None
        else [p.name for p in where.iterdir() if p.is_file()] if where.is_dir() else []
    )  # fmt: skip
    for name in sorted(there):
        if match := _NAME.fullmatch(name):
            found.setdefault(match["split"], []).append(where / name)
    return found


def _splits_of(mirror: Mirror, path: str, config: str | None) -> dict[str, list[Path]]:
    assert mirror.folder is not None
    folder = mirror.folder / path
    if mirror.keys is None:
        return split_files(folder, config)
    names = mirror.keys.below(f"{path}/{config}") if config else mirror.keys.below(path)
    if config == "default" and not names:
        return split_files(folder, None, mirror.keys.below(path))
    return split_files(folder, config, names) if names else {}


def data_files(mirror: Mirror, source: Source, language: str) -> list[Path]:
    """The data files of a source, on this disk; DataError says what is missing and what there
    is.
    """
    if source.path == ccgbank.PATH:
        return ccgbank.files(source.split)
    if mirror.kind == "hub":
        held = hub.repo("dataset", source.path, mirror.revision(source.path))
        return [hub.local(held, file) for file in _hub_files(mirror, source, language)]
    found = _listed(mirror, source, language)
    if mirror.keys is not None:
        assert mirror.folder is not None
        for path in found:
            mirror.keys.fetch(path.relative_to(mirror.folder).as_posix(), path)
    return found


def _hub_files(mirror: Mirror, source: Source, language: str) -> list[hub.RemoteFile]:
    if source.path == conllu_rows.PATH:
        raise DataError(
            f"{source.path} is on no hub: unpack the releases of UD into a mirror (docs/data.md)"
        )
    if source.files:
        raise DataError(
            f"{source.path} is on no hub: put your own copy into a mirror ({', '.join(source.files)})"
        )
    config, split = source.config_for(language), source.split_for(language)
    by_split = hub.split_files(source.path, mirror.revision(source.path), config, split)
    found = [file for files in by_split.values() for file in files]
    if other := [file.name for file in found if not any(file.name.endswith(end) for end in KINDS)]:
        raise DataError(f"{source.path} ({config}): {other[0]} is none of {', '.join(KINDS)}")
    return found


def _listed(mirror: Mirror, source: Source, language: str) -> list[Path]:
    """Where the data files of a source lie in a mirror folder, or will."""
    assert mirror.folder is not None
    config = source.config_for(language)
    name = source.path if config is None else f"{source.path} ({config})"
    if source.path == conllu_rows.PATH:
        return _treebanks(mirror, source, language)
    if source.files:
        return _by_name(mirror, source, language)
    splits = _splits_of(mirror, source.path, config)
    if not splits:
        there = (
            any(one.startswith(f"{source.path}/") for one in mirror.keys.names)
            if mirror.keys
            else (mirror.folder / source.path).is_dir()
        )
        lacks = f"config {config} of {source.path}" if there else f"folder {source.path}"
        raise DataError(f"{name}: the mirror {mirror.address} has no {lacks}")
    parts = source.split_for(language).split("+")
    if absent := [part for part in parts if part not in splits]:
        raise DataError(
            f"{name}: the mirror has no split {', '.join(absent)}; it has {', '.join(sorted(splits))}"
        )
    for part in parts:
        check_shards(
            [path.name for path in splits[part]],
            f"{name}, split {part}: the mirror {mirror.address}",
        )
    return [path for part in parts for path in splits[part]]


def _treebanks(mirror: Mirror, source: Source, language: str) -> list[Path]:
    """The CoNLL-U files of a language's conllu_rows, by file name; DataError where there is
    none.
    """
    assert mirror.folder is not None
    base = mirror.folder / conllu_rows.PATH
    if mirror.keys is not None:
        head = f"{conllu_rows.PATH}/"
        names = [name[len(head) :] for name in mirror.keys.names if name.startswith(head)]
    else:
        names = [
            path.relative_to(base).as_posix()
            for path in base.glob("ud-treebanks-*/**/*.conllu")
            if path.is_file()
        ]
    found = conllu_rows.file_names(
        names, str(source.config_for(language)), source.split_for(language)
    )
    return [base / name for name in found]


def _by_name(mirror: Mirror, source: Source, language: str) -> list[Path]:
    """The files that a source names, in that order; DataError where one is absent."""
    assert mirror.folder is not None
    folder, found = f"{source.path}/{source.config_for(language)}", []
    for name in source.files_for(language):
        path = mirror.folder / folder / name
        if not (mirror.keys.holds(f"{folder}/{name}") if mirror.keys else path.is_file()):
            raise DataError(f"{folder}: the mirror {mirror.address} has no file {name}")
        found.append(path)
    return found


def _has_language(paths: Sequence[Path], source: Source, language: str) -> None:
    """DataError when a file of many languages has no row in this one. A hub's file is not looked
    into: it has them all.
    """
    if not source.id_prefixes:
        return
    prefix = source.id_prefixes.get(language, language)
    if not any(prefix in _prefixes(path) for path in paths):
        raise DataError(
            f"{source.path} ({source.config}, {source.split}): no row has an id that begins with {prefix}-"
        )


@cache
def _prefixes(path: Path) -> frozenset[str]:
    import pyarrow.parquet as pq

    if path.suffix != ".parquet":
        raise DataError(f"{path}: a file of many languages must be parquet")
    return frozenset(
        str(name).partition("-")[0]
        for name in pq.read_table(path, columns=["id"]).column("id").to_pylist()
    )


def hub_lock() -> Mapping[str, Any]:
    """The revisions that `xstilts tasks probe --lock` resolved; none is shipped that nobody
    resolved.
    """
    lock: Mapping[str, Any] = json.loads((files("xstilts.tasks") / "hub.lock").read_text())[
        "sources"
    ]
    return lock


def missing_reason(mirror: Mirror, source: Source, language: str) -> str | None:
    """Why a mirror lacks a source in a language, or None when it has it. The hub is asked by
    `identity`. IncompleteSplit where it has only some of a split's files.
    """
    try:
        for one in (source, *source.plus, *([source.pictures] if source.pictures else [])):
            if one.path == ccgbank.PATH:
                ccgbank.files(one.split)
            elif mirror.kind == "hub":
                _hub_files(mirror, one, language)
            elif one.id_prefixes:
                _has_language(data_files(mirror, one, language), one, language)
            else:
                _listed(mirror, one, language)
    except IncompleteSplit:
        raise
    except DataError as error:
        return str(error)
    return None


def identity(mirror: Mirror, source: Source, language: str) -> dict[str, Any]:
    """What names the exact bytes: the hub's commit, or for a mirror the commit that `mirror
    pull` recorded for all of these files, else a digest of the files.
    """
    further = (*source.plus, *([source.pictures] if source.pictures else []))
    if further:
        own = identity(mirror, replace(source, plus=(), pictures=None), language)
        return {**own, "with": [identity(mirror, one, language) for one in further]}
    if source.path == ccgbank.PATH:
        return ccgbank.identity(ccgbank.files(source.split))
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


@cache
def _hub_revision(path: str) -> str:
    locked = hub_lock().get(path, {})
    return (
        str(locked["revision"])
        if locked.get("verified") and locked["revision"]
        else hub.data_revision(path)
    )


def load_rows(
    mirror: Mirror, source: Source, language: str, labels: LabelColumn | None = None
) -> Any:
    """The rows, by position: a datasets.Dataset with images left encoded, or several of them
    behind one another. labels: the column whose class numbers are replaced by the names that the
    files declare. DataError names a file that cannot be read, or whose classes are not those of
    the task.
    """
    if source.plus and source.each:
        parts = (replace(source, plus=(), each=False), *source.plus)
        return Mixed([load_rows(mirror, one, language, labels) for one in parts])
    if source.plus:
        return Chained(
            [
                load_rows(mirror, one, language, labels)
                for one in (replace(source, plus=()), *source.plus)
            ]
        )
    if source.pictures:
        rows = load_rows(mirror, replace(source, pictures=None), language, labels)
        return Pictured(rows, load_rows(mirror, source.pictures, language), source.pictures_key)
    if source.path == ccgbank.PATH:
        return ccgbank.rows(ccgbank.files(source.split))
    import datasets
    from datasets.exceptions import DatasetGenerationError

    datasets.disable_progress_bars()
    paths = data_files(mirror, source, language)
    _unspoilt(mirror, source.path, paths)
    if source.path == conllu_rows.PATH:
        return conllu_rows.rows(paths)
    if source.files:
        return bucc.rows(paths)
    kind = kind_of(paths[0])
    if kind == "json":
        return JsonRows(paths, source.field)
    with tempfile.TemporaryDirectory(prefix="xstilts-datasets-") as cache_dir:
        try:
            rows = datasets.load_dataset(
                kind,
                data_files={"rows": [str(p) for p in paths]},
                split="rows",
                cache_dir=cache_dir,
                keep_in_memory=True,
            )
        except (DatasetGenerationError, OSError, ValueError) as error:
            cause = error.__cause__ or error
            raise DataError(
                f"{', '.join(map(str, paths))}: cannot be read as {kind} ({type(cause).__name__}: {cause}); "
                "fetch the file again"
            ) from error
        rows = _encoded_images(rows)
        return named_rows(rows, paths, labels) if labels else rows


def kind_of(path: Path | str) -> str:
    """parquet or json."""
    return next(kind for end, kind in KINDS.items() if str(path).endswith(end))


def open_head(mirror: Mirror, source: Source, language: str) -> tuple[str, Any]:
    """(name, open file) of a source's first data file. One of the hub is read by ranges, not
    fetched whole.
    """
    if mirror.kind == "hub":
        file = _hub_files(mirror, source, language)[0]
        return file.name, hub.open_remote(
            hub.repo("dataset", source.path, mirror.revision(source.path)), file
        )
    path = data_files(mirror, source, language)[0]
    return path.name, path.open("rb")


def _unspoilt(mirror: Mirror, path: str, files: Sequence[Path]) -> None:
    """Holds what a mirror recorded against the bytes that are there, and its commits against
    those that were planned.
    """
    record = mirror.record(path) if mirror.kind == "folder" else None
    if record is None or mirror.folder is None:
        return
    wanted = mirror.revisions.get(path)
    for file in files:
        recorded = record.files.get(file.relative_to(mirror.folder / path).as_posix())
        if recorded and recorded.sha256 != file_sha256(file):
            raise DataError(
                f"{file}: its bytes are not those that `mirror pull` recorded; pull it again"
            )
        if recorded and wanted and recorded.revision != wanted:
            raise DataError(
                f"{file}: the mirror now holds {path} at {recorded.revision}, the plan was made for {wanted}; start a new run"
            )


def model_revision(mirror: Mirror, name: str) -> str | None:
    """The commit at which a mirror holds a model of the hub, or None where it does not."""
    record = mirror.record(f"models/{name}") if mirror.kind == "folder" else None
    found = {one.revision for one in record.files.values()} if record else set()
    return found.pop() if len(found) == 1 else None


def model_folder(mirror: Mirror, name: str, revision: str) -> Path:
    """A folder with a model's files out of a mirror, each verified. DataError where the mirror
    holds another commit.
    """
    if model_revision(mirror, name) != revision:
        raise DataError(
            f"models/{name}: the mirror {mirror.address} does not hold it at {revision}; pull it again"
        )
    record = mirror.record(f"models/{name}")
    assert mirror.folder is not None
    assert record is not None  # it has a revision
    folder = mirror.folder / "models" / name
    for file, recorded in record.files.items():
        if mirror.keys is not None:
            mirror.keys.fetch(f"models/{name}/{file}", folder / file)
        if not (folder / file).is_file() or file_sha256(folder / file) != recorded.sha256:
            raise DataError(
                f"{folder / file}: its bytes are not those that `mirror pull` recorded; pull it again"
            )
    return folder


def _encoded_images(rows: Any) -> Any:
    """Columns of images and of lists of images as {bytes, path}: they are decoded, and checked,
    when records are made.
    """
    import datasets

    encoded = datasets.Image(decode=False)
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, encoded)
        elif isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.Image):
            rows = rows.cast_column(name, datasets.List(encoded))
    return rows
