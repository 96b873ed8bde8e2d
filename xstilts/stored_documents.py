"""The JSON documents of stores, runs and reports: their shapes, and what to do if one is corrupt.

Further members are allowed, since later versions add some. Where some readers need less than
others, `KINDS` has what all need, and the others ask for more.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import NoneType

from xstilts.document_shape import NUMBER, TIME, Between, Maybe, Shape, optional

_TEXT, _COUNT = (str, NoneType), (int, NoneType)
#: A number that a report may lack.
_VALUE = (float, int, NoneType)

#: A step, as `Step.to_json` writes it.
STEP: Shape = {
    "kind": str,
    "version?": Between(1, 1000),
    "fingerprint": str,
    "spec": dict,
    "parents": {"*": str},
    "settings": {
        "label?": str,
        "splits?": {"*": _TEXT},
        "workers?": int,
        "gpus_per_worker?": NUMBER,
        "models?": str,
    },
}
_BATCHES: Shape = [{"id": str, "steps": [str]}]
_CELL: Shape = {
    "id": str,
    "backbone": str,
    "arm": str,
    "seed": _COUNT,
    "seed_intermediate": _COUNT,
    "seed_target": _COUNT,
    "trained_target": _TEXT,
    "chain": [str],
    "scores": {"*": str},
}
_INTERMEDIATE: Shape = {
    "backbone": str, "arm": str, "task": str, "score": _TEXT, "reason?": str, "metrics?": list,
    "split?": _TEXT,
}  # fmt: skip
#: An expanded plan, as `Expansion.to_json` writes it: `expanded.json` of a run.
EXPANSION: Shape = {
    "steps": {"*": STEP},
    "name": str,
    "plan": {
        "title?": _TEXT,
        "recipes?": _TEXT,
        "confidence?": NUMBER,
        "backbones": {"*": {"build?": Maybe(dict)}},
        "report?": Maybe({"regression?": Maybe({"points": NUMBER}), "gpu_hour_price?": _VALUE}),
        "tasks?": {"*": {"source": str}},
    },
    "environment": dict,
    "sources": _BATCHES,
    "builds": _BATCHES,
    "encodings": _BATCHES,
    "groups": [{"id": str, "backbone?": str, "finetune": [str], "score": [str]}],
    "cells": [_CELL],
    "not_applicable": [{"backbone": str, "arm": str, "reason": str}],
    "skipped_languages": [{"evaluation": str, "language": str, "reason": str}],
    "contrasts": [
        {"name": str, "arm": str, "reference": str, "implicit": bool, "differences": list}
    ],
    "headline": _TEXT,
    "controls": dict,
    "overlaps": [{"arm": str, "trained_target": _TEXT, "overlap": str}],
    "budgets": [{"backbone": str, "arm": str}],
    "overrides": [dict],
    "identities": [{"path": str}],
    "exposures?": [{"backbone": str, "arm": str, "exposure": str, "why": str}],
    "intermediates?": [_INTERMEDIATE],
    "memory?": [dict],
    "configs?": {"*": Maybe(dict)},
    "order": {"backbones?": [str], "arms?": [str], "evaluations": [str]},
}
#: What every reader of an expansion needs.
_SKETCH: Shape = {
    **optional({name: shape for name, shape in EXPANSION.items() if name != "steps"}),
    "steps": {"*": {"kind": str, **optional(STEP)}},
}
_EFFECT: Shape = {
    "contrast": str, "backbone": str, "evaluation": str, "seeds": str, "effect": _VALUE,
    "ci_low": _VALUE, "ci_high": _VALUE, "p_adjusted": _VALUE, "mde": _VALUE,
}  # fmt: skip
_MISSING: Shape = [{"what": str, "reason": str, "log?": str}]
#: `summary.json` of a report, as `xstilts run` and `xstilts report` print it.
SUMMARY: Shape = {
    "title": str,
    "banner": str,
    "headline": _TEXT,
    "confidence": NUMBER,
    "answer": str,
    "primary": [_EFFECT],
    "effects": [_EFFECT],
    "controls": [
        {
            "kind": str, "arm": str, "evaluation": str, "verdict": str, "effect": _VALUE,
            "backbone?": _TEXT, "ci_low?": _VALUE, "ci_high?": _VALUE,
        }
    ],
    "missing": _MISSING,
}  # fmt: skip
#: `forms` of a report's summary.json, which reports of earlier versions lack.
FORMS: Shape = {"forms?": [{"evaluation": str, "language": str, "form": str}]}
_AVERAGES: Shape = [{"backbone": str, "arm": str, "all": _VALUE, "over": [str]}]
#: `changes.json` beside the page of a schedule's history.
CHANGES: Shape = {
    "made_from": list,
    "points": _VALUE,
    "changes": [
        {
            "backbone": str, "arm": str, "evaluation": str, "metric": str, "reason": _TEXT,
            "score": _VALUE, "other": _VALUE, "change": _VALUE, "ci_low": _VALUE,
            "ci_high": _VALUE, "p_adjusted": _VALUE, "regression": bool,
        }
    ],
}  # fmt: skip
#: `run.json` in the output folder of a local run.
OUTPUT: Shape = {"run": str}
_INFO: Shape = {
    "seconds?": NUMBER,
    "tokens?": int,
    "rows?": int,
    "budget?": {"tokens?": int, "updates?": int},
    "selection?": {"update?": _COUNT, "looks?": [{"update": int, "value": NUMBER}]},
}
#: What a schedule pins.
_HELD: Shape = {
    "models?": {"*": str},
    "data?": [{"path": str, "config": _TEXT, "split": _TEXT, "identity": object}],
    "environment?": {"*": str},
}
_SHA256: Shape = {"*": str}
_STARTED = re.compile(r"\d{4}[01]\d[0-3]\dT[0-2]\d[0-5]\d[0-5]\dZ")


@dataclass(frozen=True)
class Kind:
    """A kind of document. remedy: what to do if one is corrupt."""

    shape: Shape
    remedy: str


_AGAIN = "delete it and run the plan again"
#: Pattern of a key → its kind. The first pattern that matches a key counts.
KINDS: Mapping[str, Kind] = {
    "steps/*/manifest.json": Kind(
        {"kind": str, "fingerprint": str, "files": dict, "step": dict, "info": _INFO},
        "delete it with `xstilts store verify --repair` and run the plan again",
    ),
    "runs/*/expanded.json": Kind(_SKETCH, _AGAIN),
    "runs/*/work.json": Kind({"groups": [str], "*": [str]}, _AGAIN),
    "runs/*/specs/*.json": Kind(
        {
            "spec": {"steps?": [str], "finetune?": [str], "score?": [str]}, "steps": {"*": STEP},
        },
        _AGAIN,
    ),
    "runs/*/run.json": Kind(
        {
            "run": str, "mirror": str, "created": TIME, "out?": str, "tasks?": _SHA256,
            "images?": Maybe({"*": str}), "schedule?": str, "firing?": int, "fired_by?": str,
            "held?": _HELD,
        },
        _AGAIN,
    ),
    "runs/*/report/summary.json": Kind(
        {**optional(SUMMARY), **FORMS, "averages?": _AVERAGES}, _AGAIN
    ),
    "runs/*/report_inputs.json": Kind({"inputs": str, "files": _SHA256}, _AGAIN),
    "runs/*/status.json": Kind({"exit_code": int, "missing": [{"what": str}]}, _AGAIN),
    "runs/*/failures/*.json": Kind(
        {"what": str, "error": str, "log": str, "exit_code": int}, _AGAIN
    ),
    "runs/*/leases/*.json": Kind(
        {"renewed": NUMBER, "seconds": NUMBER}, "cancel the run, or delete it if no job of it runs"
    ),
    "runs/*/waiting/*.json": Kind(
        {
            "kind": str, "group": str, "job": str, "namespace": str, "state?": str,
            "since?": NUMBER, "reasons": [str],
        },
        "delete it; the step that waits writes it again",
    ),
    "runs/*/logs/*.json": Kind(
        {
            "kind": str, "group": str, "started": _STARTED, "before": int, "text": str,
            "pod?": str, "attempt?": int,
        },
        "delete it; the other logs can be read then",
    ),
    "runs/*/kfp.json": Kind(
        {"host": str, "run_id": str}, "delete it, and find the run on the page of Kubeflow"
    ),
    "runs/*/tasks/*.json": Kind({"files": _SHA256}, _AGAIN),
    "schedules/*/schedule.json": Kind(
        {
            "mirror": str,
            "held": _HELD, "tasks?": _SHA256,
        },
        "delete it and apply the schedule again",
    ),
    "schedules/*/images.json": Kind(
        {"images": {"*": str}}, "delete it and apply the schedule again"
    ),
    "schedules/*/firings/*.json": Kind(
        {"run": str, "number": int, "at": TIME}, "restore it from a backup, or delete it"
    ),
    "index/manifests.json": Kind({"sha256": str, "manifests": dict}, "delete it"),
    "work/*/state.json": Kind(
        {"update": int, "time": NUMBER, "files": _SHA256},
        "delete its folder; the training resumes from an earlier checkpoint",
    ),
}  # fmt: skip
_OTHER = Kind(dict, "delete it")


def kind_of(key: str) -> Kind:
    """The kind of the document with this key in a store."""
    return next((kind for glob, kind in KINDS.items() if fnmatchcase(key, glob)), _OTHER)
