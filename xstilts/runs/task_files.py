"""The private task files of a run or a schedule, in its folder in the store.

A file is stored as `task_files/<sha256>.py`. A worker executes it only if its SHA-256 is the one in
the spec of a step that uses it; nothing of another file is executed.
"""

import re
from collections.abc import Iterable, Mapping

from xstilts.errors import StoreError
from xstilts.step import Step
from xstilts.store.store import Store
from xstilts.tasks.private import executed, sha256_of
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Task

_SHA256 = re.compile(r"[0-9a-f]{64}")


def put(store: Store, folder: str, files: Mapping[str, str]) -> dict[str, str]:
    """Writes task files (path → text) to a folder. Returns path → SHA-256."""
    for text in files.values():
        store.put_bytes_at(_key(folder, sha256_of(text)), text.encode())
    return {path: sha256_of(text) for path, text in files.items()}


def get(store: Store, folder: str, digests: Mapping[str, str]) -> dict[str, str]:
    """path → text of the task files with these digests (path → SHA-256), as `put` returned them.
    StoreError for a file that is missing or has another digest.
    """
    return {path: _text(store, folder, digest) for path, digest in digests.items()}


def tasks_of(store: Store, folder: str, steps: Iterable[Step]) -> Mapping[str, Task]:
    """The tasks that some steps of a run use: the shipped ones and the private ones named in the
    steps' specs. Executes the private files, after checking their digests.
    """
    digests = {
        name: digest for step in steps for name, digest in step.spec.get("task_files", {}).items()
    }
    if not digests:
        return TASKS
    files = {_key(folder, digest): _text(store, folder, digest) for digest in digests.values()}
    tasks = executed(files)
    for name, digest in digests.items():
        if name not in tasks or tasks[name].file_sha256 != digest:
            raise StoreError(
                f"{store.uri}/{_key(folder, digest)}: the file does not define the task {name!r}; "
                "start a new run"
            )
    return {**TASKS, **tasks}


def _key(folder: str, digest: str) -> str:
    if not _SHA256.fullmatch(digest):
        raise StoreError(f"{folder}: {digest!r} is not the SHA-256 of a task file")
    return f"{folder}/task_files/{digest}.py"


def _text(store: Store, folder: str, digest: str) -> str:
    key = _key(folder, digest)
    content = store.get_bytes_at(key)
    if content is None:
        raise StoreError(f"{store.uri}/{key}: the task file is missing; start a new run")
    text = content.decode(errors="replace")
    if sha256_of(text) != digest:
        raise StoreError(
            f"{store.uri}/{key}: checksum mismatch: the task file has the SHA-256 "
            f"{sha256_of(text)}; it was not executed. Start a new run"
        )
    return text
