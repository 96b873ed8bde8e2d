"""What each component does, as functions of a run's folder in the store. Nothing here knows who calls it.

A run's folder holds `plan.yaml`, `run.json`, `expanded.json`, one spec for each batch and group, and one file for each
failure. A step that is done returns before torch, transformers, datasets or ray is imported.
"""

import importlib
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xstilts import finished
from xstilts.errors import DataError, PlanError, XstiltsError
from xstilts.plan.step import Step, require_current
from xstilts.store.store import Store

#: How a launcher is called: dotted path of a worker function, its JSON configuration, and the plan's resources.
Launch = Callable[[str, Mapping[str, Any], Mapping[str, Any]], None]

#: The worker function of each kind of step that a group settles.
WORKERS = {"finetune": "xstilts.training.group:work", "score": "xstilts.scoring.group:work"}

_STAGERS = {
    "records": "xstilts.data.stage:records",
    "build": "xstilts.data.stage:build",
    "encode": "xstilts.data.stage:encode",
}


def split_run_uri(run_uri: str) -> tuple[str, str]:
    """`s3://bucket/prefix/runs/<run>` → (store's URI, key prefix of the run's folder)."""
    base, separator, run = run_uri.rstrip("/").rpartition("/runs/")
    if not separator or not run or "/" in run:
        raise PlanError(f"{run_uri!r} is no run: expected s3://bucket/prefix/runs/<run>")
    return base, f"runs/{run}"


def _open(uri: str) -> Store:
    cache = os.environ.get("XSTILTS_CACHE")
    return Store.open(uri, cache=Path(cache) if cache else None)


def open_run(run_uri: str) -> tuple[Store, str]:
    """The store of a run and the key prefix of its folder; of `…/schedules/<name>` it is the run of this firing. The
    local cache is `XSTILTS_CACHE`, or a temporary folder."""
    base, separator, name = run_uri.rstrip("/").rpartition("/schedules/")
    if not separator:
        uri, folder = split_run_uri(run_uri)
        return _open(uri), folder
    from xstilts import schedule  # it reads plans, which the other steps need not

    store = _open(base)
    run = schedule.current(store, name)
    if run is None:
        raise PlanError(f"{run_uri}: the plan step has not made the run of this firing")
    return store, f"runs/{run}"


def create(store: Store, run: str, plan_text: str, mirror: str, **more: Any) -> None:
    """Starts a run's folder: the plan as written and where its data comes from. A run that was cancelled may go on."""
    store.delete(f"runs/{run}/cancelled.json")
    store.delete(f"runs/{run}/leases/")
    store.put_json(f"runs/{run}/run.json", {"run": run, "mirror": mirror, "created": time.time(), **more})
    store.put_bytes_at(f"runs/{run}/plan.yaml", plan_text.encode())


def _fired(run_uri: str) -> None:
    """Makes the run of this firing when the URI is a schedule's."""
    base, separator, name = run_uri.rstrip("/").rpartition("/schedules/")
    if separator:
        from xstilts import schedule

        store = _open(base)
        run, text, more = schedule.fire(store, name)
        create(store, run, text, more.pop("mirror"), **more)


@contextmanager
def _recorded(store: Store, folder: str, what: str) -> Iterator[None]:
    """Leaves `failures/<what>.json` when the body raises, and removes an older one when it does not."""
    key = f"{folder}/failures/{what}.json"
    try:
        yield
    except Exception as error:
        store.put_json(key, failure(what, error))
        raise
    store.delete(key)


def failure(what: str, error: BaseException, **more: Any) -> dict[str, Any]:
    """The JSON record of a failure: what failed, the message for people, the exit code, the end of the traceback."""
    log = "".join(traceback.format_exception(error))[-4000:]
    code = error.exit_code if isinstance(error, XstiltsError) else 1
    return {"what": what, "type": type(error).__name__, "error": str(error), "exit_code": code, "log": log, **more}


def plan(run_uri: str) -> None:
    """Expands the plan and writes one spec for each batch and group. A schedule's URI makes a new run first."""
    from xstilts import schedule
    from xstilts.data.source import open_mirror
    from xstilts.plan.environment import numeric_environment
    from xstilts.plan.expand import expand
    from xstilts.plan.schema import load_plan

    _fired(run_uri)
    store, folder = open_run(run_uri)
    with _recorded(store, folder, "plan"):
        run = store.get_json(f"{folder}/run.json")
        text = store.get_bytes_at(f"{folder}/plan.yaml")
        if run is None or text is None:
            raise PlanError(f"{run_uri}: the run's folder has no plan.yaml and run.json; start it with `xstilts run`")
        holds = run.get("held", {})
        mirror = open_mirror(run["mirror"]).at(holds.get("data", ()))
        expanded = expand(load_plan(text.decode()), mirror, numeric_environment(), generation=str(run["run"]))
        schedule.refuse_changes(holds, expanded)
        if "schedule" in run:
            schedule.hold_environment(store, str(run["schedule"]), run, text.decode(), expanded.environment)
        document = expanded.to_json()
        for batch in (*document["sources"], *document["builds"], *document["encodings"]):
            _put_spec(store, folder, batch["id"], batch, document["steps"], batch["steps"])
        for group in document["groups"]:
            _put_spec(store, folder, group["id"], group, document["steps"], [*group["finetune"], *group["score"]])
        kinds = ("sources", "builds", "encodings", "groups")
        ids = {kind: [item["id"] for item in document[kind]] for kind in kinds}
        store.put_json(f"{folder}/expanded.json", document)
        store.put_json(f"{folder}/work.json", ids)
        finished.leave(store, folder, "plan", {"expanded.json": document, "work.json": ids})


def work(run_uri: str, kind: str) -> list[str]:
    """Ids of the run's `sources`, `builds`, `encodings` or `groups`, as the plan step left them."""
    store, folder = open_run(run_uri)
    ids = store.get_json(f"{folder}/work.json")
    if ids is None:
        raise PlanError(f"{run_uri}: the plan step has not run")
    return list(ids[kind])


def _put_spec(
    store: Store, folder: str, name: str, head: Mapping[str, Any], steps: Mapping[str, Any], wanted: Sequence[str]
) -> None:
    body = {"steps": {fingerprint: steps[fingerprint] for fingerprint in wanted}}
    store.put_json(f"{folder}/specs/{name}.json", {"spec": dict(head), **body})


def spec_of(store: Store, folder: str, name: str) -> tuple[dict[str, Any], dict[str, Step]]:
    """The spec of a batch or group and its steps by fingerprint, in the order in which they run."""
    document = store.get_json(f"{folder}/specs/{name}.json")
    if document is None:
        raise PlanError(f"{folder}: no spec called {name!r}; the plan step has not run, or ran with another plan")
    spec = document["spec"]
    order = spec["steps"] if "steps" in spec else [*spec["finetune"], *spec["score"]]
    return spec, {fingerprint: Step.from_json(document["steps"][fingerprint]) for fingerprint in order}


def stage(run_uri: str, batch: str) -> int:
    """Does the records, build and encode steps of a batch, in order. Returns how many had to be done."""
    store, folder = open_run(run_uri)
    done = 0
    with _recorded(store, folder, batch):
        _, steps = spec_of(store, folder, batch)
        run = store.get_json(f"{folder}/run.json") or {}
        for fingerprint, step in steps.items():
            if store.manifest(step.kind, fingerprint) is not None:
                continue
            require_current(step)
            module, _, name = _STAGERS[step.kind].partition(":")
            function = getattr(importlib.import_module(module), name)
            started = time.perf_counter()
            with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
                try:
                    files, info = function(step, store, run.get("mirror", "hub"), Path(scratch))
                except DataError as error:
                    raise DataError(f"{step.settings.get('label', step.kind)}: {error}") from error
                store.commit(step, files, {**info, "seconds": round(time.perf_counter() - started, 3)})
            done += 1
    return done


def finetune(run_uri: str, group: str, launch: Launch) -> dict[str, int]:
    """Settles every finetune step of a group: done, or failed with its failure recorded."""
    return _settle(run_uri, group, "finetune", launch)


def score(run_uri: str, group: str, launch: Launch) -> dict[str, int]:
    """Settles every score step of a group whose model is there."""
    return _settle(run_uri, group, "score", launch)


def _settle(run_uri: str, group: str, kind: str, launch: Launch) -> dict[str, int]:
    store, folder = open_run(run_uri)
    spec, steps = spec_of(store, folder, group)
    wanted = {fingerprint: steps[fingerprint] for fingerprint in spec[kind]}
    undone = set(wanted) - store.done(kind)
    group_key = f"{folder}/failures/{kind}-{group}.json"
    for fingerprint in undone:
        require_current(wanted[fingerprint])
    if undone:
        # A lease that is still there is an earlier try's, which was cut off: its job may run on, and what it says failed
        # has failed. Every other try starts afresh.
        if store.get_json(f"{folder}/leases/{kind}-{group}.json") is None:
            for fingerprint in undone:
                store.delete(failure_key(folder, kind, fingerprint))
                store.delete(f"{folder}/attempts/{fingerprint}/")
        store.delete(group_key)
        lost: Exception | None = None
        try:
            config = {"run_uri": f"{store.uri}/{folder}", "group": group, "kind": kind}
            launch(WORKERS[kind], config, _resources(wanted))
        except Exception as error:  # noqa: BLE001  a lost group must not hide the others: it is recorded, the report names it
            lost = error
            store.put_json(group_key, failure(f"{kind}-{group}", error))
        _mark_unsettled(store, folder, kind, wanted, lost)
    finished = store.done(kind)
    return {"done": len(set(wanted) & finished), "failed": len(set(wanted) - finished), "new": len(undone & finished)}


def settled(store: Store, folder: str, group: str, kind: str) -> bool:
    """Whether every step of a kind in a group is done, or has its failure recorded."""
    spec, _ = spec_of(store, folder, group)
    finished = store.done(kind)
    failed = set(store.list(f"{folder}/failures/"))
    return all(fp in finished or failure_key(folder, kind, fp) in failed for fp in spec[kind])


def _resources(steps: Mapping[str, Step]) -> Mapping[str, Any]:
    return next(iter(steps.values())).settings


def _mark_unsettled(
    store: Store, folder: str, kind: str, wanted: Mapping[str, Step], lost: BaseException | None
) -> None:
    finished = store.done(kind)
    for fingerprint in set(wanted) - finished:
        key = failure_key(folder, kind, fingerprint)
        if store.get_json(key) is None:
            error = lost or RuntimeError("the group ended without finishing this step")
            store.put_json(key, failure(wanted[fingerprint].settings.get("label", kind), error, lost_group=True))


def failure_key(folder: str, kind: str, fingerprint: str) -> str:
    """Where the failure of a step is recorded in a run's folder."""
    return f"{folder}/failures/{kind}-{fingerprint[:20]}.json"


def report(run_uri: str, out: Path) -> dict[str, Any]:
    """Writes the report over all cells to `out` and to the run's folder, missing ones named, and `status.json`."""
    from xstilts.analysis.collect import report_input
    from xstilts.analysis.report import write_report

    store, folder = open_run(run_uri)
    with _recorded(store, folder, "report"):
        given = report_input(store, folder)
        out.mkdir(parents=True, exist_ok=True)
        summary = write_report(out, given)
        files = {
            f"report/{path.relative_to(out).as_posix()}": path for path in sorted(out.rglob("*")) if path.is_file()
        }
        for name, path in files.items():
            store.put_file(f"{folder}/{name}", path)
        missing = summary["missing"]
        status = {"exit_code": 4 if missing else 0, "missing": missing}
        store.put_json(f"{folder}/status.json", status)
        finished.leave(store, folder, "report", {**files, "status.json": status})
    return summary
