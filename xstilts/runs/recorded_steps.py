"""Reads what a run's finished steps recorded, for the report's curves and costs."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow.parquet as pq

from xstilts.analysis.step_records import StepRecord, thinned
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store
from xstilts.store.threads import in_threads

#: The kinds of steps with a cost.
KINDS = ("records", "encode", "finetune", "score")


def step_records(
    store: Store, expanded: Mapping[str, Any], manifests: Mapping[str, Manifest]
) -> dict[str, StepRecord]:
    """Fingerprint → record of each finished step of a run, in the order of the plan.

    manifests: of the run's finished steps, by fingerprint.
    """
    users = _users(expanded)
    chosen = [
        (manifests[fingerprint], step, users.get(fingerprint, {}))
        for fingerprint, step in expanded["steps"].items()
        if step["kind"] in KINDS and fingerprint in manifests
    ]
    records = in_threads(lambda item: _record(store, *item), chosen)
    return {record.fingerprint: record for record in records}


def devices(kind: str, settings: Mapping[str, Any]) -> float:
    """GPUs that a step of a kind holds."""
    if kind not in ("finetune", "score"):
        return 0.0
    return float(settings.get("workers", 1) * settings.get("gpus_per_worker", 0.0))


def dev_scores(manifest: Manifest) -> list[tuple[int, float]]:
    """(update, score on English dev) of a training's evaluations."""
    looks = manifest.info.get("selection", {}).get("looks", ())
    return [(int(look["update"]), float(look["value"])) for look in looks]


def _users(expanded: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Fingerprint → backbone and arm of the cells that a step belongs to; no arm where several
    arms share it.
    """
    users: dict[str, dict[str, str]] = {}
    for fingerprint, cell in _steps_of_cells(expanded):
        user = users.setdefault(fingerprint, {"backbone": cell["backbone"], "arm": cell["arm"]})
        if user["arm"] != cell["arm"]:
            user["arm"] = ""
    return users


def _steps_of_cells(expanded: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for cell in expanded["cells"]:
        for fingerprint in cell["chain"]:
            yield fingerprint, cell
        for fingerprint in cell["scores"].values():
            yield fingerprint, cell
            for parent, encoded in expanded["steps"][fingerprint]["parents"].items():
                if parent.startswith("test:"):
                    yield encoded, cell


def _record(
    store: Store, manifest: Manifest, step: Mapping[str, Any], user: Mapping[str, str]
) -> StepRecord:
    info, spec, settings = manifest.info, step["spec"], step["settings"]
    budget = info.get("budget", {})
    curve: list[tuple[int, float]] = []
    if "history.parquet" in manifest.files:
        path = store.file(manifest, "history.parquet")
        history = pq.read_table(path, columns=["update", "loss"]).to_pydict()
        curve = thinned(history["update"], history["loss"])
    return StepRecord(
        kind=manifest.kind,
        fingerprint=manifest.fingerprint,
        label=settings.get("label", manifest.fingerprint[:12]),
        stage=spec.get("stage", ""),
        backbone=user.get("backbone", ""),
        name=spec.get("name") or spec.get("task") or spec.get("evaluation", ""),
        language=spec.get("language", ""),
        split=spec.get("split", ""),
        arm=user.get("arm", ""),
        seed=spec["seed"]["value"] if isinstance(spec.get("seed"), dict) else None,
        seconds=float(info.get("seconds", 0.0)),
        devices=devices(manifest.kind, settings),
        tokens=int(budget.get("tokens", info.get("tokens", 0))),
        rows=int(info.get("rows", 0)),
        updates=int(budget.get("updates", 0)),
        curve=curve,
        dev=dev_scores(manifest),
    )
