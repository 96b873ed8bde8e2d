"""Private tasks: task files of the user, outside this package.

A task file is Python text that defines `TASKS`, a tuple of Task records, like the files in
`xstilts/tasks/benchmarks/`. Loading a file executes it. Each of its tasks carries the SHA-256 of
the text (`Task.file_sha256`), which becomes part of the fingerprint of every step that uses the
task.
"""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from xstilts.errors import DataError, PlanError
from xstilts.input_files import read_bytes
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Task
from xstilts.tasks.task_checks import task_problems


def sha256_of(source: str) -> str:
    """SHA-256 (hex) of a task file's text."""
    return hashlib.sha256(source.encode()).hexdigest()


def read_task_files(paths: Iterable[str | Path], folder: Path = Path()) -> dict[str, str]:
    """path as given → text. Relative paths start at `folder`. PlanError for an unreadable file."""
    sources = {}
    for path in paths:
        try:
            sources[str(path)] = read_bytes(folder / path).decode()  # with its own line ends
        except (DataError, UnicodeError) as error:
            raise PlanError(f"{path}: cannot read the task file: {error}") from error
    return sources


def load_private_tasks(paths: Iterable[str | Path], folder: Path = Path()) -> dict[str, Task]:
    """The tasks of some task files, by name. PlanError with every mistake."""
    return private_tasks(read_task_files(paths, folder))


def with_private(sources: Mapping[str, str]) -> Mapping[str, Task]:
    """The shipped tasks and those of some task files (path → text)."""
    return {**TASKS, **private_tasks(sources)} if sources else TASKS


def private_tasks(sources: Mapping[str, str]) -> dict[str, Task]:
    """The tasks of some task files (path → text), checked. PlanError with every mistake."""
    tasks = executed(sources)
    known = {**TASKS, **tasks}
    problems = [problem for task in tasks.values() for problem in task_problems(task, known)]
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise PlanError(f"invalid private tasks ({', '.join(sources)})\n{lines}")
    return tasks


def executed(sources: Mapping[str, str]) -> dict[str, Task]:
    """The tasks of some task files (path → text). Executes the files.

    PlanError for a file without tasks, and for a task with the name of a shipped task or of a task
    in another file.
    """
    origin: dict[str, str] = {}
    tasks: dict[str, Task] = {}
    for path, source in sources.items():
        for task in _executed(path, source):
            if task.name in TASKS:
                raise PlanError(
                    f"{path}: the task {task.name!r} has the name of a shipped task; rename it"
                )
            if task.name in tasks:
                raise PlanError(
                    f"duplicate task {task.name!r}: {origin[task.name]} and {path}; "
                    "rename one of them"
                )
            origin[task.name], tasks[task.name] = path, task
    return tasks


@lru_cache(maxsize=64)
def _executed(path: str, source: str) -> tuple[Task, ...]:
    sha256 = sha256_of(source)
    module = ModuleType(f"xstilts_private_task_{sha256[:16]}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # dataclasses and pickle look a module up by its name
    try:
        exec(compile(source, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise PlanError(
            f"{path}:{_line(error, path)}: cannot load the task file: "
            f"{type(error).__name__}: {error}"
        ) from error
    tasks = getattr(module, "TASKS", None)
    if not isinstance(tasks, tuple | list) or not tasks:
        raise PlanError(f"{path}: the task file must define TASKS, a tuple of tasks")
    if not all(isinstance(task, Task) for task in tasks):
        raise PlanError(f"{path}: TASKS must contain xstilts.tasks.task.Task records only")
    return tuple(replace(task, file_sha256=sha256) for task in tasks)


def _line(error: BaseException, path: str) -> int:
    """The last line of a task file that an error passed through."""
    line = (error.lineno or 0) if isinstance(error, SyntaxError) and error.filename == path else 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
