"""Schedules: a plan that runs repeatedly, with what each firing resolves again and what it adds.

A schedule's folder in the store, `schedules/<name>/`, has `plan.yaml`, `schedule.json` and one file
per firing. The caller names a firing by the environment variable `XSTILTS_FIRING`.
"""

import os
import random
import re
import time
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xstilts.analysis.alpha_spending import Spending, confidence_at
from xstilts.errors import InfrastructureError, PlanError
from xstilts.input_files import parse_yaml
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.schema import Plan
from xstilts.runs import task_files as task_file_store
from xstilts.sources.hub import COMMIT_HASH
from xstilts.store.store import Store
from xstilts.tasks.private import sha256_of

Pair = tuple[int, int]
#: A claim to a firing's number is taken up within seconds, or its process was killed.
CLAIM_SECONDS = 60.0
#: How often a firing claims a number. With pauses of a second, longer than CLAIM_SECONDS.
MOST_CLAIMS = 120


class Repeat(BaseModel):
    """What changes between the firings of a schedule.

    follow: what each firing resolves again; the rest stays as it was when the schedule was applied.
    add_seeds: seeds that each firing adds. spending: how interim analyses share the plan's error
    rate; None: each tests at the plan's level. reuse: None means the plan's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    follow: tuple[Literal["data", "models", "environment"], ...] = ()
    add_seeds: Annotated[int, Field(ge=0, le=16)] = 0
    spending: Spending | None = None
    reuse: Literal["exact", "recipe", "none"] | None = None


def further_seeds(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """The pairs of (intermediate, target) seeds with `count` more seeds.

    If the pairs cross intermediate with target seeds, the seed that varies gets new values (the
    intermediate one if both vary), which are crossed too. Otherwise each new pair has two new
    seeds.
    """
    seeds = list(pairs)
    for _ in range(count):
        first, second = sorted({i for i, _ in seeds}), sorted({t for _, t in seeds})
        crossed = len(seeds) > 1 and set(seeds) == set(product(first, second))
        if crossed and len(first) > 1:
            seeds += [(first[-1] + 1, t) for t in second]
        elif crossed:
            seeds += [(first[0], second[-1] + 1)]
        else:
            seeds += [(first[-1] + 1, second[-1] + 1)]
    return seeds


def repeated(
    text: str,
    repeat: Repeat,
    number: int,
    models: Mapping[str, str],
    files: Mapping[str, str] | None = None,
) -> str:
    """The plan's text for firing `number` (from 0): seeds added, `reuse` set, backbones at their
    pinned commits.

    Args:
        text: the plan as written.
        repeat: what the schedule repeats.
        number: the firing, from 0.
        models: backbone → commit.
        files: path → text of the plan's private task files.
    """
    plan, raw = load_plan(f"{text}\n", task_files=files or {}), parse_yaml(text)
    added = number if repeat.spending is None else min(number, repeat.spending.looks - 1)
    if repeat.add_seeds and added:
        raw["seeds"] = [list(pair) for pair in further_seeds(plan.seeds, repeat.add_seeds * added)]
    if repeat.spending is not None:
        first = len({seed for seed, _ in plan.seeds})
        raw["confidence"] = confidence_at(
            repeat.spending, number, first, repeat.add_seeds, plan.confidence
        )
    if repeat.reuse is not None:
        raw["reuse"] = repeat.reuse
    for name, revision in models.items():
        raw["backbones"][name]["revision"] = revision
    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)


def cautions(repeat: Repeat) -> list[str]:
    """Warnings for readers of the firings' reports."""
    if not repeat.add_seeds or repeat.spending is not None:
        return []
    return [
        "add_seeds: every firing is an interim analysis, so the error rate over all of them "
        "exceeds the plan's (11 analyses at 95%, one more seed each: 16%); "
        "`spending: {looks: N}` keeps it over N firings (docs/schedules.md)"
    ]


def floating_models(plan: Plan) -> list[str]:
    """Backbones whose revision is a branch or a tag, which may point to another commit later."""
    return [
        name
        for name, backbone in plan.backbones.items()
        if backbone.hub is not None and not COMMIT_HASH.fullmatch(backbone.revision or "main")
    ]


def reasons(plan: Plan, repeat: Repeat) -> tuple[list[str], list[str]]:
    """(why later firings have something to compute, which settings have no effect), in words."""
    reuse = repeat.reuse or plan.reuse
    why, idle = [], []
    if reuse == "none":
        why.append("reuse: none computes every step again")
    if repeat.add_seeds:
        why.append(f"add_seeds: {repeat.add_seeds} trains and scores new seeds each time")
    if "data" in repeat.follow:
        why.append("follow: data computes again what depends on a changed data set")
    if "models" in repeat.follow:
        names = floating_models(plan)
        if names:
            changed = ", ".join(names)
            why.append(f"follow: models computes again if the hub has a new commit of {changed}")
        else:
            idle.append("follow: models has no effect: no backbone's revision is a branch or a tag")
    if "environment" in repeat.follow:
        if reuse == "recipe":
            idle.append(
                "follow: environment has no effect with reuse: recipe, which ignores library "
                "versions"
            )
        else:
            why.append(
                "follow: environment computes again after the images changed and the schedule was "
                "applied again"
            )
    return why, idle


def held(plan: Plan, repeat: Repeat, expansion: Expansion) -> dict[str, Any]:
    """What a schedule pins because it does not follow it: the backbones' commits and the data's
    identities, as they are now.
    """
    pinned: dict[str, Any] = {}
    if "models" not in repeat.follow:
        pinned["models"] = {
            name: _commit_of(name, plan, expansion) for name in floating_models(plan)
        }
    if "data" not in repeat.follow:
        pinned["data"] = [dict(identity) for identity in expansion.identities]
    return pinned


def _commit_of(name: str, plan: Plan, expansion: Expansion) -> str:
    """The commit that an expansion resolved a backbone's branch or tag to."""
    hub = plan.backbones[name].hub
    for group in expansion.groups:
        if group["backbone"] != name:
            continue
        steps = [expansion.steps[fp] for fp in (*group["finetune"], *group["score"])]
        parents = [expansion.steps[fp] for step in steps for fp in step.parents.values()]
        for step in (*steps, *parents):
            for key in ("backbone", "processor"):
                identity = step.spec.get(key)
                if isinstance(identity, Mapping) and identity.get("hub") == hub:
                    if "revision" not in identity:
                        raise PlanError(
                            f"backbones.{name}: the mirror has {hub} without a recorded commit, so "
                            "the schedule cannot pin it; run xstilts mirror pull, or add models "
                            "to `follow`"
                        )
                    return str(identity["revision"])
    raise PlanError(
        f"backbones.{name}: no step of the plan uses it, so the schedule cannot pin its commit; "
        "add models to `follow` or remove the backbone"
    )


def folder_of(name: str) -> str:
    """The key prefix of a schedule's folder."""
    return f"schedules/{name}"


def stored(store: Store, name: str) -> tuple[str, dict[str, Any]] | None:
    """(plan's text, schedule.json) from the store; None if there is no such schedule."""
    text = store.get_bytes_at(f"{folder_of(name)}/plan.yaml")
    document = store.get_json(f"{folder_of(name)}/schedule.json")
    return None if text is None or document is None else (text.decode(), document)


def document_of(
    mirror: str,
    repeat: Repeat,
    pinned: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The content of schedule.json, with the digests of the plan's private task files (`files`:
    path → text).
    """
    return {**_document(mirror, repeat, files), "held": dict(pinned)}


def _document(mirror: str, repeat: Repeat, files: Mapping[str, str] | None) -> dict[str, Any]:
    digests = {path: sha256_of(text) for path, text in (files or {}).items()}
    tasks = {"tasks": digests} if digests else {}
    return {"mirror": mirror, **repeat.model_dump(mode="json"), **tasks}


def _repeat(store: Store, name: str, document: Mapping[str, Any]) -> Repeat:
    """The Repeat that a schedule's schedule.json describes."""
    try:
        return Repeat.model_validate(
            {key: document[key] for key in Repeat.model_fields if key in document}
        )
    except ValidationError as error:
        key, first = f"{folder_of(name)}/schedule.json", error.errors()[0]
        problem = f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}"
        raise store.corrupt(key, problem) from error


def number_of(store: Store, run: str, document: Mapping[str, Any]) -> int:
    """The number of the firing that a run belongs to. document: its run.json."""
    if "firing" not in document:
        raise store.corrupt(f"runs/{run}/run.json", "`firing` is missing")
    return int(document["firing"])


def same(
    before: tuple[str, Mapping[str, Any]] | None,
    text: str,
    mirror: str,
    repeat: Repeat,
    files: Mapping[str, str] | None = None,
) -> bool:
    """Whether a stored schedule has this plan, mirror and Repeat. If so, what it pins stays
    pinned.
    """
    if before is None:
        return False
    settings = {key: value for key, value in before[1].items() if key != "held"}
    return before[0] == text and settings == _document(mirror, repeat, files)


def put(
    store: Store,
    name: str,
    text: str,
    document: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
) -> None:
    """Writes a schedule's plan, document and private task files.

    Its firings stay, so later ones add to their seeds. document: what `document_of` returned for
    the same files.
    """
    task_file_store.put(store, folder_of(name), files or {})
    store.put_bytes_at(f"{folder_of(name)}/plan.yaml", text.encode())
    store.put_json(f"{folder_of(name)}/schedule.json", dict(document))


def put_images(store: Store, name: str, images: Mapping[str, str]) -> None:
    """Records component → image of a schedule, unless it is recorded already. Each firing copies
    it.
    """
    key = f"{folder_of(name)}/images.json"
    if (store.get_json(key) or {}).get("images") != images:
        store.put_json(key, {"images": dict(images)})


def task_files(store: Store, name: str) -> dict[str, str]:
    """path → text of a schedule's private task files."""
    document = store.get_json(f"{folder_of(name)}/schedule.json") or {}
    return task_file_store.get(store, folder_of(name), document.get("tasks", {}))


def firings(store: Store, name: str) -> list[dict[str, Any]]:
    """The firings of a schedule so far, {run, number, at}, oldest first."""
    records = [store.get_json(key) for key in store.list(f"{folder_of(name)}/firings/")]
    return sorted((record for record in records if record), key=lambda record: record["number"])


def current(store: Store, name: str) -> str | None:
    """The run of this firing, or None before its plan step created it."""
    record = store.get_json(f"{folder_of(name)}/firings/{_firing(name)}.json")
    return None if record is None else str(record["run"])


def fire(store: Store, name: str) -> tuple[str, str, dict[str, Any]]:
    """(run, plan's text, further fields of its run.json) of this firing. A retry of the plan step
    gets the same run.

    Raises:
        PlanError: there is no such schedule, or XSTILTS_FIRING is not set.
    """
    firing, schedule = _firing(name), stored(store, name)
    if schedule is None:
        raise PlanError(
            f"{store.uri}/{folder_of(name)}: no such schedule; create it with "
            "`xstilts schedule apply`"
        )
    text, document = schedule
    repeat = _repeat(store, name, document)
    pinned = dict(document["held"])
    record = _recorded(store, name, firing)
    number = int(record["number"])
    details = {
        "mirror": document["mirror"],
        "schedule": name,
        "firing": number,
        "fired_by": firing,
        "held": pinned,
    }
    if (images := store.get_json(f"{folder_of(name)}/images.json")) is not None:
        details["images"] = images["images"]
    files = task_files(store, name)
    plan = repeated(text, repeat, number, pinned.get("models", {}), files)
    return str(record["run"]), plan, details


def _recorded(store: Store, name: str, firing: str, pause: float = 1.0) -> dict[str, Any]:
    """The record of a firing, with the next free number if it has none yet.

    Firings may start at once, and not every S3 server has conditional writes. So a firing first
    writes a claim to the number, and takes the number only if it then sees neither another claim
    nor a record with it: of two firings, the one that lists last sees the other's. It withdraws and
    tries again after a random pause of `pause` seconds on average. A claim that is older than
    CLAIM_SECONDS is of a firing that was killed.

    Raises:
        InfrastructureError: others held the number all the time.
    """
    key = f"{folder_of(name)}/firings/{firing}.json"
    for _ in range(MOST_CLAIMS):
        if (record := store.get_json(key)) is not None:
            return dict(record)
        number = len(firings(store, name))
        claims = f"{folder_of(name)}/claims/{number}/"
        own = f"{claims}{firing}"
        store.put_json(own, {})
        written = {claim: at for claim, (_, at) in store.written(claims).items()}
        alive = [claim for claim, at in written.items() if written[own] - at < CLAIM_SECONDS]
        if alive == [own] and len(firings(store, name)) == number:
            stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            record = {"run": f"{name}-{stamp}-{firing[:8]}", "number": number, "at": time.time()}
            store.put_json(key, record)
            store.delete(own)  # after the record, which others see from now on
            return record
        store.delete(own)
        time.sleep(random.uniform(0, 2 * pause))
    raise InfrastructureError(
        f"{store.uri}/{folder_of(name)}: another firing is starting; run this one again later"
    )


def pin_environment(
    store: Store, name: str, run: Mapping[str, Any], text: str, environment: Mapping[str, str]
) -> None:
    """Pins the environment of the first firing after a schedule was applied.

    Nothing is pinned if the schedule follows the environment or ignores it (`reuse`), or if the
    firing is older than the schedule's present content. The environment is kept in the schedule's
    folder because garbage collection may remove the run's.

    Args:
        store: the run's store.
        name: the schedule.
        run: the firing's run.json.
        text: the firing's plan.
        environment: the firing's numeric environment.
    """
    schedule = stored(store, name)
    if schedule is None:
        return
    plan, document = schedule
    repeat, files = _repeat(store, name, document), task_files(store, name)
    pinned, number = document["held"], number_of(store, str(run["run"]), run)
    expected = (
        repeated(plan, repeat, number, pinned.get("models", {}), files),
        document["mirror"],
        pinned,
    )
    exact = (repeat.reuse or load_plan(f"{plan}\n", task_files=files).reuse) == "exact"
    if (
        exact
        and "environment" not in (*repeat.follow, *pinned)
        and expected == (text, run["mirror"], run.get("held"))
    ):
        with_environment = {**pinned, "environment": dict(environment)}
        store.put_json(f"{folder_of(name)}/schedule.json", {**document, "held": with_environment})


def refuse_changes(pinned: Mapping[str, Any], expansion: Expansion) -> None:
    """Refuses a firing whose environment or data differs from what the schedule pinned.

    Raises:
        PlanError: what changed, and how to follow it.
    """
    environment = expansion.environment
    versions = [
        f"{name} {version} → {environment.get(name)}"
        for name, version in pinned.get("environment", {}).items()
        if environment.get(name) != version
    ]
    if versions:
        raise PlanError(
            f"the environment changed ({', '.join(versions)}) and this schedule does not follow "
            "it: add environment to `follow`, or set `reuse: recipe`, and apply it again"
        )
    keys = ("path", "config", "split")
    before = {tuple(i[key] for key in keys): i["identity"] for i in pinned.get("data", ())}
    changed = sorted(
        {
            f"{i['path']} ({i['config']}, {i['split']})"
            for i in expansion.identities
            if before.get(tuple(i[key] for key in keys), i["identity"]) != i["identity"]
        }
    )
    if changed:
        names = ", ".join([*changed[:5], *(["…"] if len(changed) > 5 else [])])
        raise PlanError(
            f"the mirror's data changed ({names}) and this schedule does not follow it: add data "
            "to `follow` and apply it again, or use a mirror that does not change"
        )


def _firing(name: str) -> str:
    firing = os.environ.get("XSTILTS_FIRING", "")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", firing):
        raise PlanError(
            f"schedules/{name} is a schedule, not a run, and XSTILTS_FIRING={firing!r} names no "
            "firing; on a cluster the pipeline sets it, elsewhere pass runs/<run> instead"
        )
    return firing
