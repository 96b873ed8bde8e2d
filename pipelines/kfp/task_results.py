"""Whether every task of the package did its work, by what stands in the store and not by what a
runner said.
"""

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format

from xstilts.runs.finished import lacking
from xstilts.store.store import Store


def components(package: Mapping[str, Any]) -> list[str]:
    """The components that a package (its first document) runs, each once."""
    labels = package["deploymentSpec"]["executors"]
    return list(dict.fromkeys(re.sub(r"^exec-|-\d+$", "", label) for label in labels))


def unfinished(pipeline: Any, store: Store, run: str) -> list[str]:
    """What a run lacks of the tasks of a pipeline: empty when every one of them is done."""
    package = json_format.MessageToDict(pipeline.pipeline_spec)
    return [
        line
        for component in components(package)
        for line in lacking(store, f"runs/{run}", component)
    ]
