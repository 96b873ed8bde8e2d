"""A run's folder in the store.

It has `plan.yaml`, `run.json`, `expanded.json`, `work.json`, one spec per batch and group, and one
file per failure.
"""

import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xstilts.document_shape import fault
from xstilts.errors import PlanError, XstiltsError
from xstilts.runs import recurring
from xstilts.runs.task_files import put as put_task_files
from xstilts.sources.object_names import corrected
from xstilts.step import Step
from xstilts.store.store import Store
from xstilts.stored_documents import EXPANSION


def split_run_uri(run_uri: str) -> tuple[str, str]:
    """`s3://bucket/prefix/runs/<run>` → (store's URI, key prefix of the run's folder)."""
    base, separator, run = run_uri.rstrip("/").rpartition("/runs/")
    if not separator or not run or "/" in run:
        raise PlanError(f"not a run URI: {run_uri!r}; expected s3://bucket/prefix/runs/<run>")
    return base, f"runs/{run}"


def open_store(uri: str) -> Store:
    cache = os.environ.get("XSTILTS_CACHE")
    return Store.open(uri, cache=Path(cache) if cache else None)


def open_run(run_uri: str) -> tuple[Store, str]:
    """The store of a run and the key prefix of its folder.

    For `…/schedules/<name>` it is the run of this firing. The local cache is `XSTILTS_CACHE`, or a
    temporary folder.
    """
    base, separator, name = run_uri.rstrip("/").rpartition("/schedules/")
    if not separator:
        uri, folder = split_run_uri(run_uri)
        return open_store(uri), folder
    store = open_store(base)
    run = recurring.current(store, name)
    if run is None:
        raise PlanError(f"{run_uri}: this firing has no run yet; its plan step creates it")
    return store, f"runs/{run}"


def expanded_of(store: Store, run: str) -> dict[str, Any]:
    """The expansion of a run's plan as JSON. PlanError before its plan step has finished."""
    expanded = stored_expansion(store, f"runs/{run}")
    if expanded is None:
        raise PlanError(f"{run}: its plan step has not finished, so nothing was trained")
    return expanded


def stored_expansion(store: Store, folder: str) -> dict[str, Any] | None:
    """The expansion of a run's plan as JSON, None before its plan step has finished. CorruptError
    if a reader of the whole could fail: a member is missing, a step has changed, or a name stands
    for nothing.

    folder: `runs/<run>`.
    """
    key = f"{folder}/expanded.json"
    expanded = store.get_json(key)
    if expanded is None:
        return None
    problem = fault(expanded, EXPANSION) or next(_unknown_names(expanded), None)
    if problem is not None:
        raise store.corrupt(key, problem)
    for fingerprint, step in expanded["steps"].items():
        if Step.from_json(step, f"{store.uri}/{key}").fingerprint != fingerprint:
            raise store.corrupt(key, f"`steps.{fingerprint[:12]}` is another step")
    return expanded


def _unknown_names(expanded: Mapping[str, Any]) -> Iterator[str]:
    """Names in cells and intermediate scores that stand for no step or evaluation."""
    steps, evaluations = expanded["steps"], expanded["order"]["evaluations"]
    for index, cell in enumerate(expanded["cells"]):
        used = [*cell["chain"], *cell["scores"].values()]
        yield from (f"`cells[{index}]` has no step {fp[:12]}" for fp in used if fp not in steps)
        for name in cell["scores"]:
            if name not in evaluations:
                yield f"`order.evaluations` lacks {name}, which `cells[{index}]` has"
    for index, entry in enumerate(expanded.get("intermediates", ())):
        place, score = f"`intermediates[{index}]", entry["score"]
        if score is not None and score not in steps:
            yield f"{place}` has no step {score[:12]}"
        for key in ("reason",) if score is None else ("metrics", "split"):
            if key not in entry:
                yield f"{place}.{key}` is missing"


def create(
    store: Store,
    run: str,
    plan_text: str,
    mirror: str,
    task_files: Mapping[str, str] | None = None,
    **details: Any,
) -> None:
    """Creates a run's folder with the plan, its private task files and `run.json`. A cancelled run
    can be resumed.

    Args:
        store: the store.
        run: the run's name.
        plan_text: the YAML text.
        mirror: the mirror's address.
        task_files: path → text, as `Plan.task_files` has them.
        details: further entries of run.json.
    """
    store.delete(f"runs/{run}/cancelled.json")
    store.delete(f"runs/{run}/leases/")
    if task_files:
        details["tasks"] = put_task_files(store, f"runs/{run}", task_files)
    store.put_json(
        f"runs/{run}/run.json", {"run": run, "mirror": mirror, "created": time.time(), **details}
    )
    store.put_bytes_at(f"runs/{run}/plan.yaml", plan_text.encode())


@contextmanager
def recorded(store: Store, folder: str, what: str) -> Iterator[None]:
    """Writes `failures/<what>.json` if the body raises, and removes an older one if it succeeds."""
    key = f"{folder}/failures/{what}.json"
    try:
        yield
    except Exception as error:
        store.put_json(key, failure(what, error))
        raise
    store.delete(key)


def failure(what: str, error: BaseException, **details: Any) -> dict[str, Any]:
    """The JSON record of a failure: what failed, the message, the exit code, the end of the
    traceback. An error without a message is named by its type.
    """
    log = "".join(traceback.format_exception(error))[-4000:]
    code = error.exit_code if isinstance(error, XstiltsError) else 1
    return {
        "what": what,
        "type": type(error).__name__,
        "error": str(error) or type(error).__name__,
        "exit_code": code,
        "log": log,
        **details,
    }


def planned_ids(run_uri: str) -> dict[str, list[str]]:
    """Ids of the run's `sources`, `builds`, `encodings` and `groups`, written by the plan step."""
    store, folder = open_run(run_uri)
    ids = store.get_json(f"{folder}/work.json")
    if ids is None:
        raise PlanError(f"{run_uri}: the plan step has not run; start the run first")
    return {kind: list(names) for kind, names in ids.items()}


def put_spec(
    store: Store,
    folder: str,
    name: str,
    spec: Mapping[str, Any],
    steps: Mapping[str, Any],
    fingerprints: Sequence[str],
) -> None:
    """Writes the spec of a batch or group with its steps.

    Args:
        store: the run's store.
        folder: key prefix of the run's folder.
        name: id of the batch or group.
        spec: the batch or group as JSON.
        steps: all steps of the run as JSON, by fingerprint.
        fingerprints: the steps of this batch or group.
    """
    body = {"steps": {fingerprint: steps[fingerprint] for fingerprint in fingerprints}}
    store.put_json(f"{folder}/specs/{name}.json", {"spec": dict(spec), **body})


def spec_of(store: Store, folder: str, name: str) -> tuple[dict[str, Any], dict[str, Step]]:
    """The spec of a batch or group, and its steps by fingerprint in the order in which they run."""
    key = f"{folder}/specs/{name}.json"
    document = store.get_json(key)
    if document is None:
        raise PlanError(
            f"{folder}: no spec for {name!r}; the plan step has not run or had another plan"
        )
    spec = document["spec"]
    lists = ("steps",) if "steps" in spec else ("finetune", "score")
    lacking = [f"spec.{each}" for each in lists if each not in spec]
    order = [fingerprint for each in lists for fingerprint in spec.get(each, ())]
    lacking += [f"steps.{fp}" for fp in order if fp not in document["steps"]]
    if lacking:
        raise store.corrupt(key, f"`{lacking[0]}` is missing")
    where = f"{store.uri}/{key}"
    return spec, {fp: Step.from_json(document["steps"][fp], where) for fp in order}


def settled(store: Store, folder: str, group: str, kind: str) -> bool:
    """Whether every step of a kind in a group is done or has its failure recorded."""
    spec, _ = spec_of(store, folder, group)
    done = store.finished(kind, spec[kind])
    failed = set(store.list(f"{folder}/failures/"))
    return all(fp in done or failure_key(folder, kind, fp) in failed for fp in spec[kind])


def failure_key(folder: str, kind: str, fingerprint: str) -> str:
    """The key of a step's failure in a run's folder."""
    return f"{folder}/failures/{kind}-{fingerprint[:20]}.json"


def record_failure(
    store: Store, folder: str, step: Step, error: BaseException, **details: Any
) -> None:
    """Records the failure of a step in a run's folder."""
    record = failure(step.settings.get("label", step.kind), error, **details)
    if "models" in step.settings:  # the mirror of the backbone
        record["error"] = corrected(record["error"], str(step.settings["models"]))
    store.put_json(failure_key(folder, step.kind, step.fingerprint), record)
