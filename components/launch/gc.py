"""Garbage collection of RayJobs, run by a CronJob: python -m components.launch.gc.

Removes a RayJob if its run was cancelled, or if no step holds its lease: the step was terminated,
or ended without removing the job. Jobs whose run is in another store are kept and listed.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.launch.kubernetes import Api, RayJobs, epoch
from components.launch.lease import SKEW_SECONDS, seconds, status, work_of
from components.launch.rayjob import GROUP, KIND, PART_OF, RUN_URI
from components.launch.state import STUCK_SECONDS
from xstilts.errors import CorruptError, InfrastructureError, PlanError, XstiltsError
from xstilts.runs.folder import split_run_uri
from xstilts.store.store import Store

SELECTOR = ",".join(f"{key}={value}" for key, value in PART_OF.items())


def verdict(job: dict[str, Any], store: Store, now: float) -> tuple[bool, str]:
    """(whether to remove a RayJob, the reason) at `now`, seconds since the epoch."""
    metadata = job["metadata"]
    if deleted := metadata.get("deletionTimestamp"):
        stuck = now - epoch(deleted) > STUCK_SECONDS
        return False, "STUCK in deletion: check the KubeRay operator" if stuck else "being deleted"
    annotations = metadata.get("annotations", {})
    try:
        base, folder = split_run_uri(annotations.get(RUN_URI, ""))
    except PlanError:
        return False, f"no annotation {RUN_URI}: not created by xstilts"
    if base != store.uri:
        return False, f"its run is in another store, {base}"
    work = work_of(metadata.get("labels", {}).get(KIND, ""), annotations.get(GROUP, ""))
    try:
        lease = status(store, folder, work, now)
    except CorruptError as error:  # of this job only: the others are still judged
        return False, f"its lease cannot be read: {error}; delete that object"
    if lease == "cancelled":
        return True, "its run was cancelled"
    if lease == "expired":
        return True, "its lease expired"
    if lease == "absent" and now - epoch(metadata["creationTimestamp"]) > seconds() + SKEW_SECONDS:
        return True, "it has no lease"
    return False, "its lease is held" if lease == "held" else "it was just created"


def collect(jobs: RayJobs, store: Store, now: float) -> Iterator[str]:
    """Removes abandoned RayJobs; yields a line for each RayJob of xstilts."""
    for job in jobs.labelled(SELECTOR):
        name = job["metadata"]["name"]
        remove, reason = verdict(job, store, now)
        if remove:  # by uid: a retry may have created another job of this name
            remove = jobs.delete(name, job["metadata"]["uid"])
        yield f"{'removed' if remove else 'kept'} {name}: {reason}"


def main() -> int:
    """Reads XSTILTS_STORE, XSTILTS_NAMESPACE (or XSTILTS_RAY_NAMESPACE) and XSTILTS_CACHE."""
    uri = os.environ.get("XSTILTS_STORE")
    namespace = os.environ.get("XSTILTS_RAY_NAMESPACE") or os.environ.get("XSTILTS_NAMESPACE")
    if not uri or not namespace:
        raise InfrastructureError(
            "set XSTILTS_STORE and XSTILTS_NAMESPACE for the garbage collector"
        )
    cache = os.environ.get("XSTILTS_CACHE")
    store = Store.open(uri, cache=Path(cache) if cache else None)
    lines = list(collect(RayJobs(Api.in_cluster(), namespace), store, time.time()))
    for line in lines:
        print(line, flush=True)
    print(
        f"{sum(line.startswith('removed') for line in lines)} of {len(lines)} RayJobs removed",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except XstiltsError as error:
        print(f"xstilts: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
