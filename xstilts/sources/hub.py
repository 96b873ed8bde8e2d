"""Repositories on the Hugging Face hub: commits, files, and the files of each split.

Data files are found by the rules of `datasets` (the card's `configs`, else file names), applied to
the list of file names. For data sets with a loading script the hub's Parquet conversion
(`refs/convert/parquet`) is used; scripts are never run.
"""

import re
import tempfile
from collections.abc import Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile

from xstilts.errors import DataError, InfrastructureError
from xstilts.sources.hub_client import Kind, RemoteFile, Repo, request
from xstilts.sources.hub_download import read_small
from xstilts.sources.shard_names import check_shards

#: Matches a full commit hash, as opposed to a branch or tag.
COMMIT_HASH = re.compile(r"[0-9a-f]{40}")
_CONVERTED_BRANCH = "refs/convert/parquet"
_CONVERTED_NAME = re.compile(r"([^/]+)/(?:partial-)?([^/]+)/\d+\.parquet")
#: The files of a model that transformers reads.
_MODEL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors", "*.tiktoken")
#: Weights that are used only if there are no safetensors.
_OTHER_WEIGHTS = ("pytorch_model*.bin",)


def newest_commit(kind: Kind, name: str, revision: str = "main") -> str:
    """The current commit of a branch or tag."""
    if COMMIT_HASH.fullmatch(revision):
        return revision
    return str(
        request(kind, name, lambda api: api.repo_info(name, repo_type=kind, revision=revision).sha)
    )


@cache
def repo(kind: Kind, name: str, revision: str) -> Repo:
    """A repository with its files at a commit.

    DataError if it does not exist or HF_TOKEN has no access, InfrastructureError if the hub fails.
    """
    entries = request(
        kind,
        name,
        lambda api: list(
            api.list_repo_tree(name, repo_type=kind, revision=revision, recursive=True)
        ),
    )
    files = {
        entry.path: RemoteFile(
            entry.path, entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id
        )
        for entry in entries
        if hasattr(entry, "blob_id") and _is_relative(entry.path)
    }
    return Repo(kind, name, revision, files)


def _is_relative(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and ".." not in parts and not name.startswith("/")


@cache
def data_revision(path: str) -> str:
    """The newest commit of a data set with data files: of main, else of the Parquet conversion."""
    revision = newest_commit("dataset", path)
    if layout(path, revision):
        return revision
    try:
        return newest_commit("dataset", path, _CONVERTED_BRANCH)
    except DataError:
        return revision  # `split_files` reports that it has no data files


@cache
def layout(path: str, revision: str) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Config → split → its files in order. Empty for a data set without data files (a script)."""
    repository = repo("dataset", path, revision)
    converted = {name: _CONVERTED_NAME.fullmatch(name) for name in sorted(repository.files)}
    all_converted = all(
        converted[name] for name in repository.files if name.endswith(".parquet")
    ) and any(converted.values())
    if not all_converted:
        return _layout_of_datasets(repository)
    configs: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, match in converted.items():
        if match:
            splits = configs.setdefault(match[1], {})
            splits[match[2]] = (*splits.get(match[2], ()), name)
    return configs


def _layout_of_datasets(repository: Repo) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """The layout by the rules of `datasets`, computed on empty files of the same names: only the
    card is downloaded.
    """
    try:
        from datasets.data_files import DataFilesPatternsDict, EmptyDatasetError
        from datasets.exceptions import DataFilesNotFoundError
        from datasets.load import LocalDatasetModuleFactory
    except ModuleNotFoundError as error:
        # The image of the plan component does not contain datasets, which is larger than the rest.
        raise InfrastructureError(
            f"{repository.name}: finding the files of its splits needs the package datasets, which "
            "is not installed here; set --mirror to a folder or s3://bucket/prefix (`xstilts "
            "mirror pull` fills one from the hub)"
        ) from error

    with tempfile.TemporaryDirectory(prefix="xstilts-layout-") as scratch:
        base = Path(scratch).resolve()
        for name in repository.files:
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).touch()
        for name in ("README.md", ".huggingface.yaml"):
            if name in repository.files:
                (base / name).write_bytes(read_small(repository, name))
        (base / "dataset_infos.json").unlink(missing_ok=True)
        try:
            module = LocalDatasetModuleFactory(str(base)).get_module()
        except (EmptyDatasetError, DataFilesNotFoundError):
            return {}
        except (OSError, ValueError, BadZipFile) as error:
            raise DataError(
                f"{repository.name}: datasets cannot determine its data files "
                f"({type(error).__name__}: {error}); check the card of the data set"
            ) from error
        configs = {}
        for config in module.builder_configs_parameters.builder_configs or ():
            files = config.data_files
            if isinstance(files, DataFilesPatternsDict):
                try:
                    files = files.resolve(base_path=str(base))
                except FileNotFoundError:
                    continue  # the card lists files that do not exist
            configs[str(config.name)] = {
                str(split): tuple(Path(path).relative_to(base).as_posix() for path in paths)
                for split, paths in files.items()
            }
        return configs


def split_files(
    path: str, revision: str, config: str | None, split: str
) -> dict[str, list[RemoteFile]]:
    """Split → its files, for each part of `a+b`. DataError if the config or split is missing."""
    configs = layout(path, revision)
    name = config or "default"
    if not configs:
        raise DataError(
            f"{path}: no data files on the hub at {revision[:12]}, only a script, which is not run"
        )
    if name not in configs:
        raise DataError(
            f"{path} ({name}): no config {name} on the hub; available: {_names(configs)}"
        )
    splits, parts = configs[name], split.split("+")
    if absent := [part for part in parts if part not in splits]:
        raise DataError(
            f"{path} ({name}): no split {', '.join(absent)} on the hub; available: {_names(splits)}"
        )
    repository = repo("dataset", path, revision)
    for part in parts:
        check_shards(splits[part], f"{path} ({name}), split {part}: the hub at {revision[:12]}")
    return {part: [repository.files[file] for file in splits[part]] for part in parts}


def _names(names: Mapping[str, Any]) -> str:
    shown = sorted(names)[:12]
    return ", ".join(shown) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def model_files(repository: Repo) -> list[RemoteFile]:
    """The files of a model that transformers reads: configuration, tokenizer and weights in the
    top folder. DataError if there is no config.json.
    """
    top_level = [file for name, file in sorted(repository.files.items()) if "/" not in name]

    def matching(patterns: tuple[str, ...]) -> list[RemoteFile]:
        return [f for f in top_level if any(fnmatch(f.name, pattern) for pattern in patterns)]

    selected = matching(_MODEL_FILES)
    if not any(file.name.endswith(".safetensors") for file in selected):
        selected += matching(_OTHER_WEIGHTS)
        selected = [f for f in selected if not f.name.endswith("safetensors.index.json")]
    if not any(file.name == "config.json" for file in selected):
        raise DataError(
            f"{repository.name}: not a model of transformers (no config.json in its top folder)"
        )
    return selected
