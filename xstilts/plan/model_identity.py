"""Identities of backbones. Equal identities mean equal bytes."""

import hashlib
from pathlib import Path
from typing import Any

from xstilts.errors import DataError, XstiltsError
from xstilts.input_files import open_file, resolved
from xstilts.models.contract import Contract
from xstilts.models.families import check_model_type, contract
from xstilts.models.model_folder import check_folder, check_links
from xstilts.plan.backbone_plan import BackbonePlan
from xstilts.sources.hub import COMMIT_HASH
from xstilts.sources.hub_client import request

#: Revision or identity of a backbone that was not looked up.
UNRESOLVED = "unresolved"


def identity_of(
    name: str, backbone: BackbonePlan, mirrored: str | Path | None = None
) -> dict[str, Any]:
    """The identity of a backbone that is not built (built ones have a step instead).

    mirrored: the commit at which the run's mirror has the model, which a branch or tag resolves
    to; or the model's folder in a mirror without a recorded commit. Returns `{"hub", "revision"}`
    with a commit, or `{"hub", "identity"}` or `{"path", "identity"}` with a SHA-256 of the
    folder's file names and contents. Raises DataError.
    """
    if backbone.hub is not None and isinstance(mirrored, Path):
        if backbone.revision is not None:
            raise DataError(
                f"backbones.{name}.revision: {mirrored} has no recorded commit; remove revision, "
                "or run xstilts mirror pull"
            )
        check_links(mirrored)
        return {"hub": backbone.hub, "identity": folder_digest(mirrored, f"backbones.{name}.hub")}
    if backbone.hub is not None and mirrored is not None:
        asked = backbone.revision or "main"
        if COMMIT_HASH.fullmatch(asked) and asked != mirrored:
            raise DataError(
                f"backbones.{name}.revision: the mirror has {backbone.hub} at {mirrored}, not at "
                f"{asked}; run xstilts mirror pull"
            )
        return {"hub": backbone.hub, "revision": mirrored}
    if backbone.hub is not None:
        return {
            "hub": backbone.hub,
            "revision": _commit(name, backbone.hub, backbone.revision or "main"),
        }
    if backbone.path is not None:
        folder = resolved(backbone.path)
        _check(folder, contract(backbone.family))
        # Absolute: workers have another current folder.
        return {
            "path": str(folder),
            "identity": folder_digest(folder, f"backbones.{name}.path"),
        }
    raise ValueError(f"backbone {name} is built: its identity is the fingerprint of its build step")


def _check(folder: Path, of: Contract) -> None:
    """DataError for a folder that no step could load. Weights are not read."""
    check_model_type(folder, of)
    check_links(folder)
    check_folder(folder, of)


def unresolved(backbone: BackbonePlan) -> dict[str, Any]:
    """The identity of a backbone that is not looked up. No step with it can run."""
    if backbone.hub is not None:
        return {"hub": backbone.hub, "revision": UNRESOLVED}
    return {"path": backbone.path, "identity": UNRESOLVED}


def _commit(name: str, hub: str, revision: str) -> str:
    if COMMIT_HASH.fullmatch(revision):
        return revision
    try:
        found = request("model", hub, lambda api: api.model_info(hub, revision=revision).sha)
    except XstiltsError as error:
        raise type(error)(
            f"backbones.{name}: cannot resolve {hub} at {revision!r}: {error}. Without access to "
            "the hub, set revision to the commit (40 hex digits), or path to a folder"
        ) from error
    if not found:
        raise DataError(
            f"backbones.{name}: the hub returned no commit for {hub} at {revision!r}; set revision "
            "to a commit"
        )
    return found


def folder_digest(folder: Path, where: str) -> str:
    """SHA-256 over the sorted (relative name, SHA-256) pairs of a folder's visible files."""
    if not (folder / "config.json").is_file():
        raise DataError(
            f"{where}: {folder} has no config.json; use a folder written by save_pretrained"
        )
    total = hashlib.sha256()
    for path in model_files(folder):
        name = path.relative_to(folder).as_posix()
        with open_file(path) as file:
            total.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def model_files(folder: Path) -> list[Path]:
    """The visible files of a model's folder, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        path
        for path in files
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
