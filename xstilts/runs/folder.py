"""A run's folder in the store: what lies in it, and how it is opened.

It holds `plan.yaml`, `run.json`, `expanded.json`, one spec for each batch and group, and one file
for each failure.
"""

import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xstilts.errors import PlanError, XstiltsError
from xstilts.runs import recurring
from xstilts.runs.task_files import put as put_task_files
from xstilts.step import Step
from xstilts.store.store import Store


def split_run_uri(run_uri: str) -> tuple[str, str]:
    """`s3://bucket/prefix/runs/<run>` → (store's URI, key prefix of the run's folder)."""
    base, separator, run = run_uri.rstrip("/").rpartition("/runs/")
    if not separator or not run or "/" in run:
        raise PlanError(f"{run_uri!r} is no run: expected s3://bucket/prefix/runs/<run>")
    return base, f"runs/{run}"


def open_store(uri: str) -> Store:
    cache = os.environ.get("XSTILTS_CACHE")
    return Store.open(uri, cache=Path(cache) if cache else None)


def open_run(run_uri: str) -> tuple[Store, str]:
    """The store of a run and the key prefix of its folder; of `…/schedules/<name>` it is the run
    of this firing. The local cache is `XSTILTS_CACHE`, or a temporary folder.
    """
    base, separator, name = run_uri.rstrip("/").rpartition("/schedules/")
    if not separator:
        uri, folder = split_run_uri(run_uri)
        return open_store(uri), folder
    store = open_store(base)
    run = recurring.current(store, name)
    if run is None:
        raise PlanError(f"{run_uri}: the plan step has not made the run of this firing")
    return store, f"runs/{run}"


def create(
    store: Store,
    run: str,
    plan_text: str,
    mirror: str,
    task_files: Mapping[str, str] | None = None,
    **more: Any,
) -> None:
    """Starts a run's folder: the plan as written, its private task files, and where its data comes
    from. A cancelled run can be resumed.

    Args:
        store: the store.
        run: the run's name.
        plan_text: the YAML text.
        mirror: the mirror's address.
        task_files: path → text, as `Plan.task_files` has them.
        more: further entries of run.json.
    """
    store.delete(f"runs/{run}/cancelled.json")
    store.delete(f"runs/{run}/leases/")
    if task_files:
        more["tasks"] = put_task_files(store, f"runs/{run}", task_files)
    store.put_json(
        f"runs/{run}/run.json", {"run": run, "mirror": mirror, "created": time.time(), **more}
    )
    store.put_bytes_at(f"runs/{run}/plan.yaml", plan_text.encode())


@contextmanager
def recorded(store: Store, folder: str, what: str) -> Iterator[None]:
    """Leaves `failures/<what>.json` when the body raises, and removes an older one when it does
    not.
    """
    key = f"{folder}/failures/{what}.json"
    try:
        yield
    except Exception as error:
        store.put_json(key, failure(what, error))
        raise
    store.delete(key)


def failure(what: str, error: BaseException, **more: Any) -> dict[str, Any]:
    """The JSON record of a failure: what failed, the message for people, the exit code, the end
    of the traceback.
    """
    log = "".join(traceback.format_exception(error))[-4000:]
    code = error.exit_code if isinstance(error, XstiltsError) else 1
    return {
        "what": what,
        "type": type(error).__name__,
        "error": str(error),
        "exit_code": code,
        "log": log,
        **more,
    }


def work(run_uri: str, kind: str) -> list[str]:
    """Ids of the run's `sources`, `builds`, `encodings` or `groups`, as the plan step left them."""
    store, folder = open_run(run_uri)
    ids = store.get_json(f"{folder}/work.json")
    if ids is None:
        raise PlanError(f"{run_uri}: the plan step has not run")
    return list(ids[kind])


def put_spec(
    store: Store,
    folder: str,
    name: str,
    head: Mapping[str, Any],
    steps: Mapping[str, Any],
    wanted: Sequence[str],
) -> None:
    body = {"steps": {fingerprint: steps[fingerprint] for fingerprint in wanted}}
    store.put_json(f"{folder}/specs/{name}.json", {"spec": dict(head), **body})


def spec_of(store: Store, folder: str, name: str) -> tuple[dict[str, Any], dict[str, Step]]:
    """The spec of a batch or group and its steps by fingerprint, in the order in which they run."""
    document = store.get_json(f"{folder}/specs/{name}.json")
    if document is None:
        raise PlanError(
            f"{folder}: no spec called {name!r}; the plan step has not run, or ran with another plan"
        )
    spec = document["spec"]
    order = spec["steps"] if "steps" in spec else [*spec["finetune"], *spec["score"]]
    return spec, {
        fingerprint: Step.from_json(document["steps"][fingerprint]) for fingerprint in order
    }


def settled(store: Store, folder: str, group: str, kind: str) -> bool:
    """Whether every step of a kind in a group is done, or has its failure recorded."""
    spec, _ = spec_of(store, folder, group)
    finished = store.done(kind)
    failed = set(store.list(f"{folder}/failures/"))
    return all(fp in finished or failure_key(folder, kind, fp) in failed for fp in spec[kind])


def failure_key(folder: str, kind: str, fingerprint: str) -> str:
    """Where the failure of a step is recorded in a run's folder."""
    return f"{folder}/failures/{kind}-{fingerprint[:20]}.json"
