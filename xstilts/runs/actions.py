"""What each component does, as functions of a run's folder in the store. Nothing here knows who
calls it.

A run's folder holds `plan.yaml`, `run.json`, `expanded.json`, one spec for each batch and group,
and one file for each failure. A step that is done returns before torch, transformers, datasets or
ray is imported.
"""

import importlib
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xstilts.errors import DataError, PlanError
from xstilts.runs import finished, recurring
from xstilts.runs.folder import (
    create,
    failure,
    failure_key,
    open_run,
    open_store,
    put_spec,
    recorded,
    spec_of,
)
from xstilts.step import Step, require_current
from xstilts.store.store import Store

#: How a launcher is called: dotted path of a worker function, its JSON configuration, and the
#: plan's resources.
Launch = Callable[[str, Mapping[str, Any], Mapping[str, Any]], None]

#: The worker function of each kind of step that a group settles.
WORKERS = {"finetune": "xstilts.runs.finetune:work", "score": "xstilts.runs.score:work"}

_STAGERS = {
    "records": "xstilts.runs.stage:records",
    "build": "xstilts.runs.stage:build",
    "encode": "xstilts.runs.stage:encode",
}


def _fired(run_uri: str) -> None:
    """Makes the run of this firing when the URI is a schedule's."""
    base, separator, name = run_uri.rstrip("/").rpartition("/schedules/")
    if separator:
        store = open_store(base)
        run, text, more = recurring.fire(store, name)
        create(store, run, text, more.pop("mirror"), **more)


def plan(run_uri: str) -> None:
    """Expands the plan and writes one spec for each batch and group. A schedule's URI makes a
    new run first.
    """
    from xstilts.environment import numeric_environment
    from xstilts.plan.expand import expand
    from xstilts.plan.load import load_plan
    from xstilts.sources.mirrors import open_mirror

    _fired(run_uri)
    store, folder = open_run(run_uri)
    with recorded(store, folder, "plan"):
        run = store.get_json(f"{folder}/run.json")
        text = store.get_bytes_at(f"{folder}/plan.yaml")
        if run is None or text is None:
            raise PlanError(
                f"{run_uri}: the run's folder has no plan.yaml and run.json; start it with `xstilts run`"
            )
        holds = run.get("held", {})
        mirror = open_mirror(run["mirror"]).at(holds.get("data", ()))
        expanded = expand(
            load_plan(text.decode()), mirror, numeric_environment(), generation=str(run["run"])
        )
        recurring.refuse_changes(holds, expanded)
        if "schedule" in run:
            recurring.hold_environment(
                store, str(run["schedule"]), run, text.decode(), expanded.environment
            )
        document = expanded.to_json()
        for batch in (*document["sources"], *document["builds"], *document["encodings"]):
            put_spec(store, folder, batch["id"], batch, document["steps"], batch["steps"])
        for group in document["groups"]:
            put_spec(
                store,
                folder,
                group["id"],
                group,
                document["steps"],
                [*group["finetune"], *group["score"]],
            )
        kinds = ("sources", "builds", "encodings", "groups")
        ids = {kind: [item["id"] for item in document[kind]] for kind in kinds}
        store.put_json(f"{folder}/expanded.json", document)
        store.put_json(f"{folder}/work.json", ids)
        finished.leave(store, folder, "plan", {"expanded.json": document, "work.json": ids})


def stage(run_uri: str, batch: str) -> int:
    """Does the records, build and encode steps of a batch, in order. Returns how many had to be
    done.
    """
    store, folder = open_run(run_uri)
    done = 0
    with recorded(store, folder, batch):
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
                store.commit(
                    step, files, {**info, "seconds": round(time.perf_counter() - started, 3)}
                )
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
        # A lease that is still there is an earlier try's, which was cut off: its job may run on,
        # and what it says failed has failed. Every other try starts afresh.
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
    return {
        "done": len(set(wanted) & finished),
        "failed": len(set(wanted) - finished),
        "new": len(undone & finished),
    }


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
            store.put_json(
                key,
                failure(wanted[fingerprint].settings.get("label", kind), error, lost_group=True),
            )


def report(run_uri: str, out: Path) -> dict[str, Any]:
    """Writes the report over all cells to `out` and to the run's folder, missing ones named, and
    `status.json`.
    """
    from xstilts.analysis.report import write_report
    from xstilts.runs.collect import report_input

    store, folder = open_run(run_uri)
    with recorded(store, folder, "report"):
        given = report_input(store, folder)
        out.mkdir(parents=True, exist_ok=True)
        summary = write_report(out, given)
        files = {
            f"report/{path.relative_to(out).as_posix()}": path
            for path in sorted(out.rglob("*"))
            if path.is_file()
        }
        for name, path in files.items():
            store.put_file(f"{folder}/{name}", path)
        missing = summary["missing"]
        status = {"exit_code": 4 if missing else 0, "missing": missing}
        store.put_json(f"{folder}/status.json", status)
        finished.leave(store, folder, "report", {**files, "status.json": status})
    return summary
