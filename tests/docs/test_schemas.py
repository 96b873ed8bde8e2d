"""The JSON schemas in docs/schemas accept every shipped file and refuse mistakes."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines.json_schemas import SCHEMAS, text_of
from tests.docs.pages import ROOT

PLANS = ROOT / "pipelines" / "plans"
FILES = [
    *(("plan.json", path) for path in sorted(PLANS.glob("*.yaml"))),
    ("plan.json", ROOT / "pipelines" / "plan_template.yaml"),
    *(("schedule.json", path) for path in sorted((PLANS / "schedules").glob("*.yaml"))),
    ("settings.json", ROOT / "k8s" / "kind" / "settings.yaml"),
]


class Yaml12(yaml.SafeLoader):
    """Reads 2e-3 as a number, as YAML 1.2 and editors do; PyYAML needs 2.0e-3."""


Yaml12.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def validator(name: str) -> Any:
    schema = json.loads((ROOT / "docs" / "schemas" / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_published_schema_is_current(name: str) -> None:
    """Renew with: python -m pipelines.json_schemas docs/schemas"""
    assert (ROOT / "docs" / "schemas" / name).read_text() == text_of(name)


@pytest.mark.parametrize(("name", "file"), FILES, ids=[path.name for _, path in FILES])
def test_every_shipped_file_is_valid_and_names_its_schema(name: str, file: Path) -> None:
    text = file.read_text()
    for document in yaml.load_all(text, Loader=Yaml12):
        errors = [error.message for error in validator(name).iter_errors(document)]
        assert errors == []
    if file.name == "plan_template.yaml":  # copied to other folders
        return
    (line,) = [line for line in text.splitlines() if line.startswith("# yaml-language-server")]
    schema = file.parent / line.partition("$schema=")[2]
    assert schema.resolve() == ROOT / "docs" / "schemas" / name


PLAN = """
name: x
backbones: {b: {build: {family: llava}, tuning: lora}}
arms: {a: {task: squad, labels: true}, none: }
evaluations: [xquad]
"""


@pytest.mark.parametrize(
    "more",
    [
        "seeds: 3",
        "seeds: {intermediate: [0], target: [0, 1]}",
        "seeds: [[0, 0], [0, 1]]",
        "languages: all",
        "languages: [en, de]",
        "rows: {train: 10, xquad: {test: 5}}",
        "splits: {snli: {train: validation, test: {split: test, task: mnli}}}",
        "override: {squad: {selection: last, lr: 1.0e-3}}",
        "resources: {tokens_per_micro_batch: auto, activation_checkpointing: on}",
        "limit: 8",
    ],
)
def test_the_short_forms_of_a_plan_are_valid(more: str) -> None:
    validator("plan.json").validate(yaml.safe_load(f"{PLAN}{more}"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plan.json", f"{PLAN}sed: 3"),
        ("plan.json", f"{PLAN}seeds: 0"),
        ("plan.json", f"{PLAN}seeds: [[0]]"),
        ("plan.json", f"{PLAN}recipes: vllm"),
        ("plan.json", f"{PLAN}rows: {{train: none}}"),
        ("plan.json", f"{PLAN}override: {{squad: {{lr: 0}}}}"),
        ("plan.json", f"{PLAN}resources: {{workers: 0}}"),
        ("plan.json", f"{PLAN}confidence: 1.5"),
        ("plan.json", PLAN.replace("llava", "lava")),
        ("plan.json", PLAN.replace("lora", "qlora")),
        ("plan.json", PLAN.replace("labels: true", "labels: random")),
        ("plan.json", PLAN.replace("name: x", "")),
        ("plan.json", "[]"),
        ("schedule.json", "{name: x, plan: p.yaml, cron: '0 0 3 * * 1'}"),
        ("schedule.json", "{name: x, plan: p, cron: c, timezone: UTC, add_seed: 1}"),
        ("schedule.json", "{name: x, plan: p, cron: c, timezone: UTC, concurrency: 0}"),
        ("settings.json", "{group: 3}"),
        ("settings.json", "{groups: 0}"),
        ("settings.json", "{pull_policy: Sometimes}"),
    ],
)
def test_a_mistake_is_refused(name: str, text: str) -> None:
    assert list(validator(name).iter_errors(yaml.safe_load(text)))
