"""Checks that the schema cannot do: unknown names, and keys that contradict each other."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from xstilts.errors import PlanError
from xstilts.models.families import contract, family_of_hub, multimodal
from xstilts.plan.arm_plan import Arm, MixtureTask
from xstilts.plan.arms import applicable, matched, used_tasks
from xstilts.plan.batches import KINDS
from xstilts.plan.plan_errors import Loc, not_one_of
from xstilts.plan.schema import Contrast, Plan
from xstilts.plan.split_sources import choice, sources_of
from xstilts.plan.step_recipes import Recipes
from xstilts.plan.tables import Tables
from xstilts.tasks.task import Task

#: Ids of batches. Specs of batches and groups share a folder.
RESERVED = re.compile(rf"({'|'.join(KINDS)})-\d+")
#: The first group number with two digits: the id NAME-10 could be that of a batch.
FIRST_OF_TWO_DIGITS = 10
#: Maximum length of a list of ids that passes between components.
MOST_BYTES = 4096
#: Most special tokens around a question and its context in any family: XLM-R's <s> question
#: </s></s> context </s>.
FRAME_TOKENS = 4


def group_ids(plan: Plan) -> list[str]:
    """The possible ids of the plan's groups."""
    many = plan.resources.groups
    return [name if many == 1 else f"{name}-{k}" for name in plan.backbones for k in range(many)]


def check(plan: Plan, raw: Mapping[str, Any], cut: Iterable[Loc], tables: Tables) -> list[str]:
    """All problems of a plan.

    raw: the normalized plan before validation. Its names count as known even if their values were
    cut.
    """
    return list(dict.fromkeys(_Check(plan, raw, set(cut), tables).problems()))


class _Check:
    def __init__(self, plan: Plan, raw: Mapping[str, Any], cut: set[Loc], tables: Tables) -> None:
        self.plan, self.raw, self.cut, self.tables = plan, raw, cut, tables
        self.recipes = Recipes(plan, tables)
        self.arms = list(dict.fromkeys(["none", *self._names("arms")]))

    def _names(self, key: str) -> list[str]:
        value = self.raw.get(key)
        return [str(name) for name in value] if isinstance(value, Mapping) else []

    def _whole(self, *loc: str) -> bool:
        """Whether nothing was cut at, inside or around a location."""
        return not any(old[: len(loc)] == loc or loc[: len(old)] == old for old in self.cut)

    def problems(self) -> Iterator[str]:
        for key, hint in (
            ("name", "a short name"),
            ("backbones", "at least one"),
            ("evaluations", "at least one"),
        ):
            if not self.raw.get(key) and self._whole(key):
                yield f"{key}: is required ({hint})"
        yield from self._backbones()
        yield from self._arms()
        yield from self._evaluations()
        yield from self._languages()
        yield from self._recipes()
        yield from self._contrasts()
        yield from self._controls()
        yield from self._unused()
        yield from self._splits()

    def _backbones(self) -> Iterator[str]:
        ids, many = group_ids(self.plan), self.plan.resources.groups
        for name in self.plan.backbones:
            if RESERVED.fullmatch(name):
                yield (
                    f"backbones.{name}: names like {', '.join(f'{kind}-00' for kind in KINDS)} are "
                    "reserved; choose another name"
                )
            elif name in KINDS and many > FIRST_OF_TWO_DIGITS:
                yield (
                    f"backbones.{name}: {many} groups (resources.groups) have ids like "
                    f"{name}-{FIRST_OF_TWO_DIGITS}, which are reserved; choose another name, or at "
                    f"most {FIRST_OF_TWO_DIGITS} groups"
                )
        if sum(len(group) + 4 for group in ids) > MOST_BYTES:
            yield (
                f"backbones: the ids of {len(ids)} groups take more than {MOST_BYTES} bytes; use "
                "shorter names, or split the plan"
            )
        for name, backbone in self.plan.backbones.items():
            if right := family_of_hub(backbone.hub or "", contract(backbone.family)):
                yield (
                    f"backbones.{name}.family: {backbone.hub} is of family {right}, not "
                    f"{backbone.family}; set family: {right}"
                )
            if backbone.build is None:
                continue
            for key, names in (
                ("tokenizer.from", backbone.build.tokenizer.from_),
                ("text", backbone.build.text or ()),
            ):
                for task in names:
                    if task not in self.tables.tasks:
                        yield f"backbones.{name}.build.{key}: {not_one_of(task, self.tables.tasks)}"
                    elif (
                        sources_of(self.plan, self.tables, self.tables.tasks[task], "text") is None
                    ):
                        path = f"backbones.{name}.build.{key}"
                        yield f"{path}: {task} has no text; choose another task"

    def _trainable(self) -> list[str]:
        return [
            name
            for name, task in self.tables.tasks.items()
            if task.role != "evaluation" and "train" in task.splits
        ]

    def _arms(self) -> Iterator[str]:
        for name, arm in self.plan.arms.items():
            if not self._whole("arms", name):
                continue
            if name == "none" and arm.parts:
                yield (
                    "arms.none: must be empty, since it is the arm without intermediate training; "
                    "rename this arm"
                )
            if name != "none" and not arm.parts:
                yield f"arms.{name}: is empty; set task or mixture (the empty arm is named none)"
            if arm.images != "real":
                yield from self._image_condition(name, arm)
            for index, part in enumerate(arm.parts):
                path = f"arms.{name}" + (f".mixture[{index}]" if arm.mixture else "")
                yield from self._part(path, part)
            backbones = self.plan.backbones
            seen = [applicable(arm, backbone, self.tables) for backbone in backbones.values()]
            if seen and not any(seen) and self._whole("backbones"):
                yield (
                    f"arms.{name}: shows images and every backbone reads text only "
                    f"({', '.join(backbones)}); add a {' or '.join(multimodal())} backbone, "
                    "or remove the arm"
                )

    def _image_condition(self, name: str, arm: Arm) -> Iterator[str]:
        known = [
            self.tables.tasks[part.task] for part in arm.parts if part.task in self.tables.tasks
        ]
        pictured = [task for task in known if task.modality == "image"]
        if known and not pictured:
            yield (
                f"arms.{name}.images: {arm.images!r} needs a task with images, and "
                f"{known[0].name} has none; remove images"
            )

    def _part(self, path: str, part: MixtureTask) -> Iterator[str]:
        if part.task not in self._trainable():
            yield f"{path}.task: {not_one_of(part.task, self._trainable())}"
            return
        objectives = self.tables.tasks[part.task].objectives
        if part.objective is not None and part.objective not in objectives:
            yield (
                f"{path}.objective: {part.task} has no objective {part.objective!r}; "
                f"allowed: {', '.join(objectives)}"
            )

    def _all_evaluations(self) -> dict[str, Task]:
        return {
            name: task
            for name, task in self.tables.tasks.items()
            if task.trained_target is not None and "test" in task.splits
        }

    def _evaluations(self) -> Iterator[str]:
        known = self._all_evaluations()
        for name, evaluation in self.plan.evaluations.items():
            if name not in known:
                yield f"evaluations: {not_one_of(name, known)}"
                continue
            languages = evaluation.languages or ()
            if len(set(languages)) != len(languages):
                yield (f"evaluations.{name}.languages: duplicate language; list each language once")
            allowed = (*known[name].languages, *self.tables.invented)
            for language in dict.fromkeys(languages):
                if language not in allowed:
                    yield f"evaluations.{name}.languages: {not_one_of(language, allowed)}"
            for arm in evaluation.arms or ():
                if arm not in self.arms:
                    yield f"evaluations.{name}.arms: {not_one_of(arm, self.arms)}"

    def _languages(self) -> Iterator[str]:
        known = {
            name: task
            for name, task in self._all_evaluations().items()
            if name in self.plan.evaluations
        }
        if not known or self.plan.languages is None:
            return
        if len(set(self.plan.languages)) != len(self.plan.languages):
            yield "languages: duplicate language; list each language once"
        allowed = sorted(
            {code for task in known.values() for code in task.languages} | set(self.tables.invented)
        )
        for language in self.plan.languages:
            if language not in allowed:
                yield f"languages: not in any of the evaluations: {not_one_of(language, allowed)}"
        for name, task in known.items():
            own = self.plan.evaluations[name].languages
            if own is None and not set(self.plan.languages) & {
                *task.languages,
                *self.tables.invented,
            }:
                yield (
                    f"evaluations.{name}: has none of the plan's languages; add one of: "
                    f"{', '.join(task.languages)}"
                )

    def _recipes(self) -> Iterator[str]:
        if not self._whole("recipes"):
            return
        known = self._all_evaluations()
        parts = [part for arm in self.plan.arms.values() for part in arm.parts]
        evaluations = [name for name in self.plan.evaluations if name in known]
        scored = [task for name in evaluations for task in known[name].trained_target or [name]]
        tasks = [*(part.task for part in parts), *scored]
        by_head = {part.task for part in parts if part.objective != "lm"} | set(scored)
        for name, backbone in self.plan.backbones.items():
            for task in dict.fromkeys(tasks):
                if task in self.tables.tasks:
                    try:
                        budget = self.recipes.image_budget(task, backbone)
                    except PlanError as error:
                        yield f"recipes: {error}"
                        continue
                    if task in by_head:
                        yield from self._windows(name, task)
                    yield from self._positions(name, task)
                    yield from self._dropout(name, task)
                    low, high = budget["min_pixels"], budget["max_pixels"]
                    if low and high and low > high:
                        yield (
                            f"override.{task}.min_pixels: {low} is more than max_pixels: {high}; "
                            "lower it, or raise max_pixels"
                        )
        if self._whole():
            try:
                _ = self.recipes.adapters
            except (PlanError, KeyError) as error:
                yield f"backbones: {error.args[0]}"

    def _positions(self, name: str, task: str) -> Iterator[str]:
        """Lengths beyond what a family's models have positions for."""
        backbone = self.plan.backbones[name]
        most = contract(backbone.family).max_tokens
        for key, length in self.recipes.lengths(task, backbone, "lm").items():
            if most is not None and key in ("max_length", "lm_length") and length and length > most:
                where = (
                    f"backbones.{name}.override.{task}"
                    if task in (backbone.override or {})
                    else f"override.{task}"
                )
                yield (
                    f"{where}.{key}: {length} is more than the {most} tokens of family "
                    f"{backbone.family}; lower it"
                )

    def _dropout(self, name: str, task: str) -> Iterator[str]:
        """Dropout of adapters where those of experts cannot have it."""
        backbone = self.plan.backbones[name]
        lora = backbone.tuning.mode == "lora" and contract(backbone.family).lora_parameters
        if lora and self.recipes.full(task, backbone).get("adapter_dropout"):
            yield (
                f"override.{task}.adapter_dropout: adapters of the experts of family "
                f"{backbone.family} (backbone {name}) have no dropout; set it to 0"
            )

    def _windows(self, name: str, task: str) -> Iterator[str]:
        """Question answering lengths without room for the context, or with disjoint windows."""
        if self.tables.tasks[task].format != "span":
            return
        backbone = self.plan.backbones[name]
        lengths = self.recipes.lengths(task, backbone)
        most, question, stride = (
            lengths["max_length"],
            lengths["question_length"] or 0,
            lengths["stride"] or 1,
        )
        room = most - question - FRAME_TOKENS
        path = f"override.{task}" if task in self.plan.override else f"recipes: {task}"
        if task in (backbone.override or {}):
            path = f"backbones.{name}.override.{task}"
        if room < 2:
            yield (
                f"{path}: question_length {question} and {FRAME_TOKENS} special tokens leave no "
                f"room for the context in max_length {most}; set question_length to at most "
                f"{most - FRAME_TOKENS - 2}, or raise max_length"
            )
        elif stride >= room:
            yield (
                f"{path}: stride {stride} is not smaller than the {room} tokens that max_length "
                f"{most} leaves for the context (question_length {question}, {FRAME_TOKENS} "
                f"special tokens), so windows would not overlap; set stride to at most {room - 1}"
            )

    def _contrasts(self) -> Iterator[str]:
        for name, contrast in self.plan.contrasts.items():
            known = True
            for key, arm in (("arm", contrast.arm), ("reference", contrast.reference)):
                if arm not in self.arms:
                    known = False
                    yield f"contrasts.{name}.{key}: {not_one_of(arm, self.arms)}"
            if contrast.backbone is not None:
                yield from self._between_backbones(name, contrast)
            elif contrast.arm == contrast.reference:
                yield (
                    f"contrasts.{name}: compares {contrast.arm!r} with itself; change arm or "
                    "reference"
                )
                continue
            both = [
                e
                for e in self.plan.evaluations.values()
                if e.scores(contrast.arm) and e.scores(contrast.reference)
            ]
            if known and self.plan.evaluations and not both:
                yield (
                    f"contrasts.{name}: no evaluation scores both {contrast.arm} and "
                    f"{contrast.reference}; add both to the arms of an evaluation"
                )
            for evaluation in contrast.primary or ():
                if evaluation not in self._names("evaluations"):
                    evaluations = self._names("evaluations")
                    yield f"contrasts.{name}.primary: {not_one_of(evaluation, evaluations)}"
            if known and not contrast.allow_unmatched:
                yield from self._unmatched(name, contrast)
        between = {name for name, each in self.plan.contrasts.items() if each.backbone is not None}
        allowed = [
            *(name for name in self._names("contrasts") if name not in between),
            *(f"{arm} minus none" for arm in self.arms if arm != "none"),
        ]
        if self.plan.headline is not None and self.plan.headline not in allowed:
            yield f"headline: {not_one_of(self.plan.headline, allowed)}"

    def _between_backbones(self, name: str, contrast: Contrast) -> Iterator[str]:
        """Unknown backbones of a contrast, and arms that they cannot learn."""
        for key, backbone, arm in (
            ("backbone", contrast.backbone, contrast.arm),
            ("reference_backbone", contrast.reference_backbone, contrast.reference),
        ):
            if backbone not in self._names("backbones"):
                yield f"contrasts.{name}.{key}: {not_one_of(backbone, self._names('backbones'))}"
            elif backbone in self.plan.backbones and arm in self.plan.arms:
                settings = self.plan.backbones[backbone]
                if not applicable(self.plan.arms[arm], settings, self.tables):
                    yield (
                        f"contrasts.{name}: {arm} shows images, and {backbone} "
                        f"({settings.family}) reads text only; change the arm or the backbone"
                    )

    def _unmatched(self, name: str, contrast: Contrast) -> Iterator[str]:
        arm, reference = contrast.arm, contrast.reference
        if not self._whole("backbones") or not {contrast.backbone, contrast.reference_backbone} <= {
            None,
            *self.plan.backbones,
        }:
            return
        for each in (arm, reference):
            if each not in self.plan.arms or not self._whole("arms", each):
                return
            if any(part.task not in self._trainable() for part in self.plan.arms[each].parts):
                return
        if not all(self._whole(key) for key in ("recipes", "budget", "rows", "override")):
            return
        try:
            differences = matched(self.plan, self.tables, contrast)
        except (PlanError, KeyError):
            return  # _recipes reports the missing recipe
        if differences:
            yield (
                f"contrasts.{name}: {arm} and {reference} differ in {', '.join(differences)}; make "
                "them equal (budget: {examples, updates, examples_per_step}), or set "
                "allow_unmatched: true"
            )

    def _controls(self) -> Iterator[str]:
        for kind in ("positive", "negative"):
            control = getattr(self.plan.controls, kind)
            if control is None:
                continue
            arms = [arm for arm in self.arms if arm != "none"]
            if control.arm not in arms:
                yield f"controls.{kind}.arm: {not_one_of(control.arm, arms)}"
            evaluations = self._names("evaluations")
            if control.evaluation not in evaluations:
                yield f"controls.{kind}.evaluation: {not_one_of(control.evaluation, evaluations)}"
            elif control.evaluation in self.plan.evaluations and not self.plan.evaluations[
                control.evaluation
            ].scores(control.arm):
                yield (
                    f"controls.{kind}: {control.evaluation} does not score {control.arm}; add it "
                    f"to evaluations.{control.evaluation}.arms"
                )

    def _unused(self) -> Iterator[str]:
        """Settings of tasks that the plan does not read would have no effect."""
        used = used_tasks(self.plan, self.tables)
        whole = all(self._whole(key) for key in ("arms", "evaluations", "backbones"))
        named: list[tuple[str, Mapping[str, Any]]] = [
            ("rows", self.plan.rows.tasks),
            ("override", self.plan.override),
            ("splits", self.plan.splits),
        ]
        named += [
            (f"backbones.{name}.override", one.override or {})
            for name, one in self.plan.backbones.items()
        ]
        for key, entries in named:
            for name in entries:
                if name not in self.tables.tasks:
                    yield f"{key}.{name}: {not_one_of(name, used)}"
                elif name not in used and whole:
                    yield (
                        f"{key}.{name}: the plan does not use this task; allowed: {', '.join(used)}"
                    )

    def _splits(self) -> Iterator[str]:
        for name, splits in self.plan.splits.items():
            task = self.tables.tasks.get(name)
            if task is None:
                continue
            for role in ("train", "select", "test"):
                given = getattr(splits, role)
                if given is None:
                    continue
                path = f"splits.{name}.{role}"
                other = self.tables.tasks.get(given.task) if given.task else task
                if other is None:
                    yield f"{path}.task: {not_one_of(given.task, self.tables.tasks)}"
                elif not other.splits:
                    yield f"{path}.task: {other.name} has no data source; choose another task"
                elif (other.format, other.labels) != (task.format, task.labels):
                    yield (
                        f"{path}.task: {other.name} ({other.format}; "
                        f"{', '.join(other.labels) or 'no labels'}) cannot replace {name} "
                        f"({task.format}; {', '.join(task.labels) or 'no labels'})"
                    )
        for task_name in used_tasks(self.plan, self.tables):
            for role in ("train", "select"):
                try:
                    choice(self.plan, self.tables, task_name, role)
                except PlanError as error:
                    yield str(error)
