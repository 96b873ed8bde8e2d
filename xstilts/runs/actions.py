"""What each component does, as functions of a run's folder in the store, independent of the caller.

Finished steps return before torch, transformers, datasets or ray is imported.
"""

import importlib
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xstilts.document_shape import read_shaped
from xstilts.errors import DataError, InfrastructureError, PlanError
from xstilts.runs import finished, recurring, report_reuse, stored_report, task_files
from xstilts.runs.folder import (
    create,
    failure,
    failure_key,
    open_run,
    open_store,
    put_spec,
    record_failure,
    recorded,
    spec_of,
)
from xstilts.sources.object_names import naming_objects
from xstilts.step import Step, require_current
from xstilts.store.store import Store
from xstilts.store.threads import in_threads
from xstilts.stored_documents import SUMMARY

log = logging.getLogger(__name__)

#: A launcher. Arguments: dotted path of a worker function, its JSON configuration, and the plan's
#: resources.
Launch = Callable[[str, Mapping[str, Any], Mapping[str, Any]], None]

#: The worker function of each kind of step that groups run.
WORKERS = {"finetune": "xstilts.runs.finetune:work", "score": "xstilts.runs.score:work"}

_STAGERS = {
    "records": "xstilts.runs.stage:records",
    "build": "xstilts.runs.stage:build",
    "encode": "xstilts.runs.stage:encode",
}


def _create_firing(run_uri: str) -> None:
    """Creates the run of this firing if the URI is a schedule's."""
    base, separator, name = run_uri.rstrip("/").rpartition("/schedules/")
    if separator:
        store = open_store(base)
        run, text, details = recurring.fire(store, name)
        files = recurring.task_files(store, name)
        create(store, run, text, details.pop("mirror"), files, **details)


def plan(run_uri: str) -> None:
    """Expands the plan and writes one spec per batch and group. For a schedule's URI, creates a run
    first.
    """
    from xstilts.environment import numeric_environment
    from xstilts.plan.expand import expand
    from xstilts.plan.load import load_plan
    from xstilts.sources.mirrors import open_mirror

    _create_firing(run_uri)
    store, folder = open_run(run_uri)
    with recorded(store, folder, "plan"):
        run = store.get_json(f"{folder}/run.json")
        text = store.get_bytes_at(f"{folder}/plan.yaml")
        if run is None or text is None:
            raise PlanError(
                f"{run_uri}: no plan.yaml and run.json in the run's folder; start the run with "
                "`xstilts run` or `xstilts submit`"
            )
        pinned = run.get("held", {})
        mirror = open_mirror(run["mirror"]).at(pinned.get("data", ()))
        files = task_files.get(store, folder, run.get("tasks", {}))
        with naming_objects(mirror.address):
            expanded = expand(
                load_plan(text.decode(), task_files=files),
                mirror,
                numeric_environment(),
                generation=str(run["run"]),
            )
        recurring.refuse_changes(pinned, expanded)
        if "schedule" in run:
            recurring.pin_environment(
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
        finished.record(store, folder, "plan", {"expanded.json": document, "work.json": ids})


def stage(run_uri: str, batch: str) -> int:
    """Runs the unfinished records, build and encode steps of a batch, in order. Returns their
    number.
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
            tasks = task_files.tasks_of(store, folder, [step])
            started = time.perf_counter()
            with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
                try:
                    mirror = run.get("mirror", "hub")
                    with naming_objects(mirror):
                        files, info = function(step, store, mirror, Path(scratch), tasks)
                except DataError as error:
                    raise DataError(f"{step.settings.get('label', step.kind)}: {error}") from error
                store.commit(
                    step, files, {**info, "seconds": round(time.perf_counter() - started, 3)}
                )
            done += 1
    return done


def finetune(run_uri: str, group: str, launch: Launch) -> dict[str, int]:
    """Runs the unfinished finetune steps of a group; failures are recorded, not raised."""
    return _settle(run_uri, group, "finetune", launch)


def score(run_uri: str, group: str, launch: Launch) -> dict[str, int]:
    """Runs the unfinished score steps of a group whose model exists."""
    return _settle(run_uri, group, "score", launch)


def _settle(run_uri: str, group: str, kind: str, launch: Launch) -> dict[str, int]:
    """Runs a group's steps of one kind, so that each is done or has its failure recorded."""
    store, folder = open_run(run_uri)
    spec, all_steps = spec_of(store, folder, group)
    steps = {fingerprint: all_steps[fingerprint] for fingerprint in spec[kind]}
    undone = set(steps) - store.finished(kind, steps)
    group_key = f"{folder}/failures/{kind}-{group}.json"
    for fingerprint in undone:
        require_current(steps[fingerprint])
    config = {"run_uri": f"{store.uri}/{folder}", "group": group, "kind": kind}
    # An existing lease belongs to an attempt that was interrupted. Its job may still run.
    interrupted = store.get_json(f"{folder}/leases/{kind}-{group}.json") is not None
    if undone:
        # The failures that the job of an interrupted attempt recorded stay. Any other attempt
        # starts clean.
        if not interrupted:
            for fingerprint in undone:
                store.delete(failure_key(folder, kind, fingerprint))
                store.delete(f"{folder}/attempts/{fingerprint}/")
        store.delete(group_key)
        group_error: Exception | None = None
        try:
            launch(WORKERS[kind], config, _resources(steps))
        except Exception as error:
            if store.get_json(f"{folder}/cancelled.json") is not None:
                raise  # no failure of the group: nothing is left to go on or to report
            group_error = error
            store.put_json(group_key, failure(f"{kind}-{group}", error))
        _record_unfinished(store, folder, kind, steps, group_error)
    elif interrupted:
        try:  # removes the job, once it has ended, and the lease
            launch(WORKERS[kind], config, _resources(steps))
        except InfrastructureError as error:
            log.warning(
                "%s %s: cannot remove the job of an earlier attempt, the clean-up will: %s",
                kind,
                group,
                error,
            )
    done = store.finished(kind, steps)
    return {
        "done": len(set(steps) & done),
        "failed": len(set(steps) - done),
        "new": len(undone & done),
    }


def _resources(steps: Mapping[str, Step]) -> Mapping[str, Any]:
    return next(iter(steps.values())).settings


def _record_unfinished(
    store: Store,
    folder: str,
    kind: str,
    steps: Mapping[str, Step],
    group_error: BaseException | None,
) -> None:
    """Records a failure for each step that is neither done nor failed.

    Args:
        store: the run's store.
        folder: key prefix of the run's folder.
        kind: `finetune` or `score`.
        steps: the group's steps of that kind.
        group_error: what the launcher raised.
    """
    for fingerprint in set(steps) - store.finished(kind, steps):
        key = failure_key(folder, kind, fingerprint)
        if store.get_json(key) is None:
            error = group_error or RuntimeError("the group ended without finishing this step")
            record_failure(store, folder, steps[fingerprint], error, lost_group=True)


def _lost(store: Store, folder: str, missing: Sequence[Any]) -> list[dict[str, Any]]:
    """Steps of groups that are neither done nor failed, for a report without missing cells: their
    task did not run, or was lost.
    """
    if missing:
        return []  # the lost steps are the reason, and listed as `not run`
    lines = [line for kind in WORKERS for line in finished.lacking(store, folder, kind)]
    return [{"what": line, "reason": "its task did not run", "log": ""} for line in lines]


def report(run_uri: str, out: Path) -> dict[str, Any]:
    """Writes the report and `status.json` to `out` and to the run's folder; returns the summary.
    An earlier report of the run is used again if nothing that it was made from has changed.

    out: must be empty: all its files become part of the report.
    """
    store, folder = open_run(run_uri)
    store.delete(f"{folder}/status.json")  # of an earlier report: this one may fail
    with recorded(store, folder, "report"):
        inputs = report_reuse.inputs(store, folder)
        files = report_reuse.fetch(store, folder, inputs, out) if inputs else None
        if files is None:
            files = _new_report(store, folder, out, inputs)
        summary: dict[str, Any] = read_shaped(
            files["report/summary.json"], {"missing": SUMMARY["missing"]}, "run the plan again"
        )
        missing = [*summary["missing"], *_lost(store, folder, summary["missing"])]
        status = {"exit_code": 4 if missing else 0, "missing": missing}
        store.put_json(f"{folder}/status.json", status)
        finished.record(store, folder, "report", {**files, "status.json": status})
    return summary


def _new_report(store: Store, folder: str, out: Path, inputs: str | None) -> dict[str, Path]:
    """Computes and uploads a report in place of the one before. Returns name in the run's folder
    → path.
    """
    from xstilts.analysis.report import write_report
    from xstilts.runs.collect import report_input

    stored_report.delete(store, folder)  # it was made from other inputs
    write_report(out, report_input(store, folder))
    files = {
        f"report/{path.relative_to(out).as_posix()}": path
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
    in_threads(lambda item: store.put_file(f"{folder}/{item[0]}", item[1]), files.items())
    if inputs:
        report_reuse.keep(store, folder, inputs, files)
    return files
