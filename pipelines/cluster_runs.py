"""Runs on a cluster: checks and writes before KFP is called, start, cancellation, report."""

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.cluster_settings import ClusterSettings, load_settings
from pipelines.kfp.error_texts import KfpError
from pipelines.kfp.kfp_client import Kfp
from pipelines.kfp.package import compiled, refuse_unlocked
from pipelines.plan_file import expand_plan, open_plan
from xstilts.errors import InfrastructureError, PlanError
from xstilts.plan.expansion import Expansion
from xstilts.plan.placement import Cluster
from xstilts.plan.schema import Plan
from xstilts.step import STEP_KINDS
from xstilts.store.store import Store

#: Seconds to wait before each search for a run that KFP may have accepted: a gateway can time out
#: while KFP is still working.
SEARCH_DELAYS = (0.0, 5.0, 15.0)


@dataclass(frozen=True)
class CheckedPlan:
    """A valid plan, as text and expanded, and the mirror that the cluster reads."""

    text: str
    plan: Plan
    expansion: Expansion
    mirror: str


def check_plan(
    path: Path,
    mirror: str | None,
    tasks: Sequence[Path] = (),
    overrides: Sequence[str] = (),
    limit: int | None = None,
) -> CheckedPlan:
    """Reads and expands a plan. Raises PlanError with every mistake, before anything is written or
    submitted. The arguments besides `mirror` are those of `open_plan`.
    """
    loaded = open_plan(path, tasks, overrides, limit)
    plan = loaded.plan
    address = mirror or plan.mirror
    if address is None:
        raise PlanError("no mirror: set --mirror hub|s3://…, or `mirror:` in the plan")
    if address != "hub" and not address.startswith("s3://"):
        raise PlanError(
            f"mirror {address!r} is on this machine, where a cluster cannot read it: copy it to "
            "S3 and set --mirror s3://bucket/prefix, or use --mirror hub"
        )
    for name, backbone in plan.backbones.items():
        if backbone.path is not None:
            raise PlanError(
                f"{path}: backbones.{name}.path: a folder of this machine, which a cluster cannot "
                "read; set hub and revision instead"
            )
    expansion = expand_plan(plan, address, generation="checked")
    return CheckedPlan(loaded.text, plan, expansion, address)


def settings_for(file: Path | None, plan: Plan, mirror: str) -> ClusterSettings:
    """The cluster's settings for a plan: steps that watch a Ray job get the time that the plan
    allows for its queue and its run. Unless the file has `groups`, as many groups run at once as
    the plan has for each backbone: their number was chosen for the GPUs.
    """
    settings = load_settings(file)
    groups = settings.groups or plan.resources.groups
    settings = settings.model_copy(update={"hub": mirror == "hub", "groups": groups})
    cluster = plan.resources.cluster or Cluster()
    return settings.with_hours(cluster.queue_hours + cluster.deadline_hours)


def package(settings: ClusterSettings, allow_unlocked: bool) -> tuple[str, str]:
    """(text, version) of the KFP package. Raises PlanError for an image without a digest, unless
    `allow_unlocked`.
    """
    text, version = compiled(settings)
    if not allow_unlocked:
        refuse_unlocked(text)
    return text, version


def open_store(uri: str) -> Store:
    """Opens the store of a cluster with AWS_ENDPOINT_URL and the credentials in the environment."""
    cache = os.environ.get("XSTILTS_CACHE")
    return Store.open(uri, cache=Path(cache) if cache else None)


def new_name(plan: str) -> str:
    """A run's name: the plan's name, the time (UTC) and four random characters."""
    return f"{plan}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def totals(store: Store, run: str) -> dict[str, set[str]]:
    """Step kind → fingerprints of a run's steps, in the order in which kinds run; empty until its
    plan step has run.
    """
    document = store.get_json(f"runs/{run}/expanded.json") or {"steps": {}}
    by_kind: dict[str, set[str]] = {}
    for fingerprint, step in document["steps"].items():
        by_kind.setdefault(step["kind"], set()).add(fingerprint)
    return {kind: by_kind[kind] for kind in STEP_KINDS if kind in by_kind}


def kfp_id(store: Store, run: str) -> str:
    """KFP's id of a run: recorded by `submit`, or by the firing of the schedule that created it."""
    recorded = store.get_json(f"runs/{run}/kfp.json")
    if recorded is not None:
        return str(recorded["run_id"])
    document = run_document(store, run)
    if "fired_by" not in document:
        raise PlanError(f"{store.uri}/runs/{run}: not a KFP run; it was run with `xstilts run`")
    return str(document["fired_by"])


def run_document(store: Store, run: str) -> Mapping[str, Any]:
    """`run.json` of a run. Raises PlanError for an unknown run."""
    document = store.get_json(f"runs/{run}/run.json")
    if document is None:
        names = sorted({key.split("/")[1] for key in store.list("runs/")})
        known = f"the newest runs are {', '.join(names[-5:])}" if names else "the store has no runs"
        raise PlanError(f"{store.uri}/runs/{run}: no such run; {known}")
    return dict(document)


def start(
    kfp: Kfp,
    store: Store,
    plan: CheckedPlan,
    version: tuple[str, str],
    experiment: str,
    account: str,
    images: Mapping[str, str],
) -> str:
    """Writes the run's folder, starts the run on KFP and returns its name.

    If KFP refuses, the folder is deleted. If KFP may have accepted, it is asked for the run; if
    that fails too, the folder is kept.

    Args:
        kfp: the server.
        store: the cluster's store.
        plan: the checked plan.
        version: ids of the pipeline and of the version.
        experiment: id of the experiment.
        account: service account of the steps.
        images: component → image, recorded in run.json.
    """
    from xstilts.runs.folder import create

    name = new_name(plan.plan.name)
    create(store, name, plan.text, plan.mirror, plan.plan.task_files, images=dict(images))
    try:
        run_id = kfp.submit(name, f"{store.uri}/runs/{name}", experiment, version, account)
    except KfpError as error:
        accepted = _find_accepted(kfp, name, error) if error.unsure else None
        if accepted is None:
            store.delete(f"runs/{name}/")
            raise
        run_id = accepted
    store.put_json(
        f"runs/{name}/kfp.json", {"host": kfp.host, "run_id": run_id, "experiment_id": experiment}
    )
    return name


def _find_accepted(kfp: Kfp, name: str, error: KfpError) -> str | None:
    """KFP's id of a run that it may have accepted before it failed, None if it did not."""
    try:
        for delay in SEARCH_DELAYS:
            time.sleep(delay)
            if run_id := kfp.find_run(name):
                return run_id
        return None
    except KfpError as second:
        raise InfrastructureError(
            f"{error}; KFP may have started {name}, and asking for it failed ({second}). The "
            f"run's folder is kept: look for {name} on KFP's page, and delete runs/{name}/ if "
            "KFP has no such run"
        ) from error


def cancel(kfp: Kfp, store: Store, run: str) -> None:
    """Cancels a run: a mark in its folder stops its workers, then KFP terminates its steps."""
    run_id = kfp_id(store, run)
    store.put_json(f"runs/{run}/cancelled.json", {"at": time.time()})
    kfp.terminate(run_id)


def fetch_report(store: Store, run: str, out: Path) -> Path:
    """Downloads a run's report to <out>/report, in place of the report there. Raises PlanError if
    there is none.
    """
    from xstilts.runs.stored_report import fetch

    if not fetch(store, run, out / "report"):
        raise PlanError(
            f"{store.uri}/runs/{run}/report/: the run has no report yet; see `xstilts status {run}`"
        )
    return out / "report"
