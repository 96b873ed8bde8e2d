"""A plan that is run again and again: what each firing repeats, what it resolves anew, and what it
adds.

A schedule's folder in the store, `schedules/<name>/`, holds `plan.yaml`, `schedule.json` and one
file for each firing, named by an id that whoever fires it gives: `XSTILTS_FIRING` in the
environment. Nothing here knows what that is.
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from xstilts.analysis.alpha_spending import Spending, confidence_at
from xstilts.errors import PlanError
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.schema import Plan
from xstilts.sources.hub import COMMIT_HASH
from xstilts.store.store import Store

Pair = tuple[int, int]


class Repeat(BaseModel):
    """Why a plan is run again. follow: what is resolved anew each time; the rest is held as it
    was when the schedule was made. add_seeds: seeds more than the time before. spending: how the
    looks share the plan's error rate; None: each tests at the plan's level. reuse: None means
    the plan's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    follow: tuple[Literal["data", "models", "environment"], ...] = ()
    add_seeds: Annotated[int, Field(ge=0, le=16)] = 0
    spending: Spending | None = None
    reuse: Literal["exact", "recipe", "none"] | None = None


def further_seeds(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """The pairs of (intermediate, target) seeds with `count` seeds more. Of pairs that cross
    some intermediate seeds with some target seeds, the seed that varies grows (the intermediate
    one, when both do) and is crossed again; others get a new pair whose two seeds are both new.
    """
    found = list(pairs)
    for _ in range(count):
        first, second = sorted({i for i, _ in found}), sorted({t for _, t in found})
        crossed = len(found) > 1 and set(found) == set(product(first, second))
        if crossed and len(first) > 1:
            found += [(first[-1] + 1, t) for t in second]
        elif crossed:
            found += [(first[0], second[-1] + 1)]
        else:
            found += [(first[-1] + 1, second[-1] + 1)]
    return found


def repeated(text: str, repeat: Repeat, number: int, models: Mapping[str, str]) -> str:
    """The plan of firing `number` (from 0): seeds added, `reuse` set, backbones at the commits
    that are held.
    """
    plan, raw = load_plan(f"{text}\n"), yaml.safe_load(text)
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
    """What a reader of the firings' reports must know."""
    if not repeat.add_seeds or repeat.spending is not None:
        return []
    return [
        "add_seeds: every firing looks at the results again, and an error at any of them is more likely than the level says "
        "(11 looks at 95 %, one seed more at each: 16 %); spending: {looks: N} keeps the level over N firings "
        "(docs/schedules.md)"
    ]


def floating_models(plan: Plan) -> list[str]:
    """Backbones whose revision is a branch or a tag, so that another commit may stand behind it
    next time.
    """
    return [
        n
        for n, b in plan.backbones.items()
        if b.hub is not None and not COMMIT_HASH.fullmatch(b.revision or "main")
    ]


def reasons(plan: Plan, repeat: Repeat) -> tuple[list[str], list[str]]:
    """(why a firing after the first has something to compute, what of the schedule gives it
    nothing), in words.
    """
    reuse = repeat.reuse or plan.reuse
    why, idle = [], []
    if reuse == "none":
        why.append("reuse: none makes every step again")
    if repeat.add_seeds:
        why.append(f"add_seeds: {repeat.add_seeds} trains and scores with new seeds each time")
    if "data" in repeat.follow:
        why.append("follow: data computes what depends on a data set that changed")
    if "models" in repeat.follow:
        names = floating_models(plan)
        if names:
            why.append(f"follow: models computes again when the hub's {', '.join(names)} moved on")
        else:
            idle.append(
                "follow: models has nothing to follow: no backbone's revision is a branch or a tag"
            )
    if "environment" in repeat.follow:
        if reuse == "recipe":
            idle.append(
                "follow: environment has no effect beside reuse: recipe, which ignores library versions"
            )
        else:
            why.append(
                "follow: environment computes again when the images were changed and the schedule applied again"
            )
    return why, idle


def held(plan: Plan, repeat: Repeat, expansion: Expansion) -> dict[str, Any]:
    """What a schedule does not follow, as it is now: commits of the backbones, identities of the
    data.
    """
    found: dict[str, Any] = {}
    if "models" not in repeat.follow:
        found["models"] = {
            name: _commit_of(name, plan, expansion) for name in floating_models(plan)
        }
    if "data" not in repeat.follow:
        found["data"] = [dict(identity) for identity in expansion.identities]
    return found


def _commit_of(name: str, plan: Plan, expansion: Expansion) -> str:
    """The commit that an expansion found behind a backbone's branch or tag, on the hub or in the
    mirror.
    """
    for group in expansion.groups:
        if group["backbone"] == name:
            own = [
                expansion.steps[fingerprint]
                for fingerprint in (*group["finetune"], *group["score"])
            ]
            for step in (
                *own,
                *(expansion.steps[fp] for one in own for fp in one.parents.values()),
            ):
                for key in ("backbone", "processor"):
                    identity = step.spec.get(key)
                    if (
                        isinstance(identity, Mapping)
                        and identity.get("hub") == plan.backbones[name].hub
                    ):
                        return str(identity["revision"])
    raise PlanError(
        f"backbones.{name}: no step of the plan reads it, so there is no commit to hold; follow models"
    )


def folder_of(name: str) -> str:
    """The key prefix of a schedule's folder."""
    return f"schedules/{name}"


def stored(store: Store, name: str) -> tuple[str, dict[str, Any]] | None:
    """(plan's text, schedule.json) as they stand in the store, or None."""
    text, document = (
        store.get_bytes_at(f"{folder_of(name)}/plan.yaml"),
        store.get_json(f"{folder_of(name)}/schedule.json"),
    )
    return None if text is None or document is None else (text.decode(), document)


def document_of(mirror: str, repeat: Repeat, holds: Mapping[str, Any]) -> dict[str, Any]:
    """What schedule.json holds."""
    return {"mirror": mirror, **repeat.model_dump(mode="json"), "held": dict(holds)}


def _repeat(document: Mapping[str, Any]) -> Repeat:
    """What schedule.json says of why it runs."""
    return Repeat.model_validate(
        {key: document[key] for key in Repeat.model_fields if key in document}
    )


def same(
    before: tuple[str, Mapping[str, Any]] | None, text: str, mirror: str, repeat: Repeat
) -> bool:
    """Whether a stored schedule says what it should; what it holds stays held for as long as it
    does.
    """
    if before is None:
        return False
    stands = {key: value for key, value in before[1].items() if key != "held"}
    return before[0] == text and stands == {"mirror": mirror, **repeat.model_dump(mode="json")}


def put(store: Store, name: str, text: str, document: Mapping[str, Any]) -> None:
    """Writes a schedule's folder. Its firings stay: seeds are added to those that were there
    before.
    """
    store.put_bytes_at(f"{folder_of(name)}/plan.yaml", text.encode())
    store.put_json(f"{folder_of(name)}/schedule.json", dict(document))


def firings(store: Store, name: str) -> list[dict[str, Any]]:
    """The firings of a schedule so far, {run, number, at}, oldest first."""
    found = [store.get_json(key) for key in store.list(f"{folder_of(name)}/firings/")]
    return sorted((one for one in found if one), key=lambda one: one["number"])


def current(store: Store, name: str) -> str | None:
    """The run of this firing, once its plan step made it."""
    record = store.get_json(f"{folder_of(name)}/firings/{_firing(name)}.json")
    return None if record is None else str(record["run"])


def fire(store: Store, name: str) -> tuple[str, str, dict[str, Any]]:
    """(run, plan's text, what more its run.json holds) of this firing. The same firing asked
    twice, as by a step that is tried again, gives the same run. Raises PlanError when there is
    no such schedule or nothing says which firing.
    """
    firing, known = _firing(name), stored(store, name)
    if known is None:
        raise PlanError(
            f"{store.uri}/{folder_of(name)}: no such schedule; `xstilts schedule apply` writes it"
        )
    text, document = known
    repeat = _repeat(document)
    holds = dict(document["held"])
    earlier = firings(store, name)
    key = f"{folder_of(name)}/firings/{firing}.json"
    record = store.get_json(key)
    if record is None:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        record = {"run": f"{name}-{stamp}-{firing[:8]}", "number": len(earlier), "at": time.time()}
        store.put_json(key, record)
    number = int(record["number"])
    more = {
        "mirror": document["mirror"],
        "schedule": name,
        "firing": number,
        "fired_by": firing,
        "held": holds,
    }
    return str(record["run"]), repeated(text, repeat, number, holds.get("models", {})), more


def hold_environment(
    store: Store, name: str, run: Mapping[str, Any], text: str, environment: Mapping[str, str]
) -> None:
    """Writes the environment of the first firing after a schedule was put into what it holds,
    where it holds one: of a schedule that follows it, or ignores it, nothing is written. A run's
    folder may be collected; a schedule's is not. run, text: the firing's run.json and plan; one
    of before the schedule was put says nothing of what stands there now.
    """
    known = stored(store, name)
    if known is None:
        return
    plan, document = known
    repeat, holds = _repeat(document), document["held"]
    now = (
        repeated(plan, repeat, int(run["firing"]), holds.get("models", {})),
        document["mirror"],
        holds,
    )
    exact = (repeat.reuse or load_plan(f"{plan}\n").reuse) == "exact"
    if (
        exact
        and "environment" not in (*repeat.follow, *holds)
        and now == (text, run["mirror"], run["held"])
    ):
        held_now = {**holds, "environment": dict(environment)}
        store.put_json(f"{folder_of(name)}/schedule.json", {**document, "held": held_now})


def refuse_changes(holds: Mapping[str, Any], expansion: Expansion) -> None:
    """PlanError when what a schedule holds is not what this firing found: it would measure
    something else.
    """
    changed = [
        f"{name} {old} → {expansion.environment.get(name)}"
        for name, old in holds.get("environment", {}).items()
        if expansion.environment.get(name) != old
    ]
    if changed:
        raise PlanError(
            f"the environment changed ({', '.join(changed)}) and this schedule does not follow it: add environment to "
            "`follow`, or set `reuse: recipe`, and apply it again"
        )
    before = {(i["path"], i["config"], i["split"]): i["identity"] for i in holds.get("data", ())}
    moved = sorted(
        {
            f"{i['path']} ({i['config']}, {i['split']})"
            for i in expansion.identities
            if before.get((i["path"], i["config"], i["split"]), i["identity"]) != i["identity"]
        }
    )
    if moved:
        raise PlanError(
            f"the mirror's data changed ({', '.join(moved[:5])}{', …' if len(moved) > 5 else ''}) and this schedule "
            "does not follow it: add data to `follow` and apply it again, or name a mirror that stays as it is"
        )


def _firing(name: str) -> str:
    firing = os.environ.get("XSTILTS_FIRING", "")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", firing):
        raise PlanError(
            f"schedules/{name} is a schedule, not a run, and XSTILTS_FIRING ({firing!r}) does not say which firing of "
            "it this is; on a cluster it is set by the pipeline, else give runs/<run>"
        )
    return firing
