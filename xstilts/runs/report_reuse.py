"""A report that was made from equal inputs is not made again.

Inputs are everything that a report is computed from: the plan's expansion, the mirror, manifests of
steps, recorded failures, a cancellation, and the code that computes it. A report is reused only if
every file of it has the SHA-256 that was recorded after it was made.
"""

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from xstilts.step import canonical_json
from xstilts.store import documents
from xstilts.store.store import Store, file_sha256
from xstilts.store.threads import in_threads

#: Distributions whose version can change a table or a page.
LIBRARIES = ("numpy", "pandas", "scipy", "pyarrow", "jinja2", "vl-convert-python")


def inputs(store: Store, folder: str) -> str | None:
    """The SHA-256 of a run's report inputs. None if the plan step has not run."""
    expanded = store.get_json(f"{folder}/expanded.json")
    if expanded is None:
        return None
    steps: Mapping[str, Mapping[str, Any]] = expanded["steps"]
    versions = dict(store.listing(f"{folder}/failures/"))
    for kind in sorted({str(step["kind"]) for step in steps.values()}):
        for key, written in store.listing(f"steps/{kind}/").items():
            if key.split("/")[2] in steps:
                versions[key] = written
    run = store.get_json(f"{folder}/run.json") or {}
    cancelled = store.get_json(f"{folder}/cancelled.json") is not None
    document = [expanded, str(run.get("mirror", "")), cancelled, versions, _code()]
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def keep(store: Store, folder: str, inputs: str, report: Mapping[str, Path]) -> None:
    """Records what a report was made from. Call this after its files (name → path) are uploaded."""
    hashes = {name: file_sha256(path) for name, path in report.items()}
    store.put_json(_key(folder), {"inputs": inputs, "files": hashes})


def forget(store: Store, folder: str) -> None:
    """Removes the record of what a report was made from. Call this before its files change."""
    store.delete(_key(folder))


def fetch(store: Store, folder: str, inputs: str, out: Path) -> dict[str, Path] | None:
    """Downloads the run's report to a folder if it was made from these inputs: name in the run's
    folder → path. None if there is no such report, or a file of it is missing or has changed.
    """
    record = store.get_json(_key(folder))
    if record is None or record["inputs"] != inputs or "report/summary.json" not in record["files"]:
        return None
    for name in record["files"]:
        documents.checked_name(name, f"{store.uri}/{_key(folder)}")

    def verified(item: tuple[str, str]) -> bytes | None:
        data = store.get_bytes_at(f"{folder}/{item[0]}")
        return data if data and hashlib.sha256(data).hexdigest() == item[1] else None

    contents = in_threads(verified, record["files"].items())
    if None in contents:
        return None
    paths = {name: out / name.removeprefix("report/") for name in record["files"]}
    for path, content in zip(paths.values(), contents, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or b"")
    return paths


def _key(folder: str) -> str:
    return f"{folder}/report_inputs.json"


def _code() -> dict[str, str]:
    """What computes the report: the files of this package, and versions of libraries."""
    package = Path(str(files("xstilts")))
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(package)}\0{file_sha256(path)}\0".encode())
    return {"xstilts": digest.hexdigest(), **{name: version(name) for name in LIBRARIES}}
