"""JSON schemas of plan, schedule and settings files, for editors:
python -m pipelines.json_schemas docs/schemas

They come from the pydantic models, widened by the short forms that plans may use
(xstilts/plan/normalize.py). `xstilts check` reports more: names, and keys that contradict.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.cluster_settings import ClusterSettings
from pipelines.recurring_runs import Schedule
from xstilts.models.families import FAMILIES, OLDER_NAMES
from xstilts.plan.resources import SMALLEST_PART
from xstilts.plan.schema import Plan
from xstilts.tasks.registry import TASKS

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
TEXTS: Schema = {"type": "array", "items": {"type": "string"}, "minItems": 1}
SEEDS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}


def plan_schema() -> Schema:
    """The schema of plan files."""
    schema = Plan.model_json_schema(by_alias=True)
    parts, keys = schema["$defs"], schema["properties"]
    schema["required"] = ["name", "backbones", "evaluations"]
    languages = {"anyOf": [{"const": "all"}, TEXTS]}
    task = {"anyOf": [{"enum": sorted(TASKS)}, {"type": "string"}]}  # private tasks have any name
    family = {"enum": sorted({*FAMILIES, *OLDER_NAMES})}
    arm = {"anyOf": [{"$ref": "#/$defs/Arm"}, {"type": "null"}]}
    evaluation = {"anyOf": [{"$ref": "#/$defs/EvaluationPlan"}, {"type": "null"}]}
    caps = parts["Caps"]
    keys |= {
        "tasks": TEXTS,
        "languages": languages,
        "seeds": {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {
                    "type": "object",
                    "properties": {"intermediate": SEEDS, "target": SEEDS},
                    "required": ["intermediate", "target"],
                    "additionalProperties": False,
                },
                {"type": "array", "items": {**SEEDS, "minItems": 2, "maxItems": 2}, "minItems": 1},
            ]
        },
        "evaluations": {
            "anyOf": [
                {"type": "array", "items": task, "minItems": 1, "uniqueItems": True},
                {"type": "object", "additionalProperties": evaluation, "minProperties": 1},
            ]
        },
        "arms": _mapping(keys["arms"], arm),
        "rows": {**caps, "additionalProperties": {"$ref": "#/$defs/Caps"}},
    }
    parts["EvaluationPlan"]["properties"]["languages"] = languages
    for name in ("Arm", "MixtureTask"):
        parts[name]["properties"]["task"] = task
    parts["Arm"]["properties"]["labels"] = {"enum": ["true", "shuffled", True]}
    parts["Build"]["properties"]["family"] = family
    parts["BackbonePlan"]["properties"]["family"] = family
    parts["BackbonePlan"]["properties"]["tuning"] = {
        "anyOf": [{"enum": ["full", "lora"]}, {"$ref": "#/$defs/Tuning"}]
    }
    for role in parts["SplitPlan"]["properties"]:
        choice = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/SplitChoice"}]}
        parts["SplitPlan"]["properties"][role] = choice
    count = {"type": "integer", "minimum": 1}
    parts["Override"]["properties"]["selection"] = {"anyOf": [{"const": "last"}, count]}
    resources = parts["Resources"]["properties"]
    resources["tokens_per_micro_batch"] = {"anyOf": [{"const": "auto"}, count]}
    resources["activation_checkpointing"] = {"enum": ["auto", "on", "off", True, False]}
    whole = {"type": "integer", "minimum": 0}
    part = {"type": "number", "minimum": SMALLEST_PART, "maximum": 1}
    resources["gpus_per_worker"] = {**resources["gpus_per_worker"], "anyOf": [whole, part]}
    for unused in ("RowCaps", "TaskFile"):
        parts.pop(unused, None)
    return _titled(schema, "Plan of xstilts (docs/plan.md)")


def _mapping(schema: Schema, values: Schema) -> Schema:
    """A mapping with other values and the same names."""
    if patterns := schema.get("patternProperties"):
        return {**schema, "patternProperties": dict.fromkeys(patterns, values)}
    return {**schema, "additionalProperties": values}


def schedule_schema() -> Schema:
    return _titled(Schedule.model_json_schema(), "Schedule of xstilts (docs/schedules.md)")


def settings_schema() -> Schema:
    return _titled(
        ClusterSettings.model_json_schema(), "Cluster settings of xstilts (docs/kubeflow.md)"
    )


def _titled(schema: Schema, title: str) -> Schema:
    return {"$schema": DIALECT, **schema, "title": title}


#: File name in docs/schemas → its schema.
SCHEMAS: Mapping[str, Callable[[], Schema]] = {
    "plan.json": plan_schema,
    "schedule.json": schedule_schema,
    "settings.json": settings_schema,
}


def text_of(name: str) -> str:
    """The file as it is published."""
    return json.dumps(SCHEMAS[name](), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def write(folder: Path) -> None:
    """Writes all schemas."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SCHEMAS:
        (folder / name).write_text(text_of(name), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
