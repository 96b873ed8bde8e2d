"""Makes the steps of a plan. Requests for the same content return the same step."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xstilts.errors import DataError
from xstilts.models.families import contract
from xstilts.plan.memory_needs import config_of
from xstilts.plan.model_identity import identity_of, unresolved
from xstilts.plan.schema import Arm, BackbonePlan, Plan
from xstilts.plan.split_sources import Sources
from xstilts.plan.step_recipes import Recipes
from xstilts.plan.tables import Tables
from xstilts.step import Step, training_role
from xstilts.tasks.task import SHOWN, Task

#: End of the reason if all tasks of an arm are left out.
NOTHING_LEFT = "; the arm has no task left"
#: Layer that retrieval reads sentence vectors from, as a fraction of all layers: the output of
#: block 14 of 24, as Phang et al. and XTREME do for XLM-R large.
RETRIEVAL_DEPTH = 0.583333
ENGLISH = "en"
#: Splits that an arm's image condition applies to.
_TRAINED_ON = ("train", "select")


@dataclass(frozen=True)
class AfterTarget:
    """A model that continues an intermediate. target: what it was trained on. seed: the target
    seed. model: its finetune step.
    """

    target: str
    seed: int
    model: str


class Steps:
    """The steps of one plan.

    Attributes:
        made: Fingerprint → Step, parents before children.
        lacking: Required data that the mirror lacks → reason.
        skipped: (task, language) that the mirror lacks → reason.
        without: (backbone, arm) → tasks left out because of their license.
        intermediates: Scores of arms on English dev rows of their own tasks.
    """

    def __init__(
        self, plan: Plan, tables: Tables, sources: Sources, stamp: Mapping[str, Any]
    ) -> None:
        """stamp: further keys of every spec: environment (not for records), generation, or none."""
        self.plan, self.tables, self.sources = plan, tables, sources
        self.recipes = Recipes(plan, tables)
        self.stamp = dict(stamp)
        self.settings = plan.resources.model_dump(
            mode="json", by_alias=True, exclude={"groups"}, exclude_none=True
        )
        self.settings["most_bad"] = plan.most_bad_rows
        if any(self._mirrored(backbone) for backbone in plan.backbones.values()):
            self.settings["models"] = (
                sources.mirror.address
            )  # where workers find them; the commit is what counts
        self.made: dict[str, Step] = {}
        self.lacking: dict[str, str] = {}
        self.skipped: dict[tuple[str, str], str] = {}
        self.without: dict[tuple[str, str], str] = {}
        self.intermediates: list[dict[str, Any]] = []
        self._identities: dict[str, Any] = {}
        self._captioned = {
            part.task for arm in plan.arms.values() if arm.images == "caption" for part in arm.parts
        }

    def _add(
        self,
        kind: str,
        label: str,
        spec: Mapping[str, Any],
        parents: Mapping[str, str],
        **more: Any,
    ) -> str:
        content = {**spec, **self._task_files(kind, spec), **self._stamp(kind)}
        step = Step(kind, content, parents, {"label": label, **self.settings, **more})
        fingerprint = step.fingerprint
        self.made.setdefault(fingerprint, step)
        return fingerprint

    def _task_files(self, kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        """task → SHA-256 of the private file that defines it, for the private tasks of a spec."""
        files = {
            name: self.tables.tasks[name].file_sha256
            for name in named_tasks(kind, spec)
            if self.tables.tasks[name].file_sha256
        }
        return {"task_files": files} if files else {}

    def _stamp(self, kind: str) -> dict[str, Any]:
        """The stamp of a kind. `limit` marks results: a model or a score of a limited run is never
        that of a full one, also where the limit leaves out no row.
        """
        stamp = {k: v for k, v in self.stamp.items() if kind != "records" or k != "environment"}
        if self.plan.limit is not None and kind in ("finetune", "score"):
            stamp["limit"] = self.plan.limit
        return stamp

    def need(
        self,
        task: Task,
        split: str,
        language: str,
        cap: int | None,
        labels: str = "true",
        images: str = "real",
    ) -> str | None:
        """The records step of required rows; None and an entry in `lacking` if they are missing.

        Args: those of `records`.
        """
        found = self.records(task, split, language, cap, labels, images)
        if found is None:
            reason = self.skipped.pop((task.name, language))
            if isinstance(self.sources.find(task, split, language), str):
                what, advice = "rows", f"; set another split at splits.{task.name}.{split}"
            else:
                what, advice = "captions", ""
            self.lacking[f"{task.name} has no {split} {what} in {language}"] = f"{reason}{advice}"
        return found

    def records(
        self,
        task: Task,
        split: str,
        language: str,
        cap: int | None,
        labels: str = "true",
        images: str = "real",
    ) -> str | None:
        """The records step of a split in a language.

        None and an entry in `skipped` if the mirror lacks the rows. If any arm of the plan shows
        the task's captions, the records of all its image conditions include the caption source,
        so that all conditions share the rows that have a caption.

        Args:
            task: The task of the rows.
            split: Split of the task.
            language: Language of the rows; `a+b` for several translations.
            cap: Maximum number of rows. None: all.
            labels: true or shuffled.
            images: The image condition.
        """
        origin = self.sources.find(task, split, language)
        captions = (
            self.sources.captions(task, split)
            if task.name in self._captioned and split in _TRAINED_ON
            else None
        )
        if images != "caption" and isinstance(captions, str):
            captions = None  # no arm can show captions of this split
        if isinstance(origin, str) or isinstance(captions, str):
            self.skipped[(task.name, language)] = (
                origin if isinstance(origin, str) else str(captions)
            )
            return None
        spec = {
            "task": origin.task,
            "split": split,
            "language": language,
            "source": origin.source,
            "rows": cap,
            "labels": labels,
            **({"images": images} if images != "real" else {}),
            **({"captions": captions} if captions else {}),
        }
        marks = [
            text
            for text, on in (
                (", labels shuffled", labels == "shuffled"),
                (f", images {images}", images != "real"),
            )
            if on
        ]
        return self._add("records", f"{task.name} {split} {language}{''.join(marks)}", spec, {})

    def unlicensed(self, task: str) -> str | None:
        """Why a task with a restricted license is unavailable, or None."""
        one = self.tables.tasks[task]
        if not one.licensed or not isinstance(self.sources.find(one, "train", ENGLISH), str):
            return None
        return f"{task} is skipped because of its license: {one.licensed}"

    def identity(self, name: str) -> Any:
        """A backbone's identity: the fingerprint of its build step, or a JSON object."""
        if name not in self._identities:
            backbone = self.plan.backbones[name]
            if backbone.build:
                self._identities[name] = self._build(name)
            elif self.tables.offline:
                self._identities[name] = unresolved(backbone)
            else:
                self._identities[name] = identity_of(name, backbone, self._mirrored(backbone))
        return self._identities[name]

    def _mirrored(self, backbone: BackbonePlan) -> str | Path | None:
        """The commit at which the mirror has a backbone of the hub, its folder in the mirror if no
        commit is recorded, or None.
        """
        return self.tables.model(self.sources.mirror, backbone.hub) if backbone.hub else None

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
                    records = self.records(task, "text", language, cap)
                    parents[f"text:{task.name}:{language}"] = str(records)
            if not any(role.startswith(f"text:{task.name}:") for role in parents):
                reason = "; ".join(list(dict.fromkeys(reasons))[:3])
                self.lacking[f"backbones.{name}.build: {task.name} has no text"] = reason
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
        return self._add("build", f"build {name}", spec, parents)

    def _made_by(self, name: str) -> dict[str, str]:
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
        if task.modality == "image" and self.made[records].spec.get("images", "real") in SHOWN:
            spec["image_budget"] = self.recipes.image_budget(task.name, self.plan.backbones[name])
        label = f"{name}: {task.name} {split} {language} ({objective})"
        return self._add("encode", label, spec, {"records": records, **self._made_by(name)})

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
        records = self.need(task, "text", ENGLISH, None)
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
        return self._add(
            "encode",
            f"{name}: {task.name} ({size or 'all'})",
            spec,
            {"records": records, **queries, **self._made_by(name)},
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

    def intermediate(self, name: str, arm_name: str, arm: Arm, seed: int) -> str | None:
        """The finetune step of an arm, or None if data is missing.

        The spec does not contain the arm's name: arms with equal content share the step.
        """
        backbone = self.plan.backbones[name]
        refused = [reason for part in arm.parts if (reason := self.unlicensed(part.task))]
        parts = [part for part in arm.parts if not self.unlicensed(part.task)]
        if refused:
            self.without[name, arm_name] = "; ".join(refused) + ("" if parts else NOTHING_LEFT)
        if not parts:
            return None
        if refused:  # the remaining tasks share the budget
            arm = arm.model_copy(update={"mixture": tuple(parts)})
        caps = self.recipes.arm_caps(arm, backbone)
        tasks, parents, whole = [], self._made_by(name), True
        recipe = self.recipes.arm_training(arm, backbone)
        for part, cap in zip(parts, caps, strict=True):
            objective = self.recipes.objective(part.task, part.objective)
            roles = self._training_rows(
                name, part.task, objective, cap, arm, recipe, part.translated
            )
            whole = whole and roles is not None
            parents.update(roles or {})
            tasks.append(self._task(part.task, objective, part.weight or 1.0, part.translated))
        sampling = None
        if arm.mixture:
            sampling = {
                "kind": arm.sampling or "proportional",
                "temperature": arm.temperature,
                "cap": arm.cap,
            }
        spec = {
            **self.model(name),
            "stage": "intermediate",
            "name": "+".join(part.task for part in parts),
            "tasks": tasks,
            "sampling": sampling,
            "recipe": recipe,
            "seed": {"kind": "intermediate", "value": seed},
        }
        label = f"{name}: intermediate {arm_name}, seed {seed}"
        return self._add("finetune", label, spec, parents) if whole else None

    def target(self, name: str, target: str, init: str | None, seed: int, path: str) -> str | None:
        """The finetune step of a target, or None if data is missing.

        Args:
            name: Name of the backbone.
            target: The task to train.
            init: Finetune step to continue. None: start from the backbone.
            seed: The target seed.
            path: The training path, for the label.
        """
        backbone = self.plan.backbones[name]
        recipe = self.recipes.training(target, backbone)
        roles = self._training_rows(
            name, target, "head", self.recipes.train_cap(target, backbone), Arm(), recipe
        )
        if roles is None:
            return None
        parents = {**self._made_by(name), **({"init": init} if init else {}), **roles}
        spec = {
            **self.model(name),
            "stage": "target",
            "name": target,
            "tasks": [self._task(target, "head", 1.0)],
            "sampling": None,
            "recipe": recipe,
            "seed": {"kind": "target", "value": seed},
        }
        return self._add("finetune", f"{name}: {path} → {target}, seed {seed}", spec, parents)

    def _task(
        self, name: str, objective: str, weight: float, translated: tuple[str, ...] | None = None
    ) -> dict[str, Any]:
        task = self.tables.tasks[name]
        return {
            **({"translated": list(translated)} if translated else {}),
            "name": name,
            "format": task.format,
            "objective": objective,
            "classes": len(task.labels),
            "weight": weight,
        }

    def _training_rows(
        self,
        name: str,
        task_name: str,
        objective: str,
        cap: int | None,
        arm: Arm,
        recipe: Mapping[str, Any],
        translated: tuple[str, ...] | None = None,
    ) -> dict[str, str] | None:
        """Roles and encode steps of a task's training rows, or None if rows are missing.

        The roles are train:<task> and, if the recipe selects on English dev, select:<task>.

        Args:
            name: Name of the backbone.
            task_name: Name of the task.
            objective: head or lm.
            cap: Maximum number of training rows. None: all.
            arm: The arm with labels and image condition.
            recipe: The recipe of the finetune step.
            translated: Languages to train on in place of English.
        """
        backbone, task = self.plan.backbones[name], self.tables.tasks[task_name]
        images = arm.images if task.modality == "image" else "real"
        languages = "+".join(translated) if translated else ENGLISH
        role = training_role(task_name, translated)
        wanted = [("train", cap, arm.labels, languages)]
        if self.recipes.selects(recipe):
            wanted.append(("select", self.recipes.cap(task_name, "select"), "true", ENGLISH))
        roles = {}
        for split, rows, kind, language in wanted:
            records = self.need(task, split, language, rows, kind, images)
            if records is None:
                return None
            lengths = self.recipes.lengths(task_name, backbone, objective)
            roles[f"{split}:{role}"] = self.encode(
                name, task, split, language, objective, lengths, records
            )
        return roles

    def score(
        self,
        name: str,
        task: Task,
        gold: Mapping[str, str],
        tests: Mapping[str, str],
        model: str | None,
        path: str,
        pool: str | None = None,
    ) -> str:
        """The score step of an evaluation in all of its languages.

        Args:
            name: Name of the backbone.
            task: The evaluation.
            gold: language → records step.
            tests: language → encode step.
            model: Finetune step of the model. None: the raw backbone.
            path: The training path and target, for the label.
            pool: Encode step of the candidates of a ranking.
        """
        parents = (
            self._made_by(name)
            | ({"model": model} if model else {})
            | ({"pool": pool} if pool else {})
        )
        parents |= {f"test:{language}": fingerprint for language, fingerprint in tests.items()}
        parents |= {f"gold:{language}": fingerprint for language, fingerprint in gold.items()}
        spec = {
            "evaluation": task.name,
            "languages": list(tests),
            "format": task.format,
            "metrics": list(task.metrics),
            **self.model(name),
            "layer": RETRIEVAL_DEPTH if task.format in ("retrieval", "mining") else None,
            **self._answers(name, task, (task.trained_target or (task.name,))[-1]),
        }
        if task.format == "ranking" and task.trained_target:  # pooled as in training
            spec["pooling"] = self.recipes.full(task.trained_target[-1], self.plan.backbones[name])[
                "pooling"
            ]
        splits = {language: self.made[fp].spec["source"]["split"] for language, fp in gold.items()}
        return self._add("score", f"{name}: {path} on {task.name}", spec, parents, splits=splits)

    def _answers(self, name: str, task: Task, read_as: str) -> dict[str, Any]:
        """The part of a score step's spec that only question answering has.

        read_as: the task whose recipe applies.
        """
        if task.format != "span":
            return {}
        return {"answer_limit": self.recipes.answer_limit(read_as, self.plan.backbones[name])}

    def score_intermediate(
        self,
        name: str,
        arm_name: str,
        arm: Arm,
        seed: int,
        model: str,
        after: AfterTarget | None = None,
    ) -> None:
        """Adds score steps of an arm's tasks on their English dev rows to `intermediates`.

        The arm answers as it was trained: with its heads, or in words. A task without dev rows or
        metrics is added with the reason. A model after a target answers with the heads of the
        intermediate.

        Args:
            name: Name of the backbone.
            arm_name: Name of the arm.
            arm: The arm.
            seed: The intermediate seed.
            model: Finetune step of the arm.
            after: What is scored in place of the arm: a model that continues it.
        """
        backbone = self.plan.backbones[name]
        for place, given in enumerate(self.made[model].spec["tasks"]):
            task, objective = self.tables.tasks[given["name"]], given["objective"]
            # In a mixture, a task and its translations have a head each.
            translated = "+".join(given.get("translated", ()))
            entry = {
                "backbone": name,
                "arm": arm_name,
                "seed": seed,
                "task": task.name,
                "objective": objective,
                **({"translated": translated} if translated else {}),
                **({"target": after.target, "seed_target": after.seed} if after else {}),
            }
            images = arm.images if task.modality == "image" else "real"
            records = self.records(
                task, "select", ENGLISH, self.recipes.cap(task.name, "select"), images=images
            )
            metrics = scored_by(task, objective)
            if records is None or not metrics:
                reason = (
                    self.skipped.pop((task.name, ENGLISH))
                    if records is None
                    else "no metric is defined for it"
                )
                if after is None:  # once per arm
                    self.intermediates.append({**entry, "score": None, "reason": reason})
                continue
            lengths = self.recipes.lengths(task.name, backbone, objective)
            rows = self.encode(
                name,
                task,
                "select",
                ENGLISH,
                objective if objective == "lm" else "eval",
                lengths,
                records,
            )
            parents = self._made_by(name) | {"test:en": rows, "gold:en": records}
            parents |= {"model": after.model, "heads": model} if after else {"model": model}
            spec = {
                "evaluation": task.name,
                "languages": [ENGLISH],
                "format": "words" if objective == "lm" else task.format,
                "metrics": list(metrics),
                "head": place,
                **self.model(name),
                "layer": None,
                **(self._answers(name, task, task.name) if objective != "lm" else {}),
            }
            split = self.made[records].spec["source"]["split"]
            path = f" → {after.target} ({after.seed})" if after else ""
            label = f"{name}: {arm_name} ({seed}){path} on its own {task.name}"
            label += f" ({translated})" if translated else ""
            score = self._add("score", label, spec, parents, splits={ENGLISH: split})
            self.intermediates.append(
                {**entry, "score": score, "split": split, "metrics": list(metrics)}
            )

    def raise_lacking(self) -> None:
        """Raises DataError that lists all required data that the mirror lacks."""
        if self.lacking:
            lines = [f"  - {what}: {reason}" for what, reason in self.lacking.items()]
            raise DataError(
                "\n".join(["the mirror lacks required data; nothing was staged", *lines])
            )


def named_tasks(kind: str, spec: Mapping[str, Any]) -> list[str]:
    """The tasks whose definitions a step of this kind reads."""
    if kind == "finetune":
        return [part["name"] for part in spec["tasks"]]
    return [spec[key] for key in ("task", "evaluation") if key in spec]


def scored_by(task: Task, objective: str) -> tuple[str, ...]:
    """The metrics of an intermediate task on its English dev rows.

    Answers in words are compared by exact match, unless the task's own metrics compare words.
    """
    return (
        ("squad_em",)
        if objective == "lm" and task.format not in ("generation", "span")
        else task.metrics
    )


def attention_of(backbone: BackbonePlan) -> str:
    """The attention of a backbone's text model."""
    return backbone.attention or contract(backbone.family).attention
