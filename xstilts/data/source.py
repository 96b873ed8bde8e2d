"""Where rows come from: the hub, a mirror folder laid out like it, or an s3:// mirror. One loader for all three:
`datasets.load_dataset` on data files, never a script.
"""

import hashlib
import json
import os
import random
import re
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from xstilts.data import ccgbank
from xstilts.errors import DataError, PlanError
from xstilts.tasks.task import Source

_SUFFIXES = {".parquet": "parquet", ".jsonl": "json", ".json": "json"}


@dataclass(frozen=True)
class Mirror:
    """Where data sets are looked for. kind: hub | folder. s3:// mirrors are folders that are filled on demand.
    revisions: data set → the hub's commit to read, where it is not the newest."""

    kind: str
    folder: Path | None = None
    address: str = "hub"
    revisions: Mapping[str, str] = field(default_factory=dict)

    def at(self, identities: Any) -> "Mirror":
        """This mirror at the commits that identities name, wherever they stand in a JSON value."""
        return replace(self, revisions={**self.revisions, **dict(_commits(identities))})

    def revision(self, path: str) -> str:
        """The hub's commit of a data set: the one to read, else the newest."""
        return self.revisions.get(path) or _hub_revision(path)


def _commits(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if "hub" in value and "revision" in value:
            yield str(value["hub"]), str(value["revision"])
        value = list(value.values())
    for one in value if isinstance(value, list | tuple) else ():
        yield from _commits(one)


def open_mirror(text: str) -> Mirror:
    """`hub`, a folder, or s3://bucket/prefix (copied to a local cache). PlanError when the folder is not there."""
    if text == "hub":
        return Mirror("hub")
    if text.startswith("s3://"):
        return Mirror("folder", _copy_of(text), text)
    folder = Path(text).expanduser().resolve()
    if not folder.is_dir():
        raise PlanError(f"--mirror {text!r}: no such folder; give hub, miniature, a folder, or s3://bucket/prefix")
    return Mirror("folder", folder, str(folder))


def _copy_of(uri: str) -> Path:
    from xstilts.store.store import Store

    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XSTILTS_CACHE", tempfile.gettempdir())) / f"mirror-{name}"
    store = Store.open(uri)
    for key in store.list(""):
        if not (folder / key).is_file():
            store.get_file(key, folder / key)
    return folder


@cache
def split_files(folder: Path, config: str | None) -> dict[str, list[Path]]:
    """split → its data files, by name (`<split>-00000-of-00001.parquet`), below `<folder>/<config>`."""
    found: dict[str, list[Path]] = {}
    where = folder / config if config and (folder / config).is_dir() else folder
    if config and where == folder and config != "default":
        return {}
    for path in sorted(where.iterdir()) if where.is_dir() else ():
        match = re.match(r"(.+?)(?:-\d{5}-of-\d{5})?$", path.stem)
        if path.suffix in _SUFFIXES and match and path.is_file():
            found.setdefault(match[1], []).append(path)
    return found


def _files(mirror: Mirror, source: Source, language: str) -> list[Path]:
    """The data files of a source in a mirror folder; DataError says what is missing and what there is."""
    if source.path == ccgbank.PATH:
        return ccgbank.files(source.split)
    assert mirror.folder is not None
    config = source.config_for(language)
    name = source.path if config is None else f"{source.path} ({config})"
    folder = mirror.folder / source.path
    if not folder.is_dir():
        raise DataError(f"{name}: the mirror {mirror.address} has no folder {source.path}")
    splits = split_files(folder, config)
    if not splits:
        raise DataError(f"{name}: the mirror {mirror.address} has no config {config} of {source.path}")
    parts = source.split_for(language).split("+")
    if absent := [part for part in parts if part not in splits]:
        raise DataError(f"{name}: the mirror has no split {', '.join(absent)}; it has {', '.join(sorted(splits))}")
    return [path for part in parts for path in splits[part]]


def _has_language(paths: Sequence[Path], source: Source, language: str) -> None:
    """DataError when a file of many languages has no row in this one. A hub's file is not looked into: it has them all."""
    if not source.id_prefixes:
        return
    prefix = source.id_prefixes.get(language, language)
    if not any(prefix in _prefixes(path) for path in paths):
        raise DataError(f"{source.path} ({source.config}, {source.split}): no row has an id that begins with {prefix}-")


@cache
def _prefixes(path: Path) -> frozenset[str]:
    import pyarrow.parquet as pq

    if path.suffix != ".parquet":
        raise DataError(f"{path}: a file of many languages must be parquet")
    return frozenset(
        str(name).partition("-")[0] for name in pq.read_table(path, columns=["id"]).column("id").to_pylist()
    )


def hub_lock() -> Mapping[str, Any]:
    """The revisions that `xstilts tasks probe --lock` resolved; none is shipped that nobody resolved."""
    lock: Mapping[str, Any] = json.loads((files("xstilts.tasks") / "hub.lock").read_text())["sources"]
    return lock


def missing_reason(mirror: Mirror, source: Source, language: str) -> str | None:
    """Why a mirror lacks a source in a language, or None when it has it. The hub is asked by `identity`."""
    try:
        for one in (source, *source.plus, *([source.pictures] if source.pictures else [])):
            if mirror.kind == "folder" or one.path == ccgbank.PATH:
                _has_language(_files(mirror, one, language), one, language)
            else:
                _hub_splits(one.path, one.config_for(language), one.split_for(language))
    except DataError as error:
        return str(error)
    return None


@cache
def _hub_splits(path: str, config: str | None, split: str) -> None:
    from datasets import get_dataset_split_names

    try:
        names = get_dataset_split_names(path, config)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} ({config}): the hub does not give it ({type(error).__name__}: {error})") from error
    if absent := [part for part in split.split("+") if part not in names]:
        raise DataError(f"{path} ({config}): the hub has no split {', '.join(absent)}; it has {', '.join(names)}")


def identity(mirror: Mirror, source: Source, language: str) -> dict[str, Any]:
    """What names the exact bytes: the hub's commit, or for a mirror the commit that it recorded (`.xstilts.json`
    beside the data, written by `mirror pull`), else a digest of the files."""
    further = (*source.plus, *([source.pictures] if source.pictures else []))
    if further:
        own = identity(mirror, replace(source, plus=(), pictures=None), language)
        return {**own, "with": [identity(mirror, one, language) for one in further]}
    paths = [] if mirror.kind == "hub" and source.path != ccgbank.PATH else _files(mirror, source, language)
    if mirror.kind == "hub" and not paths:
        return {"hub": source.path, "revision": mirror.revision(source.path)}
    if source.path == ccgbank.PATH:
        return ccgbank.identity(paths)
    assert mirror.folder is not None
    recorded = mirror.folder / source.path / ".xstilts.json"
    if recorded.is_file():
        return {"hub": source.path, "revision": json.loads(recorded.read_text())["revision"]}
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as stream:
            total.update(path.name.encode() + b"\0" + hashlib.file_digest(stream, "sha256").digest())
    return {"sha256": total.hexdigest()}


@cache
def _hub_revision(path: str) -> str:
    locked = hub_lock().get(path, {}).get("revision")
    if locked:
        return str(locked)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return str(HfApi().dataset_info(path).sha)
    except (HfHubHTTPError, OSError) as error:
        raise DataError(
            f"{path}: the hub cannot be asked for its revision ({type(error).__name__}); give --mirror a folder, or fill "
            "hub.lock with `xstilts tasks probe --lock` where the hub is reached"
        ) from error


def load_rows(mirror: Mirror, source: Source, language: str) -> Any:
    """The rows, by position: a datasets.Dataset with images left encoded, or several of them behind one another.
    DataError names a file that cannot be read."""
    if source.plus and source.each:
        parts = (replace(source, plus=(), each=False), *source.plus)
        return Mixed([load_rows(mirror, one, language) for one in parts])
    if source.plus:
        return Chained([load_rows(mirror, one, language) for one in (replace(source, plus=()), *source.plus)])
    if source.pictures:
        rows = load_rows(mirror, replace(source, pictures=None), language)
        return Pictured(rows, load_rows(mirror, source.pictures, language), source.pictures_key)
    if source.path == ccgbank.PATH:
        return ccgbank.rows(_files(mirror, source, language))
    import datasets
    from datasets.exceptions import DatasetGenerationError

    datasets.disable_progress_bars()
    if mirror.kind == "hub":
        rows = datasets.load_dataset(
            source.path,
            source.config_for(language),
            split=source.split_for(language),
            revision=mirror.revision(source.path),
        )
        return _encoded_images(rows)
    paths = _files(mirror, source, language)
    kind = _SUFFIXES[paths[0].suffix]
    with tempfile.TemporaryDirectory(prefix="xstilts-datasets-") as cache_dir:
        try:
            rows = datasets.load_dataset(
                kind,
                data_files={"rows": [str(p) for p in paths]},
                split="rows",
                cache_dir=cache_dir,
                keep_in_memory=True,
                **({"field": source.field} if source.field and kind == "json" else {}),
            )
        except (DatasetGenerationError, OSError, ValueError) as error:
            cause = error.__cause__ or error
            raise DataError(
                f"{', '.join(map(str, paths))}: cannot be read as {kind} ({type(cause).__name__}: {cause}); "
                "fetch the file again"
            ) from error
        return _encoded_images(rows)


def _encoded_images(rows: Any) -> Any:
    """Columns of images and of lists of images as {bytes, path}: they are decoded, and checked, when records are made."""
    import datasets

    encoded = datasets.Image(decode=False)
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, encoded)
        elif isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.Image):
            rows = rows.cast_column(name, datasets.List(encoded))
    return rows


class Chained:
    """Rows of several sets behind one another. Ids of the sets are told apart by `origin`, the set's number."""

    def __init__(self, sets: Sequence[Any]) -> None:
        self.sets = sets
        self.firsts = list(accumulate((len(one) for one in sets), initial=0))

    def __len__(self) -> int:
        return self.firsts[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = bisect_right(self.firsts, index) - 1
        return {**self.sets[number][index - self.firsts[number]], "origin": number}


class Mixed(Chained):
    """Rows of several sets that are read as one, each set by its share."""

    #: Most rows of one set that a sample can hold.
    PER_SET = 100_000

    def sample(self, stream: random.Random, alpha: float) -> Iterator[int]:
        """Places of rows, each once: which set comes next is drawn by the sets' sizes to the power of alpha among those
        that have rows left (Conneau and Lample 2019, section 3.1), and its row without regard to order."""
        spans = [range(first, end) for first, end in pairwise(self.firsts) if end > first]
        left = [stream.sample(span, min(len(span), self.PER_SET)) for span in spans]
        weights = {number: len(span) ** alpha for number, span in enumerate(spans)}
        while weights:
            number = stream.choices(list(weights), list(weights.values()))[0]
            yield left[number].pop()
            if not left[number]:
                del weights[number]


class Pictured:
    """Rows whose picture stands in another set under the id that they name."""

    def __init__(self, rows: Any, pictures: Any, key: str) -> None:
        self.rows, self.pictures, self.key = rows, pictures, key
        self.places = {str(name): place for place, name in enumerate(pictures["id"])}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        name = str(row[self.key])
        if name not in self.places:
            raise ValueError(f"{self.key} {name!r} is not among the pictures")
        return {**row, "image": self.pictures[self.places[name]]["image"]}
