"""A schedule's firings: each creates its own run, adds its seeds, and follows or pins what the
schedule says.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import yaml

from xstilts.analysis.alpha_spending import Spending
from xstilts.environment import numeric_environment
from xstilts.errors import InfrastructureError, PlanError
from xstilts.plan.expand import expand
from xstilts.plan.load import load_plan
from xstilts.runs import actions, recurring
from xstilts.runs.folder import open_run, planned_ids
from xstilts.runs.recurring import Repeat, further_seeds
from xstilts.sources.mirrors import Mirror, open_mirror
from xstilts.sources.source_files import identity
from xstilts.store.server import serve
from xstilts.store.store import Store
from xstilts.tasks.task import Source

WriteMirror = Callable[..., Path]
PLAN = (Path(__file__).parents[1] / "e2e" / "small.yaml").read_text()
HUB_PLAN = PLAN.replace(
    "    build: {family: llava, seed: 0, tokenizer: {from: [miniature_text], byte_fallback: true}, pretrain: {updates: 20}}",
    "    hub: org/model\n    family: llava",
)


@pytest.fixture(scope="module")
def mirror(write_mirror: WriteMirror, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mirror(tmp_path_factory.mktemp("mirror"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    before = dict(os.environ)
    with serve(tmp_path_factory.mktemp("s3")) as server:
        os.environ.update(server.env() | {"XSTILTS_CACHE": str(tmp_path_factory.mktemp("cache"))})
        yield Store.open("s3://xstilts/store")
    os.environ.clear()
    os.environ.update(before)


def applied(
    store: Store, name: str, repeat: Repeat, mirror: str, pinned: dict[str, object] | None = None
) -> str:
    recurring.put(store, name, PLAN, recurring.document_of(mirror, repeat, pinned or {}))
    return f"{store.uri}/schedules/{name}"


def fired(uri: str, firing: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XSTILTS_FIRING", firing)
    actions.plan(uri)
    return open_run(uri)[1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([(0, 0)], [(0, 0), (1, 1), (2, 2)]),
        ([(0, 0), (1, 1)], [(0, 0), (1, 1), (2, 2), (3, 3)]),
        ([(0, 0), (1, 0)], [(0, 0), (1, 0), (2, 0), (3, 0)]),
        ([(0, 0), (0, 1)], [(0, 0), (0, 1), (0, 2), (0, 3)]),
        (
            [(0, 0), (0, 1), (1, 0), (1, 1)],
            [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)],
        ),
        ([(4, 7), (9, 2)], [(4, 7), (9, 2), (10, 8), (11, 9)]),
    ],
    ids=["one", "pairs", "intermediate", "target", "crossed", "odd"],
)
def test_seeds_grow_in_the_layout_of_the_plan(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    assert further_seeds(before, 2) == after


def test_each_firing_creates_its_own_run_with_more_seeds(
    store: Store, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = applied(store, "growing", Repeat(add_seeds=1, follow=("data",)), str(mirror))
    folders = [fired(uri, f"firing-{number}", monkeypatch) for number in range(3)]
    assert len(set(folders)) == 3
    plans = [
        load_plan((store.get_bytes_at(f"{folder}/plan.yaml") or b"").decode()) for folder in folders
    ]
    assert [plan.seeds for plan in plans] == [
        ((0, 0), (0, 1)),
        ((0, 0), (0, 1), (0, 2)),
        ((0, 0), (0, 1), (0, 2), (0, 3)),
    ]
    assert [firing["number"] for firing in recurring.firings(store, "growing")] == [0, 1, 2]


def test_firings_share_the_fingerprints_of_their_common_steps(
    store: Store, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = applied(store, "sharing", Repeat(add_seeds=1, follow=("data",)), str(mirror))
    first, second = (
        set((store.get_json(f"{fired(uri, firing, monkeypatch)}/expanded.json") or {})["steps"])
        for firing in "ab"
    )
    assert first < second


def test_a_retried_plan_step_resumes_the_same_run(
    store: Store, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = applied(store, "retried", Repeat(add_seeds=1, follow=("data",)), str(mirror))
    assert fired(uri, "once", monkeypatch) == fired(uri, "once", monkeypatch)
    assert len(recurring.firings(store, "retried")) == 1


def test_every_component_of_a_firing_finds_its_run(
    store: Store, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = applied(store, "found", Repeat(follow=("data",)), str(mirror))
    folder = fired(uri, "one", monkeypatch)
    run_uri = f"{store.uri}/{folder}"
    assert planned_ids(uri)["groups"] == planned_ids(run_uri)["groups"]
    seen = []
    actions.finetune(
        uri,
        planned_ids(uri)["groups"][0],
        lambda worker, config, _: seen.append(config["run_uri"]),
    )
    assert seen == [run_uri]  # remote workers do not know the firing


def test_a_schedule_without_a_named_firing_is_refused(
    store: Store, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = applied(store, "unnamed", Repeat(), str(mirror))
    monkeypatch.delenv("XSTILTS_FIRING", raising=False)
    with pytest.raises(PlanError, match="XSTILTS_FIRING"):
        actions.plan(uri)


def test_a_schedule_that_does_not_exist_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XSTILTS_FIRING", "one")
    with pytest.raises(PlanError, match="no such schedule"):
        actions.plan(f"{store.uri}/schedules/nowhere")


def test_changed_data_is_refused_unless_it_is_followed(
    store: Store, tmp_path: Path, write_mirror: WriteMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_mirror(tmp_path)
    now = expand(load_plan(PLAN), open_mirror(str(folder)), numeric_environment())
    uri = applied(
        store,
        "holding",
        Repeat(add_seeds=1),
        str(folder),
        recurring.held(load_plan(PLAN), Repeat(), now),
    )
    fired(uri, "before", monkeypatch)
    write_mirror(folder, "other rows")
    with pytest.raises(PlanError, match=r"the mirror's data changed.*follow"):
        fired(uri, "after", monkeypatch)


@pytest.mark.parametrize(("follow", "refused"), [((), True), (("environment",), False)])
def test_a_changed_environment_is_followed_or_refused(
    store: Store,
    mirror: Path,
    monkeypatch: pytest.MonkeyPatch,
    follow: tuple[str, ...],
    refused: bool,
) -> None:
    name = f"environment-{refused}"
    repeat = Repeat.model_validate({"follow": ("data", *follow), "add_seeds": 1})
    uri = applied(store, name, repeat, str(mirror))
    fired(uri, "before", monkeypatch)
    now = {**numeric_environment(), "torch": "99.0"}
    monkeypatch.setattr("xstilts.environment.numeric_environment", lambda: now)
    if refused:
        with pytest.raises(PlanError, match=r"torch .* → 99\.0.*follow"):
            fired(uri, "after", monkeypatch)
    else:
        fired(uri, "after", monkeypatch)


def test_a_schedule_that_is_applied_again_pins_the_new_environment(
    store: Store, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New images and a new plan: the environment of earlier firings no longer counts."""
    repeat = Repeat.model_validate({"follow": ("data",), "add_seeds": 1})
    fired(applied(store, "anew", repeat, str(mirror)), "before", monkeypatch)
    now = {**numeric_environment(), "torch": "99.0"}
    monkeypatch.setattr("xstilts.environment.numeric_environment", lambda: now)
    uri = applied(store, "anew", repeat, str(mirror))
    fired(uri, "after", monkeypatch)
    stored = recurring.stored(store, "anew")
    assert stored is not None
    assert stored[1]["held"]["environment"]["torch"] == "99.0"
    monkeypatch.setattr(
        "xstilts.environment.numeric_environment", lambda: {**now, "torch": "100.0"}
    )
    with pytest.raises(PlanError, match=r"torch 99\.0 → 100\.0"):
        fired(uri, "later", monkeypatch)


def test_a_firing_of_the_previous_plan_does_not_pin_its_environment(
    store: Store, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its plan step is still running in the old images while the schedule is applied again."""
    repeat = Repeat.model_validate({"follow": ("data",)})
    folder = fired(applied(store, "overtaken", repeat, str(mirror)), "before", monkeypatch)
    run = store.get_json(f"{folder}/run.json") or {}
    text = (store.get_bytes_at(f"{folder}/plan.yaml") or b"").decode()
    after = recurring.document_of(str(mirror), repeat, {})
    recurring.put(store, "overtaken", PLAN.replace("name: small", "name: other"), after)
    recurring.pin_environment(store, "overtaken", run, text, {"torch": "1.0"})
    assert recurring.stored(store, "overtaken") == (
        PLAN.replace("name: small", "name: other"),
        after,
    )
    recurring.put(store, "overtaken", PLAN, after)
    recurring.pin_environment(store, "overtaken", run, text, {"torch": "1.0"})
    stored = recurring.stored(store, "overtaken")
    assert stored is not None
    assert stored[1]["held"] == {"environment": {"torch": "1.0"}}


def test_the_environment_stays_pinned_after_the_first_run_is_removed(
    store: Store, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = applied(
        store,
        "collected",
        Repeat.model_validate({"follow": ("data",), "add_seeds": 1}),
        str(mirror),
    )
    store.delete(f"{fired(uri, 'before', monkeypatch)}/")
    now = {**numeric_environment(), "torch": "99.0"}
    monkeypatch.setattr("xstilts.environment.numeric_environment", lambda: now)
    with pytest.raises(PlanError, match="the environment changed"):
        fired(uri, "after", monkeypatch)


def test_models_that_are_not_followed_stay_at_their_commit() -> None:
    text = recurring.repeated(HUB_PLAN, Repeat(), 3, {"tiny-llava": "a" * 40})
    assert yaml.safe_load(text)["backbones"]["tiny-llava"]["revision"] == "a" * 40
    assert load_plan(text).seeds == load_plan(PLAN).seeds


def test_the_pinned_commit_is_the_one_that_the_plan_resolved(
    mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xstilts.plan.model_identity._commit", lambda name, hub, revision: "b" * 40)
    plan = load_plan(HUB_PLAN)
    expansion = expand(plan, open_mirror(str(mirror)), numeric_environment())
    assert recurring.held(plan, Repeat(follow=("data",)), expansion) == {
        "models": {"tiny-llava": "b" * 40}
    }
    assert recurring.held(plan, Repeat(follow=("data", "models")), expansion) == {}


def test_the_hubs_data_is_read_at_the_pinned_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xstilts.sources.mirrors._hub_revision", lambda path: "new")
    mirror = Mirror("hub").at(
        [{"path": "org/set", "identity": {"hub": "org/set", "revision": "old"}}]
    )
    assert identity(mirror, Source("org/set", None, "train"), "en")["revision"] == "old"
    assert identity(mirror, Source("org/other", None, "train"), "en")["revision"] == "new"


@pytest.mark.parametrize(
    ("repeat", "why", "idle"),
    [
        (Repeat(), 0, 0),
        (Repeat(reuse="none"), 1, 0),
        (Repeat(add_seeds=2), 1, 0),
        (Repeat(follow=("data", "environment")), 2, 0),
        (Repeat(follow=("models",)), 0, 1),
        (Repeat(follow=("environment",), reuse="recipe"), 0, 1),
    ],
)
def test_a_schedule_explains_what_its_firings_compute_and_what_has_no_effect(
    repeat: Repeat, why: int, idle: int
) -> None:
    effective, ineffective = recurring.reasons(load_plan(PLAN), repeat)
    assert (len(effective), len(ineffective)) == (why, idle)


def test_firings_that_start_at_once_take_different_numbers(store: Store) -> None:
    start = Barrier(4)

    def fire(firing: int) -> int:
        start.wait()
        return int(recurring._recorded(store, "crowded", f"firing-{firing}", pause=0.1)["number"])

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(fire, range(4))) == [0, 1, 2, 3]
    assert [record["number"] for record in recurring.firings(store, "crowded")] == [0, 1, 2, 3]
    assert store.list("schedules/crowded/claims/") == []


def test_the_claim_of_a_firing_that_is_starting_is_respected_and_a_killed_one_s_is_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_json("schedules/killed/claims/0/of-another", {})
    monkeypatch.setattr(recurring, "MOST_CLAIMS", 2)
    with pytest.raises(InfrastructureError, match="another firing is starting"):
        recurring._recorded(store, "killed", "mine", pause=0.0)
    assert recurring.firings(store, "killed") == []
    monkeypatch.setattr(recurring, "CLAIM_SECONDS", 0.5)
    time.sleep(1.1)  # the server's clock has seconds
    assert recurring._recorded(store, "killed", "mine", pause=0.0)["number"] == 0


def test_following_models_counts_only_backbones_at_a_branch_or_tag() -> None:
    assert recurring.floating_models(load_plan(HUB_PLAN)) == ["tiny-llava"]
    pinned = HUB_PLAN.replace("hub: org/model", f"hub: org/model\n    revision: {'a' * 40}")
    assert recurring.floating_models(load_plan(pinned)) == []


def test_a_schedule_is_the_same_until_its_plan_mirror_or_settings_change(
    store: Store,
) -> None:
    recurring.put(
        store, "steady", PLAN, recurring.document_of("hub", Repeat(add_seeds=1), {"data": []})
    )
    stored = recurring.stored(store, "steady")
    assert recurring.same(stored, PLAN, "hub", Repeat(add_seeds=1))
    assert not recurring.same(stored, PLAN + "\n", "hub", Repeat(add_seeds=1))
    assert not recurring.same(stored, PLAN, "s3://other/mirror", Repeat(add_seeds=1))
    assert not recurring.same(stored, PLAN, "hub", Repeat(add_seeds=2))


def test_a_schedule_that_adds_seeds_without_spending_warns_of_the_error_rate() -> None:
    assert (
        "11 analyses at 95%, one more seed each: 16%" in recurring.cautions(Repeat(add_seeds=1))[0]
    )
    assert recurring.cautions(Repeat(add_seeds=1, spending=Spending(looks=11))) == []
    assert recurring.cautions(Repeat(follow=("data",))) == []


def test_each_firing_spends_its_share_of_alpha_and_the_last_one_adds_no_seeds() -> None:
    repeat = Repeat(add_seeds=2, spending=Spending(looks=3))
    plans = [load_plan(recurring.repeated(f"{PLAN}", repeat, number, {})) for number in range(5)]
    assert [len({target for _, target in plan.seeds}) for plan in plans] == [2, 4, 6, 6, 6]
    levels = [plan.confidence for plan in plans]
    assert levels[0] > levels[1] > levels[2] == levels[3] == levels[4] > 0.95
    assert sum(1 - level for level in levels[:3]) == pytest.approx(0.05)
