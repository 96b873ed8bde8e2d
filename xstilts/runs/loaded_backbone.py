"""A loaded backbone that all finetune and score steps of a group share."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from xstilts.data.encoded import EncodedRows, Images
from xstilts.errors import DataError
from xstilts.models import sharding
from xstilts.models.acceleration import accelerate
from xstilts.models.backbone import Backbone
from xstilts.models.lora import initial_state, load_trainable, merged, trainable_state
from xstilts.models.picture_cache import PictureCache
from xstilts.models.precision import load_tunable
from xstilts.models.processor import load_processor
from xstilts.plan.memory_choice import Choice
from xstilts.runs.memory_fit import DoesNotFit, needs_sharding, require_room
from xstilts.runs.stage import model_folder, parent
from xstilts.scoring.gold import Gold, answers_in_words, candidate_names, gold_answers
from xstilts.step import Step, training_role
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Task
from xstilts.training.workers import Workers

#: A worker without others.
ALONE = Workers()


def together(workers: Workers, check: Callable[[], None]) -> None:
    """Runs a check on every worker. StepFailed on all of them if it fails on one, so that none of
    them waits for the others.
    """
    error: str | None = None
    try:
        check()
    except (DoesNotFit, DataError) as raised:
        error = str(raised)
    workers.agree(error)


class LoadedBackbone:
    """A backbone on its device, with its processor and initial weights, so that every step starts
    from the same state. Encoded rows, images and answers are read once.
    """

    def __init__(
        self,
        store: Store,
        step: Step,
        scratch: Path,
        device: torch.device,
        tasks: Mapping[str, Task] = TASKS,
        workers: Workers = ALONE,
    ) -> None:
        """Loads the backbone.

        Raises StepFailed on every worker if one of them has too little memory, or lacks what a key
        of the plan needs (a GPU, Liger).

        Args:
            store: The run's store.
            step: One of the steps.
            scratch: A folder for files.
            device: Where the backbone runs.
            tasks: Those that the steps use, private ones included (runs/task_files.py).
            workers: Those that share the weights if the steps' `sharding` asks for it.
        """
        self.tasks = tasks
        self.store, self.device, self.scratch = store, device, scratch
        folder = model_folder(step, store, scratch)
        together(workers, lambda: require_room(folder, step, device))
        self.tuning: Mapping[str, Any] = step.spec["tuning"]
        self.lora = self.tuning["mode"] == "lora"
        self.backbone: Backbone = load_tunable(
            folder,
            step.spec["family"],
            self.tuning,
            step.spec.get("attention", "causal"),
            step.spec.get("dtype", "float32"),
        )
        cache = PictureCache(store.cache / "pictures")
        self.processor = replace(load_processor(folder, step.spec["family"]), cache=cache)
        setting = str(step.settings.get("sharding", "none"))
        if sharding.possible(setting, workers.world, device) and workers.any(
            needs_sharding(setting, self.backbone, device)
        ):
            sharding.shard(self.backbone, device)
        else:
            self.backbone.to(device)
        # Full tuning changes the weights, so every step starts from this copy in the memory of the
        # host: of a sharded backbone this worker's part. LoRA does not.
        self.pristine = (
            {}
            if self.lora
            else {
                name: sharding.local(tensor).cpu().clone()
                for name, tensor in trainable_state(self.backbone).items()
            }
        )
        self._images: dict[str, Images] = {}
        self._rows: dict[str, EncodedRows] = {}
        self._parents: dict[tuple[str, str], Manifest] = {}
        self._gold: dict[tuple[str, str], list[Gold]] = {}
        self._names: dict[str, list[str]] = {}
        #: Token budget and checkpointing of the latest finetune step.
        self.choice: Choice | None = None
        together(workers, lambda: accelerate(self.backbone, step.spec, device))

    def reset(self, seed: int) -> None:
        """Restores the weights that every training path starts from: the backbone's, and adapters
        initialized from the seed.
        """
        if self.lora:
            load_trainable(self.backbone, initial_state(self.backbone, self.tuning, seed))
            return
        for name, tensor in trainable_state(self.backbone).items():
            sharding.local(tensor).copy_(self.pristine[name])

    def load(self, manifest: Manifest, prefix: str = "") -> None:
        """Loads the weights of a finished finetune step; prefix `last.` for those of its last
        update.
        """
        load_trainable(
            self.backbone, load_file(self.store.file(manifest, f"{prefix}trainable.safetensors"))
        )

    def parent(self, kind: str, fingerprint: str, child: Step) -> Manifest:
        """A parent's manifest, read once because many models are scored on the same rows."""
        if (kind, fingerprint) not in self._parents:
            self._parents[kind, fingerprint] = parent(self.store, kind, fingerprint, child)
        return self._parents[kind, fingerprint]

    def fetch(self, steps: Sequence[Step]) -> None:
        """Downloads manifests and files of the steps' data parents, several at a time. What is not
        done is left to the reader of each parent, which names the step.
        """
        roles = {
            ("records" if role.startswith("gold:") else "encode", fingerprint)
            for step in steps
            for role, fingerprint in step.parents.items()
            if role.startswith(("train:", "select:", "test:", "gold:", "pool"))
        }
        manifests = self._fetch_manifests(roles)
        records = {
            ("records", manifest.step["parents"]["records"])
            for manifest in manifests
            if manifest.kind == "encode"
        }
        manifests += self._fetch_manifests(records - roles)
        names = ("encoded.parquet", "records.parquet")
        blobs = [
            manifest.files[name].sha256
            for manifest in manifests
            for name in names
            if name in manifest.files
        ]
        images = [sha for manifest in manifests if (sha := manifest.info.get("images_sha"))]
        self.store.fetch([*blobs, *images])

    def _fetch_manifests(self, keys: set[tuple[str, str]]) -> list[Manifest]:
        """The manifests of (kind, fingerprint) that exist, and that were not read before."""
        new = sorted(keys - self._parents.keys())
        manifests = zip(new, self.store.manifests(new), strict=True)
        read = {key: manifest for key, manifest in manifests if manifest is not None}
        self._parents |= read
        return list(read.values())

    def folded(self) -> AbstractContextManager[Backbone]:
        """A context in which adapters are folded into the weights, for scoring."""
        return merged(self.backbone)

    def gold(self, step: Step, language: str) -> list[Gold]:
        """The gold answers of a score step in a language, read once for all models."""
        fingerprint = step.parents[f"gold:{language}"]
        key = (fingerprint, step.spec["format"])
        if key not in self._gold:
            path = self.store.file(self.parent("records", fingerprint, step), "records.parquet")
            in_words = step.spec["format"] == "words"
            self._gold[key] = (
                answers_in_words(path, self.tasks[step.spec["evaluation"]])
                if in_words
                else gold_answers(path, step.spec["format"])
            )
        return self._gold[key]

    def candidates(self, role: str, step: Step) -> list[str]:
        """For ranking and mining, the candidate name of each row of an encoded parent's records."""
        fingerprint = self.parent("encode", step.parents[role], step).step["parents"]["records"]
        if fingerprint not in self._names:
            manifest = self.parent("records", fingerprint, step)
            self._names[fingerprint] = candidate_names(self.store.file(manifest, "records.parquet"))
        return self._names[fingerprint]

    def tags(self, step: Step) -> Sequence[str]:
        """The tag names of a score step in the order of their ids: the task's, or those of its
        model's training rows.
        """
        task = self.tasks[step.spec["evaluation"]]
        if task.labels or task.format != "tagging" or "model" not in step.parents:
            return task.labels
        model = step.parents.get("heads", step.parents["model"])
        trained = Step.from_json(self.parent("finetune", model, step).step)
        return self.trained_tags(trained, trained.spec["tasks"][int(step.spec.get("head", 0))])

    def trained_tags(self, step: Step, task: Mapping[str, Any]) -> Sequence[str]:
        """The tags of a finetune step's head, if training rows define the set of tags."""
        encoded = self.parent("encode", step.parents[f"train:{task_role(task)}"], step)
        return list(encoded.info["tags"])

    def rows(self, role: str, step: Step) -> tuple[EncodedRows, Images | None]:
        """An encode step's rows and images, read once for all steps that share them."""
        fingerprint = step.parents[role]
        manifest = self.parent("encode", fingerprint, step)
        sha = manifest.info.get("images_sha")
        if sha and sha not in self._images:
            self._images[sha] = Images([self.store.blob_path(sha)], self.store.cache / "arrow")
        if fingerprint not in self._rows:
            self._rows[fingerprint] = EncodedRows(self.store.file(manifest, "encoded.parquet"))
        return self._rows[fingerprint], self._images[sha] if sha else None


def task_role(task: Mapping[str, Any]) -> str:
    """The name of a training task in the roles of a finetune step's parents."""
    return training_role(task["name"], task.get("translated"))
