"""Runs the staging steps (records, build, encode): reads their parents from the store and calls the
functions that do the work.
"""

import random
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xstilts.environment import require
from xstilts.errors import DataError
from xstilts.step import Step
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store
from xstilts.tasks.task import Task

if TYPE_CHECKING:
    from xstilts.models.processor import Processor

Outcome = tuple[Mapping[str, Path], Mapping[str, Any]]


def parent(store: Store, kind: str, fingerprint: str, child: Step) -> Manifest:
    """The manifest of a step's parent.

    Raises:
        KeyError: the parent is not done.
    """
    manifest = store.manifest(kind, fingerprint)
    if manifest is None:
        raise KeyError(
            f"{child.settings.get('label', child.kind)}: its parent {kind}/{fingerprint[:12]} "
            "is not done"
        )
    return manifest


def records(
    step: Step, store: Store, mirror: str, scratch: Path, tasks: Mapping[str, Task]
) -> Outcome:
    """Converts a source to canonical records."""
    from xstilts.data.records import make_records
    from xstilts.sources.mirrors import open_mirror

    return make_records(step, open_mirror(mirror), scratch, tasks)


def build(
    step: Step, store: Store, mirror: str, scratch: Path, tasks: Mapping[str, Task]
) -> Outcome:
    """Builds a tiny backbone: tokenizer and weights from a seed, then a short pretraining on the
    records' text.
    """
    import torch

    from xstilts.miniature.pretraining import build_backbone

    require(step.spec.get("environment"))
    torch.set_num_threads(int(step.settings.get("threads", 1)))
    texts = {
        role: store.file(parent(store, "records", fingerprint, step), "records.parquet")
        for role, fingerprint in sorted(step.parents.items())
    }
    images = {}
    for role, fingerprint in step.parents.items():
        manifest = parent(store, "records", fingerprint, step)
        if "images.parquet" in manifest.files:
            images[role] = store.file(manifest, "images.parquet")
    folder, info = build_backbone(step.spec, texts, images, scratch / "model")
    return {path.name: path for path in sorted(folder.iterdir())}, info


def encode(
    step: Step, store: Store, mirror: str, scratch: Path, tasks: Mapping[str, Task]
) -> Outcome:
    """Encodes canonical records with a backbone's processor: token ids, lengths, image grids."""
    from xstilts.data.encode import encode as encode_records
    from xstilts.models.processor import load_processor

    require(step.spec.get("environment"))
    manifest = parent(store, "records", step.parents["records"], step)
    path = store.file(manifest, "records.parquet")
    if "images.parquet" in manifest.files:  # the reader expects the images in the records' folder
        rows_folder = scratch / "records"
        rows_folder.mkdir()
        for name in ("records.parquet", "images.parquet"):
            (rows_folder / name).symlink_to(store.file(manifest, name).resolve())
        path = rows_folder / "records.parquet"
    folder, family = model_folder(step, store, scratch), step.spec["family"]
    # Loading XLM-R's tokenizer takes five seconds, and a batch has a step for each language.
    load = load_processor if "backbone" in step.parents else _cached_processor
    processor = load(folder, family)
    keep = None
    if step.spec.get("pool_size"):
        answers = [
            store.file(parent(store, "records", fingerprint, step), "records.parquet")
            for role, fingerprint in step.parents.items()
            if role.startswith("gold:")
        ]
        keep = smaller_pool(path, answers, int(step.spec["pool_size"]))
    bad = int(manifest.info.get("bad_rows", 0))
    files, info = encode_records(step, path, processor, scratch, keep, bad, tasks)
    images = manifest.files.get("images.parquet")
    return files, {**info, "images_sha": images.sha256 if images else None}


@lru_cache(maxsize=2)
def _cached_processor(folder: Path, family: str) -> "Processor":
    """For folders that outlive a step: a built backbone's is temporary."""
    from xstilts.models.processor import load_processor

    return load_processor(folder, family)


def smaller_pool(pool: Path, queries: Sequence[Path], size: int) -> list[bool]:
    """For each candidate, whether a plan's smaller pool keeps it: all that answer a query, and
    `size` others by a seeded draw.
    """
    import pyarrow.parquet as pq

    relevant = {
        identity
        for path in queries
        for answers in pq.read_table(path, columns=["relevant"]).column("relevant").to_pylist()
        for identity in answers
    }
    names = pq.read_table(pool, columns=["candidate"]).column("candidate").to_pylist()
    others = [place for place, name in enumerate(names) if name not in relevant]
    drawn = set(random.Random("smaller pool").sample(others, min(size, len(others))))
    return [name in relevant or place in drawn for place, name in enumerate(names)]


def model_folder(step: Step, store: Store, scratch: Path) -> Path:
    """The folder with a backbone's files: from the store if it was built, else from the plan's own
    folder, the mirror or the hub.
    """
    if "backbone" in step.parents:
        target = scratch / "backbone"
        if target.is_dir():
            return target
        return store.folder(parent(store, "build", step.parents["backbone"], step), target)
    identity = step.spec.get("backbone") or step.spec["processor"]
    if "path" in identity:
        return Path(identity["path"])
    if "models" in step.settings:
        from xstilts.sources.mirrors import added_model, model_revision, open_mirror
        from xstilts.sources.mirrors import model_folder as mirrored

        mirror = open_mirror(step.settings["models"])
        if "revision" not in identity:
            return _unchanged(added_model(mirror, identity["hub"]), identity)
        if model_revision(mirror, identity["hub"]) is not None:
            return mirrored(mirror, identity["hub"], identity["revision"])
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(identity["hub"], revision=identity["revision"]))


def _unchanged(folder: Path | None, identity: Mapping[str, Any]) -> Path:
    """The folder of a model without a recorded commit, if it has the files that the step was
    planned with. DataError otherwise.
    """
    from xstilts.plan.model_identity import model_files

    where = f"models/{identity['hub']}"
    if folder is None:
        raise DataError(f"{where}: no longer in the mirror; add it again")
    stats = [(str(path), path.stat()) for path in model_files(folder)]
    stamps = tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    if _cached_digest(folder, stamps) != identity["identity"]:
        raise DataError(f"{where}: {folder} has changed since the run was planned; start a new run")
    return folder


@cache
def _cached_digest(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> str:
    """stamps: name, size and time of change of each file."""
    from xstilts.plan.model_identity import folder_digest

    return folder_digest(folder, str(folder))
