"""A small report with everything that the page shows, and with hostile texts in every name."""

import numpy as np

from xstilts.analysis.inputs import Cell, ReportInput, Scored
from xstilts.analysis.step_records import StepRecord

#: Breaks a page, Markdown, a terminal's markup or LaTeX if it is not escaped.
HOSTILE = "<img src=x onerror=alert(1)> [/INST] |`*_${\\x}</script>"
ARM = f"x {HOSTILE}"
LANGUAGES = ("en", "de", "sw", "zh", "yo")
EVALUATIONS = ("xnli", "udpos")
BACKBONES = ("xlm-r", "llava")
SEEDS = range(3)


def sample_report(seeds: range = SEEDS, effect: float = 0.3) -> ReportInput:
    """Two backbones, two arms and `none`, two evaluations, five languages.

    effect: the added share of correct answers of the arm ARM.
    """
    random = np.random.default_rng(0)
    cells, plan_cells, steps = [], [], {}
    for backbone in BACKBONES:
        for arm in ("none", ARM, "y"):
            for seed in seeds:
                right = 0.4 + effect * (arm == ARM)
                scored = {
                    (evaluation, language): _scored(random, evaluation, language, right)
                    for evaluation in EVALUATIONS
                    for language in LANGUAGES
                }
                first = None if arm == "none" else seed
                cells.append(Cell(backbone, arm, seed, first, seed, "mnli", scored))
                chain = f"{backbone}-{arm == ARM}-{arm}-{seed}"
                scores = {name: f"{chain}-{name}" for name in EVALUATIONS}
                entry = {"backbone": backbone, "arm": arm, "chain": [chain], "scores": scores}
                plan_cells.append(entry)
                steps[chain] = StepRecord(
                    "finetune", chain, f"{backbone}: {arm}, seed {seed}", "target", backbone,
                    "mnli", arm=arm, seed=seed, seconds=90.0, devices=2, tokens=5000, updates=40,
                    curve=[(k, 1 / (1 + k)) for k in range(40)], dev=[(20, 60.0), (39, 62.0)],
                )  # fmt: skip
                steps |= {
                    fingerprint: StepRecord("score", fingerprint, name, seconds=3.0)
                    for name, fingerprint in scores.items()
                }
        for code, tokens in zip(LANGUAGES, (100, 130, 190, 140, 240), strict=True):
            key = f"{backbone}-{code}"
            steps[key] = StepRecord(
                "encode", key, key, backbone=backbone, name="xnli", language=code, tokens=tokens, rows=10,
            )  # fmt: skip
    contrasts = [
        {"name": f"named {HOSTILE}", "arm": ARM, "reference": "y", "implicit": False, "differences": []},
        {"name": f"{ARM} minus none", "arm": ARM, "reference": "none", "implicit": True, "differences": []},
        {"name": "y minus none", "arm": "y", "reference": "none", "implicit": True, "differences": []},
    ]  # fmt: skip
    expanded = {
        "name": "sample", "plan": {"title": f"Study of {HOSTILE}", "report": {"gpu_hour_price": 2.5}},
        "contrasts": contrasts, "headline": contrasts[0]["name"],
        "controls": {"positive": {"arm": "y", "evaluation": "xnli"}}, "not_applicable": [],
        "skipped_languages": [{"evaluation": "xnli", "language": "th", "reason": HOSTILE}], "overrides": [],
        "overlaps": [{"arm": "y", "trained_target": "mnli", "overlap": "none"}],
        "identities": [{"path": HOSTILE, "config": "c", "split": "test", "identity": {"sha256": "0" * 8}}],
        "environment": {"torch": "2"}, "cells": plan_cells,
        "steps": {key: {"kind": record.kind, "parents": {}} for key, record in steps.items()},
        "order": {"arms": ["none", ARM, "y"], "backbones": list(BACKBONES), "evaluations": list(EVALUATIONS)},
    }  # fmt: skip
    missing = [{"what": "a cell", "reason": HOSTILE, "log": f"Traceback {HOSTILE}"}]
    metrics = {"xnli": ("accuracy",), "udpos": ("udpos_f1", "token_accuracy")}
    provenance = {
        "store": HOSTILE, "command": HOSTILE, "plan": HOSTILE,
        "images": [{"image": f"registry/plan@sha256:{HOSTILE}", "components": ["plan", HOSTILE]}],
    }  # fmt: skip
    intermediates = [
        {"backbone": "llava", "arm": ARM, "seed": seed, "task": HOSTILE, "objective": "head", "split": "dev",
         "metric": "accuracy", "value": 60.0 - (10 + 2 * seed) * bool(after), "n": 40, **after}
        for seed in seeds
        for after in ({}, {"target": HOSTILE, "seed_target": 0})
    ]  # fmt: skip
    return ReportInput(
        expanded, cells, metrics, missing, [], [], HOSTILE, "runs/r", intermediates,
        provenance=provenance, steps=steps,
    )  # fmt: skip


def _scored(
    random: np.random.Generator, evaluation: str, language: str, right: float, count: int = 40
) -> Scored:
    ids = [f"{language}-{number} {HOSTILE}" for number in range(count)]
    clusters = [f"{language}/{number}" for number in range(count)]
    hits = random.random(count) < right
    if evaluation == "udpos":
        golds = [["NOUN", "VERB"]] * count
        predictions = [["NOUN", "VERB" if hit else HOSTILE] for hit in hits]
    else:
        golds, predictions = [HOSTILE] * count, [HOSTILE if hit else "no" for hit in hits]
    return Scored(ids, clusters, predictions, golds, "test", language=language)
