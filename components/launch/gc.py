"""Removes the RayJobs that nobody waits for any more: python -m components.launch.gc. What the
CronJob runs.

A RayJob of ours is removed when its run was cancelled, or when its lease is neither held nor can
still come: its step was terminated, or has ended without removing it. One whose run lies in another
store is left alone, and named.
"""

import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from components.launch.kubernetes import Api, RayJobs
from components.launch.lease import SKEW_SECONDS, seconds, status, work_of
from components.launch.rayjob import GROUP, KIND, PART_OF, RUN_URI
from components.launch.state import STUCK_SECONDS
from xstilts.errors import InfrastructureError, PlanError, XstiltsError
from xstilts.runs.folder import split_run_uri
from xstilts.store.store import Store

SELECTOR = ",".join(f"{key}={value}" for key, value in PART_OF.items())


def verdict(job: dict[str, Any], store: Store, now: float) -> tuple[bool, str]:
    """(whether to remove a RayJob, why or why not) at `now`, seconds since the epoch."""
    metadata = job["metadata"]
    if gone := metadata.get("deletionTimestamp"):
        late = now - _epoch(gone) > STUCK_SECONDS
        return False, "STUCK in deletion: look at the KubeRay operator" if late else "being deleted"
    notes = metadata.get("annotations", {})
    try:
        base, folder = split_run_uri(notes.get(RUN_URI, ""))
    except PlanError:
        return False, f"has no annotation {RUN_URI}: not made by this launcher"
    if base != store.uri:
        return False, f"its run is in another store, {base}"
    work = work_of(metadata.get("labels", {}).get(KIND, ""), notes.get(GROUP, ""))
    lease = status(store, folder, work, now)
    if lease == "cancelled":
        return True, "its run was cancelled"
    if lease == "expired":
        return True, "its lease has expired: nobody waits for it"
    if lease == "absent" and now - _epoch(metadata["creationTimestamp"]) > seconds() + SKEW_SECONDS:
        return True, "it has no lease: nobody waits for it"
    return False, "its lease is held" if lease == "held" else "it is young"


def collect(jobs: RayJobs, store: Store, now: float) -> Iterator[str]:
    """Removes what nobody waits for; yields a line for each RayJob of ours."""
    for job in jobs.labelled(SELECTOR):
        name = job["metadata"]["name"]
        remove, why = verdict(job, store, now)
        if remove:  # that very one: a retry may have made another of its name in between
            remove = jobs.delete(name, job["metadata"]["uid"])
        yield f"{'removed' if remove else 'kept'} {name}: {why}"


def _epoch(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def main() -> int:
    """Reads XSTILTS_STORE, XSTILTS_NAMESPACE (or XSTILTS_RAY_NAMESPACE) and XSTILTS_CACHE."""
    uri = os.environ.get("XSTILTS_STORE")
    namespace = os.environ.get("XSTILTS_RAY_NAMESPACE") or os.environ.get("XSTILTS_NAMESPACE")
    if not uri or not namespace:
        raise InfrastructureError("the collector needs XSTILTS_STORE and XSTILTS_NAMESPACE")
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
