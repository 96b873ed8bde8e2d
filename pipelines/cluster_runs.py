"""Runs on a cluster: what is checked and written before KFP is asked for anything, and how a run
is doing.
"""

import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.kfp.api import Kfp
from pipelines.kfp.errors import KfpError
from xstilts.environment import numeric_environment
from xstilts.errors import InfrastructureError, PlanError
from xstilts.plan.expand import expand
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.schema import Plan
from xstilts.sources.mirrors import open_mirror
from xstilts.store.store import Store

#: Seconds to wait before each look for a run that KFP may have accepted: a gateway gives up while
#: KFP is still at work.
LOOKS = (0.0, 5.0, 15.0)


@dataclass(frozen=True)
class Checked:
    """A plan without mistakes, as text and expanded, and the mirror that the cluster reads."""

    text: str
    plan: Plan
    expansion: Expansion
    mirror: str


def checked(path: Path, mirror: str | None) -> Checked:
    """Reads and expands a plan. Every mistake of it is an error here, before anything is written
    or submitted.
    """
    if not path.is_file():
        raise PlanError(f"{path}: no such plan file")
    plan = load_plan(path)
    address = mirror or plan.mirror
    if address != "hub" and not address.startswith("s3://"):
        raise PlanError(
            f"the mirror {address!r} is on this machine, where a cluster cannot read it: copy it to the store and give "
            "--mirror s3://bucket/prefix, or --mirror hub"
        )
    local = [name for name, backbone in plan.backbones.items() if backbone.path is not None]
    if local:
        raise PlanError(
            f"backbones.{local[0]}.path: a folder of this machine, which a cluster cannot read; give hub and revision"
        )
    expansion = expand(plan, open_mirror(address), numeric_environment(), generation="checked")
    return Checked(path.read_text(encoding="utf-8"), plan, expansion, address)


def open_store(uri: str) -> Store:
    """The store of a cluster, as this machine reaches it: AWS_ENDPOINT_URL and credentials from
    the environment.
    """
    cache = os.environ.get("XSTILTS_CACHE")
    return Store.open(uri, cache=Path(cache) if cache else None)


def new_name(plan: str) -> str:
    """A run's name: the plan's, the time (UTC), and four letters that keep two of one second
    apart.
    """
    return f"{plan}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def totals(store: Store, run: str) -> dict[str, set[str]]:
    """kind → fingerprints of a run's steps; empty until its plan step has run."""
    document = store.get_json(f"runs/{run}/expanded.json")
    return (
        {}
        if document is None
        else {kind: set(f) for kind, f in Expansion.from_json(document).by_kind().items()}
    )


def status(store: Store, run: str, kfp: Kfp | None = None) -> dict[str, Any]:
    """How a run is doing, by its folder and, where a server is given, by KFP. PlanError when
    there is no such run.
    """
    found = store.get_json(f"runs/{run}/run.json")
    if found is None:
        raise PlanError(f"{store.uri}/runs/{run}: no such run; {_others(store)}")
    failures = [store.get_json(key) for key in store.list(f"runs/{run}/failures/")]
    ended = store.get_json(f"runs/{run}/status.json")
    view: dict[str, Any] = {
        "run": run,
        "mirror": found["mirror"],
        "created": found["created"],
        "schedule": found.get("schedule"),
        "steps": {
            kind: {"done": len(wanted & store.done(kind)), "of": len(wanted)}
            for kind, wanted in totals(store, run).items()
        },
        "failures": [failure for failure in failures if failure],
        "cancelled": store.get_json(f"runs/{run}/cancelled.json") is not None,
        "exit_code": None if ended is None else int(ended["exit_code"]),
        "missing": [] if ended is None else ended["missing"],
        "kfp": None,
    }
    if kfp is not None:
        run_id = kfp_id(store, run)
        there = kfp.run(run_id)
        error = there.error.message if there.error is not None else None
        view["kfp"] = {
            "run_id": run_id,
            "state": str(there.state or "PENDING"),
            "error": error,
            "url": kfp.url(run_id),
        }
    return view


def kfp_id(store: Store, run: str) -> str:
    """KFP's id of a run: what `submit` noted, or the firing of a schedule that made it."""
    noted = store.get_json(f"runs/{run}/kfp.json")
    if noted is not None:
        return str(noted["run_id"])
    found = store.get_json(f"runs/{run}/run.json")
    if found is None:
        raise PlanError(f"{store.uri}/runs/{run}: no such run; {_others(store)}")
    if "fired_by" not in found:
        raise PlanError(
            f"{store.uri}/runs/{run} was not started by KFP; it was run with `xstilts run`"
        )
    return str(found["fired_by"])


def _others(store: Store) -> str:
    names = sorted({key.split("/")[1] for key in store.list("runs/")})
    return f"the newest there are {', '.join(names[-5:])}" if names else "the store has no runs"


def start(
    kfp: Kfp, store: Store, given: Checked, version: tuple[str, str], experiment: str, account: str
) -> str:
    """Writes the run's folder and starts it; returns its name. When KFP refuses, the folder goes
    again; when it is not known whether it did, KFP is asked, and where it cannot tell either the
    folder stays.
    """
    from xstilts.runs.folder import create

    name = new_name(given.plan.name)
    create(store, name, given.text, given.mirror)
    try:
        run_id = kfp.submit(name, f"{store.uri}/runs/{name}", experiment, version, account)
    except KfpError as error:
        found = _accepted(kfp, name, error) if error.unsure else None
        if found is None:
            store.delete(f"runs/{name}/")
            raise
        run_id = found
    store.put_json(
        f"runs/{name}/kfp.json", {"host": kfp.host, "run_id": run_id, "experiment_id": experiment}
    )
    return name


def _accepted(kfp: Kfp, name: str, error: KfpError) -> str | None:
    """KFP's id of a run that it may have accepted before it failed; None where it has none of
    that name in the end.
    """
    try:
        for pause in LOOKS:
            time.sleep(pause)
            if found := kfp.find_run(name):
                return found
        return None
    except KfpError as second:
        raise InfrastructureError(
            f"{error}; whether it started {name} could not be found out ({second}). Its folder stays in the store: look for "
            f"{name} on KFP's page, and delete runs/{name}/ where it is not there"
        ) from error


def outcome(store: Store, run: str, state: str) -> tuple[int, list[Mapping[str, Any]]]:
    """(exit code, failures) of a run that KFP has ended with `state`, by what its folder holds."""
    view = status(store, run)
    failures = view["failures"]
    if view["exit_code"] is not None:
        return view["exit_code"], failures
    if view["cancelled"] or state == "CANCELED":
        raise InfrastructureError(
            f"{run} was cancelled; what it finished is kept and will not be done again"
        )
    if failures:
        return max(int(failure["exit_code"]) for failure in failures), failures
    raise InfrastructureError(
        f"KFP ended {run} as {state}, and nothing of it tells why: see `xstilts logs {run}`"
    )


def cancel(kfp: Kfp, store: Store, run: str) -> None:
    """Ends a run: the mark in its folder makes its workers stop by themselves, then KFP ends its
    steps.
    """
    run_id = kfp_id(store, run)
    store.put_json(f"runs/{run}/cancelled.json", {"at": time.time()})
    kfp.terminate(run_id)


def fetch_report(store: Store, run: str, out: Path) -> Path:
    """Copies a run's report to <out>/report; PlanError when it has none."""
    prefix = f"runs/{run}/report/"
    keys = store.list(prefix)
    if not keys:
        raise PlanError(
            f"{store.uri}/{prefix} is empty: the run has no report yet; `xstilts status {run}` tells why"
        )
    for key in keys:
        store.get_file(key, out / "report" / key.removeprefix(prefix))
    return out / "report"
