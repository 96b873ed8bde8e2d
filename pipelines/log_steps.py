"""Which step a log belongs to: `stage sources-00`, `finetune tiny-llava, attempt 2`."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.launch.log import StoredLog
from xstilts.errors import PlanError

NODE_NAME = "workflows.argoproj.io/node-name"
#: The inputs of a component that distinguish its tasks.
_ITEMS = ("batch", "group", "kind")


@dataclass(frozen=True)
class StepName:
    """A task of KFP, or its job on Ray. item: its batch or group."""

    kind: str
    item: str = ""
    attempt: int = 1
    on_ray: bool = False

    def __str__(self) -> str:
        attempt = f", attempt {self.attempt}" if self.attempt > 1 else ""
        return f"{self.kind} {self.item}".strip() + (" on Ray" if self.on_ray else "") + attempt

    def matches(self, text: str | None) -> bool:
        """Whether --step selects it: by kind, by batch or group, or by both."""
        return text is None or text in (self.kind, self.item, f"{self.kind} {self.item}")


def step_of_log(log: StoredLog) -> StepName:
    return StepName(log.kind, log.group, log.attempt, on_ray=not log.pod)


def step_of_pod(metadata: Any, spec: Any) -> StepName:
    """The step that a pod runs, from the arguments that KFP gives its container and from the name
    of its node in the workflow, or else the pod's name.
    """
    node = (metadata.annotations or {}).get(NODE_NAME, "")
    words = [
        word
        for container in spec.containers or ()
        for word in (*(container.command or ()), *(container.args or ()))
    ]
    kind = _after(words, "--function_to_execute")
    if kind is None:  # `….stage-2(0).executor(0)`
        task = re.search(r"([^.()]+)\(\d+\)\.executor\(\d+\)$", node)
        kind = re.sub(r"-\d+$", "", task[1]) if task else None
    if kind is None:
        return StepName(metadata.name)
    return StepName(kind, _item(words), _attempt(node))


def _after(words: Sequence[str], option: str) -> str | None:
    return words[words.index(option) + 1] if option in words[:-1] else None


def _item(words: Sequence[str]) -> str:
    """The batch or group among the inputs of a task."""
    try:
        inputs: Mapping[str, Any] = json.loads(_after(words, "--executor_input") or "{}")
    except ValueError:  # a placeholder
        return ""
    values = inputs.get("inputs", {}).get("parameterValues", {})
    return next((str(values[name]) for name in _ITEMS if name in values), "")


def _attempt(node: str) -> int:
    """The attempt in a node's name: Argo counts from 0 and retries the task and its executor."""
    counts = re.search(r"\((\d+)\)\.executor\((\d+)\)$", node)
    return int(counts[1]) + int(counts[2]) + 1 if counts else 1


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str, option: str) -> float:
    """The seconds of an option's value such as 90s, 10m, 2h or 1d. Raises PlanError."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if parts is None:
        raise PlanError(f"{option} {text!r}: not a duration; write for example 90s, 10m, 2h or 1d")
    return float(parts[1]) * _UNITS[parts[2]]
