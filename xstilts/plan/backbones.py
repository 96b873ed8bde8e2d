"""Where a backbone's weights come from, named so that equal names mean equal bytes."""

import hashlib
from pathlib import Path
from typing import Any

from xstilts.errors import DataError
from xstilts.plan.schema import BackbonePlan
from xstilts.sources.hub import COMMIT_HASH


def identity_of(name: str, backbone: BackbonePlan, mirrored: str | None = None) -> dict[str, Any]:
    """mirrored: the commit at which the run's mirror holds the model; a floating revision stands
    for that. Returns `{"hub", "revision"}` with the commit that a floating revision stands for
    now, or `{"path", "identity"}` with the SHA-256 of the folder's file names and contents.
    Raises DataError. Built backbones have a step instead.
    """
    if backbone.hub is not None and mirrored is not None:
        asked = backbone.revision or "main"
        if COMMIT_HASH.fullmatch(asked) and asked != mirrored:
            raise DataError(
                f"backbones.{name}: the mirror holds {backbone.hub} at {mirrored} and not at {asked}; pull it"
            )
        return {"hub": backbone.hub, "revision": mirrored}
    if backbone.hub is not None:
        return {
            "hub": backbone.hub,
            "revision": _commit(name, backbone.hub, backbone.revision or "main"),
        }
    if backbone.path is not None:
        return {
            "path": backbone.path,
            "identity": folder_digest(Path(backbone.path), f"backbones.{name}.path"),
        }
    raise ValueError(f"backbone {name} is built: its identity is the fingerprint of its build step")


def _commit(name: str, hub: str, revision: str) -> str:
    if COMMIT_HASH.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        found = HfApi().model_info(hub, revision=revision).sha
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise DataError(
            f"backbones.{name}: cannot resolve {hub} at {revision!r}: {error}. Without a way to the hub, give the "
            "commit (40 hex digits) as revision, or a folder as path"
        ) from error
    if not found:
        raise DataError(f"backbones.{name}: the hub names no commit for {hub} at {revision!r}")
    return found


def folder_digest(folder: Path, where: str) -> str:
    """SHA-256 over the sorted (relative name, SHA-256) of a folder's files; hidden files are no
    part of a model.
    """
    if not (folder / "config.json").is_file():
        raise DataError(
            f"{where}: {folder} holds no config.json; give a folder written by save_pretrained"
        )
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if not any(part.startswith(".") for part in name.split("/")):
            with path.open("rb") as file:
                total.update(
                    f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
                )
    return total.hexdigest()
