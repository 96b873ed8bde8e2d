"""Finished firings of a schedule in a store: scores without training."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xstilts.analysis.report import write_report
from xstilts.runs.collect import report_input
from xstilts.runs.recurring import Repeat, document_of, put
from xstilts.runs.score_output import SCHEMA
from xstilts.step import Step
from xstilts.store.store import Store

SCHEDULE, COUNT, SEEDS = "weekly", 200, 3
PLAN: dict[str, Any] = {"name": SCHEDULE, "backbones": {"b": {}}, "report": {"regression": {"points": 1.0}}}  # fmt: skip


def run_of(number: int) -> str:
    return f"{SCHEDULE}-2026010{number + 1}-000000-f{number}"


def apply(store: Store) -> None:
    put(store, SCHEDULE, "name: weekly", document_of("hub", Repeat(), {}))


def fire(store: Store, number: int, folder: Path, share: float | None) -> str:
    """A firing of the schedule whose arm `x` has about this share of answers right; None: one that
    failed in its plan step. Returns its run.
    """
    run = run_of(number)
    record = {"run": run, "number": number, "at": 1_767_225_600.0 + 86_400 * number}
    store.put_json(f"schedules/{SCHEDULE}/firings/f{number}.json", record)
    details = {"run": run, "mirror": "hub", "created": 1.0, "schedule": SCHEDULE, "firing": number}
    store.put_json(f"runs/{run}/run.json", details)
    store.put_bytes_at(f"runs/{run}/plan.yaml", f"name: weekly # {number}".encode())
    if share is None:
        store.put_json(f"runs/{run}/status.json", {"exit_code": 3, "missing": []})
        return run
    cells, steps = [], {}
    for arm, right in (("none", 0.4), ("x", share)):
        for seed in range(SEEDS):
            step = _score(store, f"{number}.{arm}.{seed}", right + 0.01 * seed, folder)
            steps[step.fingerprint] = step.to_json()
            seeds = {
                "seed": seed,
                "seed_intermediate": None if arm == "none" else seed,
                "seed_target": seed,
            }
            cells.append(
                {"id": f"b.{arm}.t{seed}", "backbone": "b", "arm": arm, **seeds, "trained_target": "mnli",
                 "chain": [], "scores": {"xnli": step.fingerprint}}
            )  # fmt: skip
    contrast = {"name": "x minus none", "arm": "x", "reference": "none", "implicit": True, "differences": []}  # fmt: skip
    lists = (
        "sources", "builds", "encodings", "groups", "not_applicable", "skipped_languages", "budgets",
        "overrides", "overlaps", "identities",
    )  # fmt: skip
    expanded = {
        "name": SCHEDULE, "plan": PLAN, "cells": cells, "steps": steps, "contrasts": [contrast],
        "headline": contrast["name"], "controls": {}, "environment": {},
        "order": {"arms": ["none", "x"], "backbones": ["b"], "evaluations": ["xnli"]},
        **{name: [] for name in lists},
    }  # fmt: skip
    store.put_json(f"runs/{run}/expanded.json", expanded)
    report = folder / run
    write_report(report, report_input(store, f"runs/{run}"))
    for name in ("summary.json", "report.html", "results.parquet", "effects.parquet"):
        store.put_bytes_at(f"runs/{run}/report/{name}", (report / name).read_bytes())
    store.put_json(f"runs/{run}/status.json", {"exit_code": 0, "missing": []})
    store.put_json(f"runs/{run}/report_inputs.json", {"inputs": f"of {number}", "files": {}})
    return run


def _score(store: Store, name: str, right: float, folder: Path) -> Step:
    """A finished score step; later examples are the hard ones."""
    rows = [
        {
            "checkpoint": "selected", "language": language, "row": k, "id": f"q{k}", "cluster": f"q{k}", "parallel": "",
            "prediction": json.dumps(int((7 * k) % COUNT < right * COUNT)), "gold": "1",
        }
        for language in ("en", "de")
        for k in range(COUNT)
    ]  # fmt: skip
    path = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    spec = {"evaluation": "xnli", "metrics": ["accuracy"], "format": "classification", "name": name}
    step = Step("score", spec, {}, {"label": name})
    store.commit(step, {"predictions.parquet": path}, {"seconds": 1.0})
    return step
