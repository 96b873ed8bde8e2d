"""Checks in the store whether every task did its work, whatever a runner reported."""

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format

from xstilts.runs.finished import lacking
from xstilts.store.store import Store


def components(package: Mapping[str, Any]) -> list[str]:
    """The components in a package's first document, each once."""
    labels = package["deploymentSpec"]["executors"]
    return list(dict.fromkeys(re.sub(r"^exec-|-\d+$", "", label) for label in labels))


def unfinished(pipeline: Any, store: Store, run: str) -> list[str]:
    """Missing outputs of a run's tasks; empty if every task is done."""
    package = json_format.MessageToDict(pipeline.pipeline_spec)
    return [
        line
        for component in components(package)
        for line in lacking(store, f"runs/{run}", component)
    ]
