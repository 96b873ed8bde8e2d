"""`xstilts run`: a plan on this machine."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import note, say, warn
from xstilts.errors import InfrastructureError, counted

if TYPE_CHECKING:
    from pipelines.local_runner import LocalFolders
    from pipelines.task_processes import TaskProcesses
    from xstilts.plan.resources import Resources
    from xstilts.plan.schema import Plan
    from xstilts.store.store import Store

#: How many missing outputs an error lists.
MOST_LISTED = 20
#: How often the pipeline is run if tasks are lost. What they finished is not computed again.
ATTEMPTS = 2

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts run demo",
        "xstilts run my-plan.yaml --limit 8",
        "xstilts run PLAN --set seeds=5 --set resources.workers=4",
        "xstilts run PLAN --mirror s3://bucket/mirror --runner docker",
    ),
)
def run(
    plan: options.PlanFile,
    mirror: options.Mirror = None,
    store: options.LocalStore = None,
    home: options.Home = Path(".xstilts"),
    runner: options.RunnerOption = "subprocess",
    overrides: options.Overrides = None,
    limit: options.Limit = None,
    tasks: options.TaskFiles = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the report and the logs. The same plan name and folder are the same "
            "run, whose report is replaced.",
            show_default="runs/<name of the plan>",
        ),
    ] = None,
) -> int:
    """Run a plan on this machine.

    Starts an embedded S3 server and, if needed, a local Ray, then runs the pipeline and prints
    the report. Finished steps are not run again: run the same command to resume.
    """
    from pipelines.local_runner import interruptible

    with interruptible():  # also while a plan is read and the miniature is generated
        result = run_plan(
            plan, mirror=mirror, store=store, home=home, runner=runner, out=out, tasks=tasks or [],
            overrides=overrides or [], limit=limit, say=note,
        )  # fmt: skip
    for line in result.errors:
        warn(line)
    if (result.report / "summary.json").is_file():
        from xstilts.analysis.terminal import show

        show(result.report)
        say(f"report: {result.report / 'report.html'}")
    note(f"{result.seconds:.0f} s, exit code {result.exit_code}")
    return result.exit_code


@dataclass(frozen=True)
class RunResult:
    """A finished local run. `report`: the folder with report.html, summary.json and the tables.
    `errors`: one text for each error of failed steps, and one for missing outputs.
    """

    name: str
    exit_code: int
    report: Path
    errors: Sequence[str]
    seconds: float


def run_plan(
    plan: Path | str,
    *,
    mirror: str | None = None,
    store: str | None = None,
    home: Path | str = ".xstilts",
    out: Path | str | None = None,
    runner: options.Runner = "subprocess",
    tasks: Sequence[Path] = (),
    overrides: Sequence[str] = (),
    limit: int | None = None,
    say: Callable[[str], None] = print,
) -> RunResult:
    """Runs a plan on this machine. Finished steps are not run again.

    Args:
        plan: YAML file of the plan, or the name of a shipped one.
        mirror: hub, miniature, a folder or s3://bucket/prefix; default: the plan's mirror.
        store: s3://bucket/prefix; default: an embedded S3 server over `home`/store.
        home: folder that runs share: store, cache, generated miniature.
        out: folder for the report and the logs; default: runs/<name of the plan>.
        runner: run each component as a subprocess, or in its own Docker image.
        tasks: private task files besides those of the plan.
        overrides: `key=value` texts that change keys of the plan.
        limit: at most this many rows of each split and updates of each training.
        say: receives progress lines.

    Returns:
        The run's name, exit code (0, or 4 with failed cells), report folder and errors.

    Raises:
        XstiltsError: the plan is invalid, or the infrastructure failed.
    """
    from pipelines import local_runner
    from pipelines.failures import grouped_failures
    from pipelines.plan_file import expand_plan, open_plan
    from pipelines.progress import progress_of
    from pipelines.scratch_folder import scratch_folder
    from xstilts.plan.status import undone
    from xstilts.runs import stored_report
    from xstilts.runs.mirror_choice import mirror_for
    from xstilts.store.private_files import private_folder
    from xstilts.store.store import Store

    started = time.monotonic()
    home = Path(home).resolve()
    private_folder(home)
    loaded = open_plan(plan, tasks, overrides, limit)
    checked = loaded.plan
    _check_environment()
    if runner == "subprocess":
        _require_gpus(checked.resources)
    folders = local_runner.LocalFolders(home, Path(out or f"runs/{checked.name}").resolve())
    report = folders.out / "report"
    stored_report.refuse_foreign(report)
    name = local_runner.run_name(checked.name, folders.out)
    address = mirror_for(mirror, checked.mirror, home, say)
    expansion = expand_plan(checked, address)
    with (
        local_runner.interruptible(),
        scratch_folder(),
        local_runner.store_at(store, home) as uri,
        _task_processes(runner, folders) as processes,
    ):
        opened = Store.open(uri, cache=Path(os.environ["XSTILTS_CACHE"]))
        if checked.reuse == "none":
            expansion = expand_plan(checked, address, generation=name)
        todo = {kind: len(steps) for kind, steps in undone(expansion, opened).items() if steps}
        reset = partial(
            _reset_run, opened, name, loaded.text, address, checked.task_files, folders.out
        )
        if another_plan_finished(opened, name, loaded.text):
            say(
                f"the plan has changed since the run {name}, whose report is replaced; to keep "
                "both and compare them (`xstilts report --against`), set another --out"
            )
        reset()
        if checked.limit is not None:
            warn(
                f"smoke run: at most {checked.limit} rows of each split and updates of each "
                "training; its scores are not results"
            )
        say(
            f"{checked.name}: {counted(len(expansion.cells), 'cell')}, "
            f"{counted(len(expansion.steps), 'step')}; "
            + (
                "to do: " + ", ".join(f"{count} {kind}" for kind, count in todo.items())
                if todo
                else "all done before"
            )
        )
        progress = progress_of(opened, expansion, name, say)
        launching = next((kind for kind in ("finetune", "score") if todo.get(kind)), None)
        with _runner(processes, name, checked, folders, address, launching) as arguments:
            progress.start()
            try:
                for attempt in range(1, ATTEMPTS + 1):
                    local_runner.run_pipeline(f"{uri}/runs/{name}", folders, *arguments)
                    code, failures = local_runner.outcome(opened, name)
                    lost = code in (0, 4) or not failures
                    missing = _missing_outputs(opened, name) if lost else []
                    if not missing or attempt == ATTEMPTS:
                        break
                    warn(f"{missing[0]}: its task was lost or killed; running the pipeline again")
                    reset()
            finally:
                progress.stop()
        if not stored_report.fetch(opened, name, report):
            stored_report.delete_local(report)  # of an earlier attempt
    errors = grouped_failures(failures)
    if missing:
        code = InfrastructureError.exit_code
        lines = "".join(f"\n  {line}" for line in missing[:MOST_LISTED])
        errors.append(
            f"missing: {counted(len(missing), 'output')} of the run's tasks, which were lost or "
            f"killed; see {folders.logs / 'pipeline.log'} and run the same command again:{lines}"
        )
    return RunResult(name, code, report, errors, time.monotonic() - started)


def _check_environment() -> None:
    """Refuses variables that a run would find invalid only when it trains."""
    from xstilts.environment import seconds_setting

    seconds_setting("XSTILTS_RAY_START_SECONDS", 120)
    if os.environ.get("XSTILTS_LAUNCHER"):
        from components.launch.choose import launcher

        launcher()


def _require_gpus(resources: "Resources") -> None:
    """Refuses a plan whose workers need more GPUs than this machine has, before anything starts."""
    from xstilts.plan.placement import gpus_needed

    needed = gpus_needed(resources.workers, resources.gpus_per_worker)
    if not needed or os.environ.get("XSTILTS_LAUNCHER", "local") != "local":
        return
    import torch

    available = torch.cuda.device_count()
    if available < needed:
        raise InfrastructureError(
            f"resources.gpus_per_worker: a group needs {counted(needed, 'GPU')} "
            f"({resources.workers} × {resources.gpus_per_worker:g}), and this machine has "
            f"{available}; add --set resources.gpus_per_worker=0 to train on the CPU, or run "
            "`xstilts submit`"
        )


def another_plan_finished(store: "Store", name: str, plan: str) -> bool:
    """Whether the run of this name has ended, with another plan than this text."""
    if store.get_json(f"runs/{name}/status.json") is None:
        return False
    return store.get_bytes_at(f"runs/{name}/plan.yaml") != plan.encode()


def _reset_run(
    store: "Store",
    name: str,
    plan: str,
    mirror: str,
    task_files: Mapping[str, str],
    out: Path,
) -> None:
    """Writes the run's folder and removes what an earlier attempt recorded about its outcome, and
    the report of another plan. The report of the same plan may be used again.
    """
    from xstilts.runs import stored_report
    from xstilts.runs.finished import forget
    from xstilts.runs.folder import create

    store.delete(f"runs/{name}/status.json")
    if store.get_bytes_at(f"runs/{name}/plan.yaml") != plan.encode():
        stored_report.delete(store, f"runs/{name}")
        stored_report.delete_local(out / "report")
    create(store, name, plan, mirror, task_files, out=str(out))
    forget(store, f"runs/{name}")
    for key in store.list(f"runs/{name}/failures/"):
        store.delete(key)


def _task_processes(
    runner: options.Runner, folders: "LocalFolders"
) -> "contextlib.AbstractContextManager[TaskProcesses | None]":
    """The processes of the runner `subprocess`, which load modules while the run prepares."""
    if runner == "docker":
        return contextlib.nullcontext()
    from pipelines.task_processes import task_processes

    return task_processes(folders.logs / "processes.log")


@contextlib.contextmanager
def _runner(
    processes: "TaskProcesses | None",
    name: str,
    plan: "Plan",
    folders: "LocalFolders",
    mirror: str,
    launching: str | None,
) -> Iterator[tuple[Any, ...]]:
    """What `run_pipeline` needs besides the run and its folders.

    Args:
        processes: of the runner `subprocess`; None for `docker`.
        name: the run's name.
        plan: the plan.
        folders: of the run.
        mirror: the mirror's address.
        launching: the component whose first task starts a worker group, or None. A local Ray is
            started for it unless XSTILTS_LAUNCHER names another.
    """
    from pipelines import local_runner

    with contextlib.ExitStack() as stack:
        if processes is None:
            from pipelines.docker_runner import prepared

            yield (None, *stack.enter_context(prepared(name, plan, folders, mirror)))
            return
        if launching and os.environ.get("XSTILTS_LAUNCHER", "local") == "local":
            stack.enter_context(local_runner.ray_head(plan.resources.workers + 1, folders.logs))
            stack.callback(processes.close)  # an interrupted group must not see Ray end first
            processes.prepare_launch(launching)
        yield (processes,)


def _missing_outputs(store: "Store", name: str) -> list[str]:
    from pipelines.intermediate_to_xtreme_r import intermediate_to_xtreme_r
    from pipelines.kfp.task_results import unfinished

    return unfinished(intermediate_to_xtreme_r, store, name)
