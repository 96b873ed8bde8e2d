"""The steps that need a backbone but no training: its build, and rows encoded for it."""

from collections.abc import Mapping
from typing import Any

from xstilts.models.families import contract
from xstilts.plan.backbone_plan import BackbonePlan
from xstilts.plan.memory_needs import config_of
from xstilts.plan.model_identity import identity_of, unresolved
from xstilts.plan.planned_steps import PlannedSteps
from xstilts.plan.row_steps import ENGLISH, RowSteps
from xstilts.tasks.task import SHOWN, Task


class BackboneSteps:
    """The build and encode steps of a plan, and what specs say of its backbones."""

    def __init__(self, steps: PlannedSteps, rows: RowSteps) -> None:
        self.steps, self.rows, self.recipes = steps, rows, steps.recipes
        self.plan, self.tables, self.sources = steps.plan, steps.tables, steps.sources
        self._identities: dict[str, Any] = {}

    def identity(self, name: str) -> Any:
        """A backbone's identity: the fingerprint of its build step, or a JSON object."""
        if name not in self._identities:
            backbone = self.plan.backbones[name]
            if backbone.build:
                self._identities[name] = self._build(name)
            elif self.tables.offline:
                self._identities[name] = unresolved(backbone)
            else:
                self._identities[name] = identity_of(name, backbone, self.steps.mirrored(backbone))
        return self._identities[name]

    def config(self, identity: Any) -> Mapping[str, Any] | None:
        """The config.json of a backbone with this identity, or None if it is not known yet."""
        hub = identity.get("hub") if isinstance(identity, Mapping) else None
        mirrored = hub is not None and self.tables.model(self.sources.mirror, hub) is not None
        return config_of(identity, self.sources.mirror if mirrored else None)

    def _build(self, name: str) -> str:
        build = self.plan.backbones[name].build
        assert build is not None  # asked by identity()
        teachers = {
            "tokenizer": build.tokenizer.from_,
            "pretrain": build.text or build.tokenizer.from_,
        }
        parents: dict[str, str] = {}
        for task in (
            self.tables.tasks[t]
            for t in dict.fromkeys([*teachers["tokenizer"], *teachers["pretrain"]])
        ):
            cap = self.recipes.cap(task.name, "text")
            # All languages of the text, not only the plan's: adding a language to a plan must not
            # change the backbone.
            reasons = []
            for language in build.languages or self.sources.languages(task, "text"):
                origin = self.sources.find(task, "text", language)
                if isinstance(origin, str):
                    reasons.append(origin)
                else:
                    records = self.rows.records(task, "text", language, cap)
                    parents[f"text:{task.name}:{language}"] = str(records)
            if not any(role.startswith(f"text:{task.name}:") for role in parents):
                reason = "; ".join(list(dict.fromkeys(reasons))[:3])
                self.rows.lacking[f"backbones.{name}.build: {task.name} has no text"] = reason
        spec = {
            "family": contract(build.family).recorded_name,
            "seed": build.seed,
            "tokenizer": {
                "vocab_size": build.tokenizer.vocab_size,
                "byte_fallback": build.tokenizer.byte_fallback,
            },
            "text": {role: list(names) for role, names in teachers.items()},
            "pretrain": dict(build.pretrain),
            "languages": list(dict.fromkeys(role.rpartition(":")[2] for role in parents)),
        }
        return self.steps.add("build", f"build {name}", spec, parents)

    def made_by(self, name: str) -> dict[str, str]:
        """The build step of a backbone as a parent; none of one that exists."""
        identity = self.identity(name)
        return {"backbone": identity} if isinstance(identity, str) else {}

    def encode(
        self,
        name: str,
        task: Task,
        split: str,
        language: str,
        objective: str,
        lengths: Any,
        records: str,
    ) -> str:
        """The encode step of records with a backbone's processor.

        Args:
            name: Name of the backbone.
            task: The task of the rows.
            split: Split of the task.
            language: Language of the rows.
            objective: head, lm or eval.
            lengths: Length limits from the recipe.
            records: Fingerprint of the records step.
        """
        of = contract(self.plan.backbones[name].family)
        spec = {
            "task": task.name,
            "split": split,
            "language": language,
            "objective": objective,
            "family": of.recorded_name,
            "processor": self.identity(name),
            "lengths": lengths,
            "subtoken": of.subtoken,
        }
        if (
            task.modality == "image"
            and self.steps.made[records].spec.get("images", "real") in SHOWN
        ):
            spec["image_budget"] = self.recipes.image_budget(task.name, self.plan.backbones[name])
        label = f"{name}: {task.name} {split} {language} ({objective})"
        return self.steps.add("encode", label, spec, {"records": records, **self.made_by(name)})

    def encode_pool(
        self, name: str, task: Task, gold: Mapping[str, str], lengths: Any, size: int | None
    ) -> str | None:
        """The encode step of a ranking's candidates.

        Args:
            name: Name of the backbone.
            task: The task with the candidates.
            gold: language → records step of the queries.
            lengths: Length limits from the recipe.
            size: Number of candidates besides the answers of the queries. None: the full pool.
        """
        records = self.rows.need(task, "text", ENGLISH, None)
        if records is None:
            return None
        spec = {
            "task": task.name,
            "split": "text",
            "language": ENGLISH,
            "objective": "eval",
            "family": contract(self.plan.backbones[name].family).recorded_name,
            "processor": self.identity(name),
            "lengths": lengths,
            "subtoken": "last",
            "pool_size": size,
        }
        queries = (
            {f"gold:{language}": fingerprint for language, fingerprint in gold.items()}
            if size
            else {}
        )
        return self.steps.add(
            "encode",
            f"{name}: {task.name} ({size or 'all'})",
            spec,
            {"records": records, **queries, **self.made_by(name)},
        )

    def model(self, name: str) -> dict[str, Any]:
        """The part of a spec with backbone, tuning, attention, and dtype if it is not float32."""
        backbone = self.plan.backbones[name]
        tuning: dict[str, Any] = {"mode": backbone.tuning.mode}
        if backbone.tuning.mode == "lora":
            tuning["r"], tuning["alpha"] = self.recipes.adapters[name]
        return {
            **backbone.faster(),
            "family": contract(backbone.family).recorded_name,
            "backbone": self.identity(name),
            "tuning": tuning,
            "attention": attention_of(backbone),
            **({"dtype": backbone.dtype} if backbone.dtype != "float32" else {}),
        }


def attention_of(backbone: BackbonePlan) -> str:
    """The attention of a backbone's text model."""
    return backbone.attention or contract(backbone.family).attention
