"""The image of each component: by digest if images/images.lock has one, else by tag."""

import json
from functools import cache
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "images" / "images.lock"
#: Components whose Dockerfile has two stages, for the KFP step and for the Ray workers.
STAGED = ("finetune", "score")


def name(component: str, stage: str = "step") -> str:
    """The name of an image, e.g. `stage-python`, `finetune-step`, `finetune-worker`."""
    return f"{component}-{stage if component in STAGED else 'python'}"


@cache
def lock() -> dict[str, Any]:
    """Image name → {reference: registry/name:tag, digest: sha256:… or null}, {} without a lock."""
    return dict(json.loads(LOCK.read_text())) if LOCK.is_file() else {}


def reference(component: str, stage: str = "step") -> str:
    """The image of a component: `registry/name@sha256:…` if its digest is locked, else its tag."""
    entry = lock().get(name(component, stage), {})
    tagged = str(entry.get("reference") or f"xstilts/{name(component, stage)}:dev")
    digest = entry.get("digest")
    return f"{_untagged(tagged)}@{digest}" if digest else tagged


def _untagged(image: str) -> str:
    head, colon, tag = image.rpartition(":")
    return head if colon and "/" not in tag else image  # not a tag: the registry's port
