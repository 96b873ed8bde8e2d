"""What each command does."""

import argparse
import contextlib
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from xstilts.errors import InfrastructureError, PlanError, XstiltsError, in_a_line

ROOM_GIB = 2.0


def _say(text: str) -> None:
    print(text, file=sys.__stdout__, flush=True)  # KFP's runner redirects sys.stdout while it works


def _expand(given: argparse.Namespace, home: Path, run: str | None = None) -> tuple[Any, Any, str]:
    """(plan, expansion, mirror) of a plan file; every mistake of the plan is an error here,
    before anything starts.
    """
    from pipelines.local_runner import mirror_for
    from xstilts.environment import numeric_environment
    from xstilts.plan.expand import expand
    from xstilts.plan.load import load_plan
    from xstilts.sources.mirrors import open_mirror

    path = Path(given.plan)
    if not path.is_file():
        raise PlanError(f"{path}: no such plan file")
    plan = load_plan(path)
    mirror = mirror_for(given.mirror, plan.mirror, home)
    return plan, expand(plan, open_mirror(mirror), numeric_environment(), generation=run), mirror


def run(given: argparse.Namespace) -> int:
    """xstilts run PLAN"""
    from pipelines import local_runner
    from xstilts.plan.status import undone
    from xstilts.runs.finished import forget
    from xstilts.runs.folder import create
    from xstilts.store.store import Store

    started = time.monotonic()
    home = Path(given.home).resolve()
    home.mkdir(parents=True, exist_ok=True)
    plan, expansion, mirror = _expand(given, home)
    place = local_runner.Local(home, Path(given.out or f"runs/{plan.name}").resolve())
    name = local_runner.run_name(plan.name, place.out)
    with local_runner.interruptible(), local_runner.store_at(given.store, home) as uri:
        store = Store.open(uri, cache=Path(os.environ["XSTILTS_CACHE"]))
        if plan.reuse == "none":
            expansion = _expand(given, home, name)[1]
        todo = undone(expansion, store)
        create(store, name, Path(given.plan).read_text(), mirror)
        store.delete(f"runs/{name}/status.json")
        forget(store, f"runs/{name}")
        for key in store.list(f"runs/{name}/failures/"):
            store.delete(key)
        work = {kind: len(steps) for kind, steps in todo.items() if steps}
        _say(
            f"{plan.name}: {len(expansion.cells)} cells, {len(expansion.steps)} steps; "
            + _left(work)
        )
        totals = {kind: set(steps) for kind, steps in expansion.by_kind().items()}
        watch = local_runner.Watch(store, totals, _say)
        here = (
            os.environ.get("XSTILTS_LAUNCHER", "local") == "local"
        )  # elsewhere there is a Ray already
        training = here and bool(todo.get("finetune") or todo.get("score"))
        with contextlib.ExitStack() as stack:
            how: tuple[Any, ...] = ()
            if given.runner == "docker":
                from pipelines.docker_runner import prepared

                how = stack.enter_context(prepared(name, plan, place, mirror))
            elif training:
                stack.enter_context(local_runner.ray_head(plan.resources.workers + 1, place.logs))
            watch.start()
            try:
                green = local_runner.run_pipeline(f"{uri}/runs/{name}", place, *how)
            finally:
                watch.stopped.set()
                watch.join()
        code, failures = local_runner.outcome(store, name, green)
        from pipelines.intermediate_to_xtreme_r import intermediate_to_xtreme_r
        from pipelines.kfp.task_results import unfinished

        lost = unfinished(intermediate_to_xtreme_r, store, name) if code in (0, 4) else []
        report = place.out / "report"
        for key in store.list(f"runs/{name}/report/"):
            store.get_file(key, report / key.removeprefix(f"runs/{name}/report/"))
    for failure in failures:
        print(f"xstilts: {failure['what']}: {in_a_line(failure['error'])}", file=sys.stderr)
    if lost:  # the runner told of a success that was none
        code = InfrastructureError.exit_code
        print(
            f"xstilts: {len(lost)} things that the run's tasks should have left are not there:",
            file=sys.stderr,
        )
        print("\n".join(f"  {line}" for line in lost[:20]), file=sys.stderr)
    if (report / "summary.json").is_file():
        from xstilts.analysis.terminal import show

        show(report)
        _say(f"report: {report / 'report.html'}")
    _say(f"{time.monotonic() - started:.0f} s, exit code {code}")
    return code


def _left(work: dict[str, int]) -> str:
    return (
        "to do: " + ", ".join(f"{count} {kind}" for kind, count in work.items())
        if work
        else "all of them done before"
    )


def plan(given: argparse.Namespace) -> int:
    """xstilts plan PLAN"""
    from pipelines import local_runner
    from xstilts.plan.recomputed import earlier_run, recomputed
    from xstilts.plan.show import overview, render
    from xstilts.plan.status import done
    from xstilts.store.store import Store

    home = Path(given.home).resolve()
    home.mkdir(parents=True, exist_ok=True)
    _, expansion, _ = _expand(given, home)
    with local_runner.store_at(given.store, home) as uri:
        store = Store.open(uri, cache=Path(os.environ["XSTILTS_CACHE"]))
        finished = done(expansion, store)
        earlier = earlier_run(store, expansion.name)
        again = recomputed(expansion, earlier[1], store) if earlier else []
    view = overview(expansion, finished, given.gpus, again, earlier[0] if earlier else None)
    if given.json:
        _say(json.dumps(view, indent=2, ensure_ascii=False))
    else:
        from rich.console import Console

        Console().print(render(view))
    return 0


def compile_package(given: argparse.Namespace) -> int:
    """xstilts compile"""
    from pipelines.cluster_settings import load_settings
    from pipelines.kfp.package import compile_to

    compile_to(Path(given.output), load_settings(given.settings))
    _say(f"wrote {given.output}")
    return 0


def tasks(given: argparse.Namespace) -> int:
    """xstilts tasks [probe]"""
    if given.action == "probe":
        return _probe(given)
    from xstilts.tasks.registry import as_json

    rows = as_json()
    if given.json:
        _say(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    # Eighty columns hold what one chooses a task by; the licence, and all else, stand in --json and
    # docs/tasks.md.
    for role in dict.fromkeys(row["role"] for row in rows):
        table = Table(
            title=role, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
        )
        learnt = role != "evaluation"
        for name in (
            "task",
            "format",
            *(("images", "learnt as") if learnt else ()),
            "languages",
            "metric",
        ):
            table.add_column(name, no_wrap=True)
        for row in (row for row in rows if row["role"] == role):
            languages = (
                str(len(row["languages"])) if len(row["languages"]) > 1 else row["languages"][0]
            )
            how = (
                ("yes" if row["modality"] == "image" else "", ", ".join(row["objectives"]))
                if learnt
                else ()
            )
            table.add_row(
                row["name"],
                row["format"],
                *how,
                languages,
                row["metrics"][0] if row["metrics"] else "",
            )
        Console().print(table)
    return 0


def _probe(given: argparse.Namespace) -> int:
    """xstilts tasks probe: exit code 3 when a source is missing, else 5 when one has changed."""
    from xstilts.mirror.probe import LOCK, probe, write_lock

    lock = LOCK if given.lock in (None, "") else Path(given.lock)
    rows = probe(given.mirror, lock, given.task, given.rows)
    by_status = {
        status: [row for row in rows if row["status"] == status]
        for status in ("missing", "changed", "licensed", "ok")
    }
    if given.json:
        _say(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        for status in ("missing", "changed", "licensed"):
            for row in by_status[status]:
                where = f" {row['path']} ({row['part']}):" if status == "changed" else ""
                _say(
                    f"{status:8} {row['task']} {row['split']} {row['language']}:{where} {row['reason']}"
                )
        unverified = sum(not row["verified"] for row in by_status["ok"])
        counts = ", ".join(f"{len(found)} {status}" for status, found in by_status.items() if found)
        _say(
            f"{len(rows)} sources: {counts}; {unverified} of those that are there are not in hub.lock as verified"
        )
    if given.lock is not None:
        _say(f"{lock}: {write_lock(rows, lock)} data sets written")
        return 3 if by_status["missing"] else 0
    return 3 if by_status["missing"] else 5 if by_status["changed"] else 0


def mirror(given: argparse.Namespace) -> int:
    """xstilts mirror miniature|pull|verify DIR"""
    if given.what != "miniature":
        from pipelines import mirror as mirrors

        return mirrors.pull(given) if given.what == "pull" else mirrors.verify(given)
    from xstilts.miniature.write import write_miniature

    folder = Path(given.dir)
    if folder.exists() and any(folder.iterdir()):
        raise PlanError(f"{folder} is not empty; name a new folder")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    write_miniature(part, seed=given.seed)
    folder.rmdir() if folder.exists() else None
    os.replace(part, folder)
    _say(f"wrote the miniature to {folder}")
    return 0


def store(given: argparse.Namespace) -> int:
    """xstilts store serve|verify|gc"""
    from pipelines import local_runner
    from xstilts.store.garbage import collect, garbage
    from xstilts.store.server import serve
    from xstilts.store.store import Store
    from xstilts.store.verify import verify

    home = Path(given.home).resolve()
    home.mkdir(parents=True, exist_ok=True)
    if given.action == "serve":
        with (
            local_runner.interruptible(),
            serve(home / "store", port=given.port, log=home / "store.log") as server,
        ):
            for key, value in server.env().items():
                _say(f"export {key}={value}")
            server.process.wait()
        return 0
    if given.action == "gc":
        with local_runner.store_at(given.store, home) as uri:
            held = Store.open(uri, cache=Path(os.environ["XSTILTS_CACHE"]))
            found = garbage(held, time.time(), given.days)
            if not given.dry_run:
                collect(held, found)
        said = "would go" if given.dry_run else "deleted"
        _say(
            f"{len(found.keys)} objects, {found.size / 2**20:.1f} MiB {said}; {found.kept / 2**20:.1f} MiB stay"
        )
        return 0
    with local_runner.store_at(given.store, home) as uri:
        problems = verify(Store.open(uri, cache=Path(os.environ["XSTILTS_CACHE"])))
    for problem in problems:
        _say(problem)
    _say(f"{len(problems)} problems")
    return 3 if problems else 0


def calibrate(given: argparse.Namespace) -> int:
    """xstilts calibrate: exit code 5 when a rate is off by more than its design allows."""
    from dataclasses import asdict

    from xstilts.analysis.calibrate import answered, markdown, table

    if given.plan:
        from xstilts.plan.load import load_plan

        for plan in (load_plan(Path(path)) for path in given.plan):
            name = plan.headline or next(iter(plan.contrasts), "")
            reference = plan.contrasts[name].reference if name in plan.contrasts else "none"
            row = answered(plan.name, plan.seeds, reference == "none", given.trials)
            _say(
                json.dumps(row, ensure_ascii=False)
                if given.json
                else f"| {row['plan']} | {row['seeds']} | {100 * float(row['noise']):.1f} % | "
                f"{100 * float(row['planted']):.0f} % | {row['label']} |"
            )
        return 0
    results = list(table(given.trials, given.seed))
    if given.json:
        _say(json.dumps([asdict(result) for result in results], indent=2, ensure_ascii=False))
    else:
        _say(markdown(results))
    return 5 if any(result.suspicious for result in results) else 0


def doctor(given: argparse.Namespace) -> int:
    """xstilts doctor [--cluster]: one line a check, and exit code 3 when something is missing."""
    if given.cluster:
        from components.launch.doctor import report as look_at_cluster

        return 3 if look_at_cluster(_say, given.namespace) else 0
    from importlib.metadata import PackageNotFoundError, version

    from xstilts.store.server import rclone_binary

    problems = 0

    def line(good: bool, what: str) -> None:
        nonlocal problems
        problems += not good
        _say(f"{'ok     ' if good else 'MISSING'} {what}")

    line(sys.version_info >= (3, 11), f"Python {sys.version.split()[0]} (3.11 or newer)")
    for package in ("torch", "transformers", "datasets", "ray", "kfp", "peft", "boto3", "pillow"):
        try:
            line(True, f"{package} {version(package)}")
        except PackageNotFoundError:
            line(False, f"{package}: install xstilts with its dependencies (make setup)")
    try:
        line(True, f"rclone at {rclone_binary()}")
    except XstiltsError as error:
        line(False, str(error))
    free = shutil.disk_usage(".").free / 2**30
    line(free > ROOM_GIB, f"{free:.1f} GiB free on this disk ({ROOM_GIB} needed for the demo)")
    line((os.cpu_count() or 1) >= 2, f"{os.cpu_count()} CPUs (2 for the demo)")
    return 3 if problems else 0
