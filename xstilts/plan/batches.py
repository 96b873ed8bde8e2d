"""Splits steps into the batches and groups that a run's tasks execute. Cannot change a result."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from xstilts.step import Step

#: Prefixes of batch ids. Specs of batches and groups share a folder, so no group may have such an
#: id.
KINDS = ("sources", "builds", "encode")
#: Limit per list, since ids pass between components as short strings.
MAX_BATCHES = 16
#: Smaller batches are not worth the start of a task.
MIN_BATCH_STEPS = 48

Batch = dict[str, Any]
Steps = Mapping[str, Step]


def source_batches(steps: Steps) -> list[Batch]:
    """Batches of records steps, sorted by data set."""
    records = [fp for fp, step in steps.items() if step.kind == "records"]
    # Keep the steps of a data set together, so that one batch fetches its files.
    records.sort(key=lambda fp: str(steps[fp].spec["source"]["path"]))
    return _batches(
        "sources", _chunks(records, min(MAX_BATCHES, ceil(len(records) / MIN_BATCH_STEPS)))
    )


def build_batches(steps: Steps) -> list[Batch]:
    """Batches of build steps, the only staging that needs torch.

    Without build steps there is one empty batch, since a pipeline loop needs at least one item.
    """
    builds = [fp for fp, step in steps.items() if step.kind == "build"]
    return _batches("builds", _chunks(builds, min(len(builds), MAX_BATCHES // 2)) or [[]])


def encoding_batches(steps: Steps) -> list[Batch]:
    """Batches of encode steps, grouped by processor."""
    by_processor: dict[str, list[str]] = {}
    for fp, step in steps.items():
        if step.kind == "encode":
            by_processor.setdefault(str(step.spec["processor"]), []).append(fp)
    total = sum(len(fps) for fps in by_processor.values())
    size = max(MIN_BATCH_STEPS, ceil(total / MAX_BATCHES))
    batches: list[list[str]] = []
    for fps in by_processor.values():
        batches += _chunks(fps, ceil(len(fps) / size))
    if len(batches) > MAX_BATCHES:  # more processors than batches: neighbours share a batch
        merged = _chunks(batches, MAX_BATCHES)
        batches = [[fp for batch in chunk for fp in batch] for chunk in merged]
    return _batches("encode", batches)


def group_batches(
    steps: Steps, by_backbone: Mapping[str, Sequence[str]], groups_per_backbone: int
) -> list[Batch]:
    """The groups of each backbone, at most `groups_per_backbone`.

    by_backbone: backbone → its finetune and score steps. A training path (an intermediate
    training and everything that continues it) is never split between groups.
    """
    groups = []
    for backbone, fps in by_backbone.items():
        paths: dict[str, list[str]] = {}
        roots: dict[str, str] = {}
        for fp in dict.fromkeys(fps):
            step = steps[fp]
            # A step belongs to the path of the step that it continues. Scores of the raw backbone
            # form a path of their own.
            parent = step.parents.get("init") or step.parents.get("model")
            roots[fp] = (
                roots.get(parent, parent) if parent else (fp if step.kind == "finetune" else "")
            )
            paths.setdefault(roots[fp], []).append(fp)
        count = max(1, min(groups_per_backbone, len(paths)))
        members: list[list[str]] = [[] for _ in range(count)]
        for path in paths.values():
            min(members, key=len).extend(path)
        for number, group in enumerate(members):
            name = backbone if groups_per_backbone == 1 else f"{backbone}-{number}"
            # The sort is stable: intermediates first, then targets in the order of their chains.
            finetune = sorted(
                (fp for fp in group if steps[fp].kind == "finetune"),
                key=lambda fp: steps[fp].spec["stage"] == "target",
            )
            score = [fp for fp in group if steps[fp].kind == "score"]
            groups.append({"id": name, "backbone": backbone, "finetune": finetune, "score": score})
    return groups


def _batches(name: str, batches: Sequence[list[str]]) -> list[Batch]:
    return [{"id": f"{name}-{i:02d}", "steps": batch} for i, batch in enumerate(batches)]


def _chunks(items: Sequence[Any], count: int) -> list[list[Any]]:
    """Splits items into `count` consecutive chunks whose sizes differ by at most one."""
    if not items:
        return []
    size, rest = divmod(len(items), count)
    chunks, start = [], 0
    for index in range(count):
        end = start + size + (index < rest)
        chunks.append(list(items[start:end]))
        start = end
    return chunks
