"""How steps are dealt out to the tasks of a run. Nothing here changes a step, so nothing here
changes a result.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from xstilts.step import Step

#: What the ids of batches begin with. A batch's spec lies beside those of groups, so no group may
#: have such an id.
KINDS = ("sources", "builds", "encode")
#: Most batches in a list: their ids pass between components, which takes short strings only.
MOST = 16
#: A batch of fewer steps is not worth a task's start.
FEWEST = 48

Batch = dict[str, Any]
Steps = Mapping[str, Step]


def source_batches(steps: Steps) -> list[Batch]:
    """Batches of records steps."""
    records = [fp for fp, step in steps.items() if step.kind == "records"]
    # One data set's files are fetched by one batch where that can be.
    records.sort(key=lambda fp: str(steps[fp].spec["source"]["path"]))
    return _batches("sources", _chunks(records, min(MOST, ceil(len(records) / FEWEST))))


def build_batches(steps: Steps) -> list[Batch]:
    """Batches of the tiny backbones' builds: the only staging that needs torch. Without any, one
    batch that is empty: a loop of the pipeline goes over something.
    """
    builds = [fp for fp, step in steps.items() if step.kind == "build"]
    return _batches("builds", _chunks(builds, min(len(builds), MOST // 2)) or [[]])


def encoding_batches(steps: Steps) -> list[Batch]:
    """Batches of encode steps, those of one processor together."""
    by_processor: dict[str, list[str]] = {}
    for fp, step in steps.items():
        if step.kind == "encode":
            by_processor.setdefault(str(step.spec["processor"]), []).append(fp)
    total = sum(len(fps) for fps in by_processor.values())
    size = max(FEWEST, ceil(total / MOST))
    batches: list[list[str]] = []
    for fps in by_processor.values():
        batches += _chunks(fps, ceil(len(fps) / size))
    if len(batches) > MOST:  # too many processors: neighbours share a batch
        batches = [[fp for batch in chunk for fp in batch] for chunk in _chunks(batches, MOST)]
    return _batches("encode", batches)


def group_batches(steps: Steps, wanted: Mapping[str, Sequence[str]], most: int) -> list[Batch]:
    """The groups of each backbone: at most `most`, a road never cut. wanted: backbone → finetune
    and score steps.
    """
    groups = []
    for backbone, fps in wanted.items():
        roads: dict[str, list[str]] = {}
        roots: dict[str, str] = {}
        for fp in dict.fromkeys(fps):
            step = steps[fp]
            # A step goes where the step it continues goes, back to the intermediate; the raw
            # backbone's scores apart.
            before = step.parents.get("init") or step.parents.get("model")
            roots[fp] = (
                roots.get(before, before) if before else (fp if step.kind == "finetune" else "")
            )
            roads.setdefault(roots[fp], []).append(fp)
        dealt: list[list[str]] = [[] for _ in range(max(1, min(most, len(roads))))]
        for road in roads.values():
            min(dealt, key=len).extend(road)
        for number, mine in enumerate(dealt):
            name = backbone if most == 1 else f"{backbone}-{number}"
            # Python's sort keeps the order of equals: intermediates first, then targets as their
            # chains have them.
            finetune = sorted(
                (fp for fp in mine if steps[fp].kind == "finetune"),
                key=lambda fp: steps[fp].spec["stage"] == "target",
            )
            score = [fp for fp in mine if steps[fp].kind == "score"]
            groups.append({"id": name, "backbone": backbone, "finetune": finetune, "score": score})
    return groups


def _batches(name: str, batches: Sequence[list[str]]) -> list[Batch]:
    return [{"id": f"{name}-{i:02d}", "steps": batch} for i, batch in enumerate(batches)]


def _chunks(items: Sequence[Any], count: int) -> list[list[Any]]:
    """`count` runs of neighbours whose sizes differ by at most one."""
    if not items:
        return []
    size, rest = divmod(len(items), count)
    chunks, start = [], 0
    for index in range(count):
        end = start + size + (index < rest)
        chunks.append(list(items[start:end]))
        start = end
    return chunks
