"""Loads the rows of a source, with `datasets.load_dataset` on data files or a reader of this
package. Loading scripts are never run.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xstilts.errors import DataError
from xstilts.sources import bucc, ccgbank, conllu_rows
from xstilts.sources.class_names import with_class_names
from xstilts.sources.concat import ConcatRows, JoinedImages, SampledRows
from xstilts.sources.json_rows import JsonRows
from xstilts.sources.mirrors import Mirror, verify_file
from xstilts.sources.shard_names import kind_of
from xstilts.sources.source_files import data_files
from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.task import Source


def load_rows(
    mirror: Mirror, source: Source, language: str, labels: LabelColumn | None = None
) -> Any:
    """The rows of a source by index, with images left encoded.

    DataError for a file that cannot be read, and for classes that are not those of the task.

    Args:
        mirror: to read from.
        source: of one split.
        language: fills `{language}` in the source's config and split.
        labels: the column whose class numbers are replaced by the class names that the files
            declare.
    """
    if source.plus:
        parts = (replace(source, plus=(), each=False), *source.plus)
        sets = [load_rows(mirror, part, language, labels) for part in parts]
        return SampledRows(sets) if source.each else ConcatRows(sets)
    if source.pictures:
        rows = load_rows(mirror, replace(source, pictures=None), language, labels)
        images = load_rows(mirror, source.pictures, language)
        return JoinedImages(rows, images, source.pictures_key)
    if source.path == ccgbank.PATH:
        return ccgbank.read_derivations(ccgbank.auto_files(source.split))
    paths = data_files(mirror, source, language)
    _verify(mirror, source.path, paths)
    if source.path == conllu_rows.PATH:
        return conllu_rows.read_sentences(paths)
    if source.files:
        return bucc.read_pools(paths)
    if kind_of(paths[0]) == "json":
        return JsonRows(paths, source.field)
    rows = _load_dataset(paths)
    return with_class_names(rows, paths, labels) if labels else rows


def _load_dataset(paths: Sequence[Path]) -> Any:
    import datasets
    from datasets.exceptions import DatasetGenerationError

    datasets.disable_progress_bars()
    kind = kind_of(paths[0])
    with tempfile.TemporaryDirectory(prefix="xstilts-datasets-") as cache_dir:
        try:
            rows = datasets.load_dataset(
                kind,
                data_files={"rows": [str(path) for path in paths]},
                split="rows",
                cache_dir=cache_dir,
                keep_in_memory=True,
            )
        except (DatasetGenerationError, OSError, ValueError) as error:
            cause = error.__cause__ or error
            raise DataError(
                f"{', '.join(map(str, paths))}: cannot be read as {kind} "
                f"({type(cause).__name__}: {cause}); fetch the file again"
            ) from error
        return _with_encoded_images(rows)


def _verify(mirror: Mirror, path: str, files: Sequence[Path]) -> None:
    """DataError unless the files have the SHA-256 that the mirror recorded, and the commit that the
    plan was made for.
    """
    record = mirror.record(path) if mirror.kind == "folder" else None
    if record is None or mirror.folder is None:
        return
    planned = mirror.revisions.get(path)
    for file in files:
        recorded = record.files.get(file.relative_to(mirror.folder / path).as_posix())
        if recorded is None:
            continue
        verify_file(file, recorded.sha256)
        if planned and recorded.revision != planned:
            raise DataError(
                f"{file}: the mirror has {path} at {recorded.revision}, but the plan was made for "
                f"{planned}; start a new run"
            )


def _with_encoded_images(rows: Any) -> Any:
    """Rows with images, and lists of images, as {bytes, path}. They are decoded and checked when
    records are made.
    """
    import datasets

    encoded = datasets.Image(decode=False)
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, encoded)
        elif isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.Image):
            rows = rows.cast_column(name, datasets.List(encoded))
    return rows
