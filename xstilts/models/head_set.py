"""The heads of a finetune step, and encoded rows packed for a backbone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from xstilts.data.encoded import EncodedRow, Images
from xstilts.models.backbone import Backbone
from xstilts.models.batch import (
    ImageInput,
    PackedBatch,
    Placement,
    Segment,
    pack,
    segment_key,
)
from xstilts.models.heads import initialise, make_head
from xstilts.models.processor import Processor
from xstilts.step import training_role
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store


class Heads(nn.Module):
    """The heads of a finetune step, one per task; an empty module for `lm` tasks."""

    def __init__(
        self,
        tasks: Sequence[Mapping[str, Any]],
        backbone: Backbone,
        recipe: Mapping[str, Any],
        seed: int,
        stage: str,
    ) -> None:
        """New heads from the random stream `head` of seed and stage, equal in all arms of a seed.

        Args:
            tasks: Tasks of the step, as in its spec.
            backbone: The backbone that they read.
            recipe: The step's recipe.
            seed: The step's seed.
            stage: Name of the stage in random streams.
        """
        super().__init__()
        self.tasks = [dict(task) for task in tasks]
        pooling = recipe.get("pooling") or "pooled"
        heads = [
            make_head(
                t["format"], t["objective"], backbone.width, t["classes"], backbone.pool, pooling
            )
            for t in tasks
        ]
        for head in heads:
            if head is not None:
                initialise(head, seed, stage)
        self.heads = nn.ModuleList(nn.Module() if head is None else head for head in heads)

    def save(self, folder: Path, before: str = "") -> dict[str, Path]:
        """Writes <before>head.<task>.safetensors for each task with parameters. A task's
        translations are another task. Returns name → path.
        """
        files = {}
        for task, head in zip(self.tasks, self.heads, strict=True):
            state = {k: v.detach().contiguous().cpu() for k, v in head.state_dict().items()}
            if state:
                name = f"{before}{_file(task)}"
                save_file(state, folder / name)
                files[name] = folder / name
        return files

    @classmethod
    def load(
        cls, manifest: Manifest, store: Store, backbone: Backbone, before: str = ""
    ) -> "Heads":
        """The heads of a finished finetune step. before: `last.` for those of its last update."""
        spec = manifest.step["spec"]
        names = [f"{before}{_file(task)}" for task in spec["tasks"]]
        states = [
            load_file(store.file(manifest, name)) if name in manifest.files else {}
            for name in names
        ]
        # An open set of tags (CCG) has the classes of its training rows: the spec says 0, the
        # weights have their number.
        tasks = [
            {
                **task,
                "classes": task["classes"]
                or (len(state["out.bias"]) if task["format"] == "tagging" and state else 0),
            }
            for task, state in zip(spec["tasks"], states, strict=True)
        ]
        heads = cls(tasks, backbone, spec["recipe"], 0, "")
        for head, state in zip(heads.heads, states, strict=True):
            head.load_state_dict(state)
        return heads

    def extend(self, other: "Heads") -> None:
        """Adds the heads of another step after these."""
        self.tasks += other.tasks
        self.heads.extend(other.heads)

    def continue_from(self, manifest: Manifest, store: Store) -> None:
        """Copies the head of the previous stage (SIQA → COPA): same format, one task each."""
        before = manifest.step["spec"]["tasks"]
        if (
            len(before) != 1
            or len(self.tasks) != 1
            or before[0]["format"] != self.tasks[0]["format"]
        ):
            raise ValueError(f"{self.tasks} cannot continue the head of {before}")
        self.heads[0].load_state_dict(load_file(store.file(manifest, _file(before[0]))))


def _file(task: Mapping[str, Any]) -> str:
    return f"head.{training_role(task['name'], task.get('translated'))}.safetensors"


def pack_rows(
    rows: Sequence[EncodedRow],
    placement: Placement,
    processor: Processor | None,
    images: Images | None,
) -> PackedBatch:
    """All segments of the rows in one flat batch, in order.

    Args:
        rows: The rows.
        placement: A backbone, or its placement.
        processor: That of the backbone; only its images are used.
        images: Of the rows.

    Raises:
        KeyError: A row has images, and `images` or `processor` is None.
        ValueError: An image of a row cannot be prepared.
    """
    segments = []
    for row in rows:
        if row.images and (images is None or processor is None):
            raise KeyError(f"row {row.row} has images, and its records have none")
        pictures = (
            [
                _picture(row, sha, grid, processor, images)
                for sha, grid in zip(row.images, row.grids, strict=True)
            ]
            if processor and images
            else []
        )
        segments += [
            Segment(ids, pictures, segment_key(row.row, i)) for i, ids in enumerate(row.segments)
        ]
    return pack(segments, placement)


def _picture(
    row: EncodedRow, sha: str, grid: Sequence[int], processor: Processor, images: Images
) -> ImageInput:
    try:
        return processor.image_inputs(images[sha], grid)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"row {row.row}: image {sha[:16]}… cannot be prepared: {type(error).__name__}: {error}"
        ) from error
