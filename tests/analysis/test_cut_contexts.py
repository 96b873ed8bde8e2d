"""Truncated contexts, counted per arm and language, and their shares behind an effect."""

from typing import Any

from xstilts.analysis.cut_contexts import cut_contexts, cut_shares

INFOS = {
    "anli": {"rows": 300, "truncated": 30}, "vqa": {"rows": 80, "truncated": 0}, "squad": {"rows": 50, "truncated": 5},
    "en": {"rows": 10, "truncated": 0}, "th": {"rows": 10, "truncated": 4}, "old": {"rows": 7},
}  # fmt: skip


def step(parents: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"parents": parents, "spec": spec}


STEPS = {
    **{name: step({}, task=name, language="en") for name in ("anli", "vqa", "squad", "old")},
    "inter-anli": step({"train:anli": "anli", "backbone": "b"}, stage="intermediate"),
    "inter-vqa": step({"train:vqa": "vqa", "train:old": "old"}, stage="intermediate"),
    "target": step({"train:squad": "squad", "select:squad": "en"}, stage="target"),
    "score": step({"test:en": "en", "test:th": "th", "gold:en": "x"}),
}
EXPANDED = {
    "steps": STEPS,
    "cells": [
        {"backbone": "xlm-r", "arm": arm, "chain": [*chain, "target"], "scores": {"xnli": "score"}}
        for arm, chain in (("text", ["inter-anli"]), ("image", ["inter-vqa"]), ("none", []))
    ],
}


def test_truncated_contexts_are_counted_per_arm_and_language() -> None:
    assert cut_contexts(INFOS.get, EXPANDED) == [
        {"backbone": "xlm-r", "arm": "text", "use": "intermediate", "task": "anli", "language": "en", "rows": 300, "cut": 30,
         "share": 0.1},
        {"backbone": "xlm-r", "arm": "all", "use": "target", "task": "squad", "language": "en", "rows": 50, "cut": 5,
         "share": 0.1},
        {"backbone": "xlm-r", "arm": "all", "use": "evaluation", "task": "xnli", "language": "th", "rows": 10, "cut": 4,
         "share": 0.4},
    ]  # fmt: skip


def test_an_effect_has_the_shares_of_its_two_arms_and_of_its_evaluation() -> None:
    cuts = cut_contexts(INFOS.get, EXPANDED)
    effect = {"backbone": "xlm-r", "arm": "image", "evaluation": "xnli"}
    assert cut_shares(effect, "text", cuts) == {
        "cut_arm": 0.0,
        "cut_reference": 0.1,
        "cut_rows": 0.4,
    }
    assert cut_shares({**effect, "backbone": "llava"}, "text", cuts) == {
        "cut_arm": 0.0,
        "cut_reference": 0.0,
        "cut_rows": 0.0,
    }
