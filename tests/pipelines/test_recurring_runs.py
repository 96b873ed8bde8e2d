"""Schedules: files → recurring runs, idempotent by name; mistakes in files; warnings."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import images
from pipelines import recurring_runs
from pipelines.cli import main
from pipelines.recurring_runs import Change, Schedule, diff, load, present
from xstilts.errors import PlanError
from xstilts.runs import actions as steps
from xstilts.runs import recurring
from xstilts.store.store import Store

PLAN = Path(__file__).parents[1] / "e2e" / "small.yaml"
WEEKLY = {
    "name": "weekly", "plan": "small.yaml", "cron": "0 0 3 * * 1", "timezone": "UTC", "mirror": "s3://xstilts/mirror",
    "follow": ["data"], "add_seeds": 1,
}  # fmt: skip


def write(folder: Path, *documents: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "small.yaml").write_text(PLAN.read_text())
    file = folder / "schedules.yml"
    file.write_text(yaml.safe_dump_all(documents))
    return file


def schedule(action: str, file: Path | None, server: Any, store: Store, *more: str) -> int:
    given = [] if file is None else [str(file)]
    return main(
        [
            "schedule",
            action,
            *given,
            "--host",
            server.address,
            "--store",
            store.uri,
            "--allow-unlocked",
            *more,
        ]
    )


def everything(store: Store) -> dict[str, tuple[bytes, Any]]:
    """Every object of a store with the time it was written."""
    pages = store.client.list_objects_v2(Bucket=store.bucket, Prefix=store.prefix).get(
        "Contents", []
    )
    return {one["Key"]: (one["ETag"], one["LastModified"]) for one in pages}


def test_a_schedule_becomes_a_recurring_run_without_catch_up_one_at_a_time(
    kfp_server: Any, store: Store, tmp_path: Path
) -> None:
    assert schedule("apply", write(tmp_path, WEEKLY), kfp_server, store) == 0
    (made,) = kfp_server.kept["recurringruns"].values()
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert (made["no_catchup"], made["max_concurrency"], made["mode"]) == (True, "1", "ENABLE")
    assert made["runtime_config"] == {"parameters": {"run": f"{store.uri}/schedules/weekly"}}
    assert made["service_account"] == "xstilts-step"


def test_applied_twice_nothing_is_written_the_second_time(
    kfp_server: Any,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def written(self: Store, key: str, data: bytes) -> None:
        pytest.fail(f"{key} was written")

    held = {
        **WEEKLY,
        "name": "held",
        "follow": [],
        "add_seeds": 0,
        "reuse": "none",
        "start": "2027-01-01T02:00:00+02:00",
        "concurrency": 2,
    }
    file = write(tmp_path, WEEKLY, held)
    assert schedule("apply", file, kfp_server, store) == 0
    asked, before = len(kfp_server.requests), everything(store)
    assert len(before) == 6  # plan, schedule and images of each
    capfd.readouterr()
    monkeypatch.setattr(Store, "put_bytes_at", written)
    assert schedule("apply", file, kfp_server, store) == 0
    assert [r.method for r in kfp_server.requests[asked:] if r.method != "GET"] == []
    assert everything(store) == before
    out = capfd.readouterr().out
    assert "unchanged weekly" in out
    assert "unchanged held" in out


def test_its_firing_makes_a_run(
    kfp_server: Any,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    schedule("apply", write(tmp_path, WEEKLY), kfp_server, store)
    (made,) = kfp_server.kept["recurringruns"].values()
    monkeypatch.setenv("XSTILTS_FIRING", "7d8e0000-kfp-run")
    kfp_server.add_run("7d8e0000-kfp-run", "weeklyb9qbc-2-2799800092", recurring_run_id="x")
    steps.plan(made["runtime_config"]["parameters"]["run"])
    (firing,) = recurring.firings(store, "weekly")
    run = store.get_json(f"runs/{firing['run']}/run.json") or {}
    assert run["images"]["stage"] == images.reference("stage")
    assert (store.get_json(f"runs/{firing['run']}/run.json") or {})[
        "fired_by"
    ] == "7d8e0000-kfp-run"
    capfd.readouterr()
    assert schedule("list", None, kfp_server, store) == 0
    assert (
        f"weekly: on, 0 0 3 * * 1, fired 1 time, the last as {firing['run']} (running)"
        in capfd.readouterr().out
    )


def test_a_change_replaces_the_recurring_run_and_keeps_the_firings(
    kfp_server: Any,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    schedule("apply", write(tmp_path, WEEKLY), kfp_server, store)
    monkeypatch.setenv("XSTILTS_FIRING", "one")
    steps.plan(f"{store.uri}/schedules/weekly")
    (old,) = kfp_server.kept["recurringruns"]
    capfd.readouterr()
    assert (
        schedule("apply", write(tmp_path, {**WEEKLY, "cron": "0 0 4 * * 1"}), kfp_server, store)
        == 0
    )
    assert "replace   weekly (cron_schedule)" in capfd.readouterr().out
    (new,) = kfp_server.kept["recurringruns"].values()
    assert new["recurring_run_id"] != old
    assert new["trigger"] == {"cron_schedule": {"cron": "0 0 4 * * 1"}}
    assert len(recurring.firings(store, "weekly")) == 1


def test_a_recurring_run_that_cannot_be_replaced_stays(
    kfp_server: Any, store: Store, tmp_path: Path
) -> None:
    schedule("apply", write(tmp_path, WEEKLY), kfp_server, store)
    kfp_server.fault = ("POST /apis/v2beta1/recurringruns", 500, "{}")
    assert (
        schedule("apply", write(tmp_path, {**WEEKLY, "cron": "0 0 4 * * 1"}), kfp_server, store)
        == 3
    )
    (left,) = kfp_server.kept["recurringruns"].values()
    assert left["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}


def test_a_disabled_recurring_run_is_enabled_and_not_replaced(
    kfp_server: Any, store: Store, tmp_path: Path
) -> None:
    file = write(tmp_path, WEEKLY)
    schedule("apply", file, kfp_server, store)
    (made,) = kfp_server.kept["recurringruns"].values()
    made["mode"] = "DISABLE"
    asked = len(kfp_server.writes())
    assert schedule("apply", file, kfp_server, store) == 0
    assert [write.rpartition(":")[2] for write in kfp_server.writes()[asked:]] == ["enable"]
    assert made["mode"] == "ENABLE"


def test_doubles_of_one_name_are_deleted(kfp_server: Any, store: Store, tmp_path: Path) -> None:
    file = write(tmp_path, WEEKLY)
    schedule("apply", file, kfp_server, store)
    (made,) = list(kfp_server.kept["recurringruns"].values())
    kfp_server.kept["recurringruns"]["double"] = {**made, "recurring_run_id": "double"}
    assert schedule("apply", file, kfp_server, store) == 0
    assert len(kfp_server.kept["recurringruns"]) == 1


def test_a_renamed_schedule_leaves_the_old_one_until_it_is_pruned(
    kfp_server: Any, store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    schedule("apply", write(tmp_path, WEEKLY), kfp_server, store)
    renamed = write(tmp_path, {**WEEKLY, "name": "monday"})
    schedule("apply", renamed, kfp_server, store)
    assert set(kfp_server.named("recurringruns")) == {"weekly", "monday"}
    assert "left      weekly" in capfd.readouterr().out
    schedule("apply", renamed, kfp_server, store, "--prune")
    assert set(kfp_server.named("recurringruns")) == {"monday"}


def test_recurring_runs_of_others_are_left_alone(
    kfp_server: Any, store: Store, tmp_path: Path
) -> None:
    others = {
        f"other-{number}": {
            "recurring_run_id": f"other-{number}", "display_name": name, "mode": "ENABLE", "experiment_id": "x",
            "trigger": {"cron_schedule": {"cron": "0 0 0 * * *"}},
            "runtime_config": {"parameters": {"run": f"s3://elsewhere/schedules/{name}"}},
        }
        for number, name in enumerate(["weekly", "theirs", "third"])
    }  # fmt: skip
    kfp_server.kept["recurringruns"].update(others)
    file = write(tmp_path, WEEKLY)
    assert schedule("apply", file, kfp_server, store, "--prune") == 0
    assert schedule("delete", file, kfp_server, store) == 0
    assert set(kfp_server.kept["recurringruns"]) == set(others)


def test_diff_shows_the_changes_of_apply_and_changes_nothing(
    kfp_server: Any, store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, WEEKLY)
    assert schedule("diff", file, kfp_server, store) == 0
    assert "create    weekly" in capfd.readouterr().out
    assert kfp_server.writes() == []
    assert everything(store) == {}
    schedule("apply", file, kfp_server, store)
    capfd.readouterr()
    assert schedule("diff", file, kfp_server, store) == 0
    assert "unchanged weekly" in capfd.readouterr().out


def test_delete_removes_the_schedules_in_the_files_and_keeps_the_firings(
    kfp_server: Any, store: Store, tmp_path: Path
) -> None:
    file = write(tmp_path, WEEKLY)
    schedule("apply", file, kfp_server, store)
    assert schedule("delete", file, kfp_server, store) == 0
    assert kfp_server.kept["recurringruns"] == {}
    assert recurring.stored(store, "weekly") is not None


def test_a_schedule_is_deleted_by_its_name_without_a_file(
    kfp_server: Any, store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, WEEKLY, {**WEEKLY, "name": "monday"})
    schedule("apply", file, kfp_server, store)
    file.unlink()
    capfd.readouterr()
    assert schedule("delete", Path("weekly"), kfp_server, store) == 0
    assert capfd.readouterr().out == "delete    weekly\n"
    assert set(kfp_server.named("recurringruns")) == {"monday"}
    assert schedule("delete", Path("weekly"), kfp_server, store) == 0
    assert capfd.readouterr().out == "absent    weekly\n"


def test_an_unknown_schedule_is_answered_with_the_known_ones(
    kfp_server: Any, store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    schedule("apply", write(tmp_path, WEEKLY), kfp_server, store)
    assert schedule("delete", Path("weakly"), kfp_server, store) == 2
    assert "neither a schedule of" in (error := capfd.readouterr().err)
    assert "its schedules are weekly" in error


def test_apply_warns_of_a_schedule_that_computes_nothing(
    kfp_server: Any, store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    idle = {**WEEKLY, "follow": ["models"], "add_seeds": 0}
    assert schedule("apply", write(tmp_path, idle), kfp_server, store) == 0
    out = capfd.readouterr().out
    assert "COMPUTE NOTHING" in out
    assert "no backbone's revision is a branch or a tag" in out
    schedule("apply", write(tmp_path, WEEKLY), kfp_server, store)
    out = capfd.readouterr().out
    assert "COMPUTE NOTHING" not in out
    assert "new seeds each time" in out


def test_a_schedule_holds_its_data_unless_it_follows_it(
    kfp_server: Any, store: Store, tmp_path: Path
) -> None:
    schedule(
        "apply",
        write(tmp_path, WEEKLY, {**WEEKLY, "name": "held", "follow": []}),
        kfp_server,
        store,
    )
    follows, holds = (recurring.stored(store, name) for name in ("weekly", "held"))
    assert follows is not None
    assert holds is not None
    assert follows[1]["held"] == {"models": {}}
    assert {len(one["identity"]["sha256"]) for one in holds[1]["held"]["data"]} == {64}


def test_images_that_are_not_pinned_are_refused(
    kfp_server: Any, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, WEEKLY)
    assert (
        main(["schedule", "apply", str(file), "--host", kfp_server.address, "--store", store.uri])
        == 2
    )
    assert "--allow-unlocked" in capsys.readouterr().err
    assert kfp_server.writes() == []


# ---- files ----


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cron": "0 3 * * 1"}, "put the second before"),
        ({"timezone": "Europe/Berlin"}, "uses UTC for every cron line"),
        ({"timezone": "Berlin"}, "unknown time zone"),
        ({"plan": "other.yaml"}, "no such file"),
        ({"follow": ["weather"]}, "follow[0]"),
        ({"add_seeds": -1}, "add_seeds"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 2, "add_seeds": 1}, "two firings at the same time"),
        ({"start": "2027-01-01T00:00:00"}, "has no time zone"),
        ({"start": "2027-02-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}, "not after start"),
        ({"catchup": True}, "catchup"),
        ({"name": "a/b"}, "name"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_mistake_in_a_file_is_refused_with_its_key(
    tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(PlanError) as error:
        load(write(tmp_path, {**WEEKLY, **wrong}), "UTC")
    assert said in str(error.value)


def test_all_mistakes_in_all_files_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as error:
        load(write(tmp_path, {**WEEKLY, "cron": "x"}, {"name": "second"}, WEEKLY, WEEKLY), "UTC")
    message = str(error.value)
    assert "has 1 field;" in message
    assert "document 2: plan: is required" in message
    assert "duplicate name 'weekly'" in message


def test_the_time_zone_must_be_stated(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="timezone: is required"):
        load(
            write(tmp_path, {key: value for key, value in WEEKLY.items() if key != "timezone"}),
            "UTC",
        )


def test_another_server_zone_is_met_by_the_settings(tmp_path: Path) -> None:
    file = write(tmp_path, {**WEEKLY, "timezone": "Europe/Berlin"})
    assert len(load(file, "Europe/Berlin")) == 1


def test_a_folder_of_files_is_read_whole(tmp_path: Path) -> None:
    write(tmp_path / "plans")
    for name in ("a", "b"):
        document = {
            **WEEKLY,
            "name": name,
            "plan": os.path.relpath(tmp_path / "plans" / "small.yaml", tmp_path),
        }
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document))
    assert [one.name for _, one in load(tmp_path, "UTC")] == ["a", "b"]


def test_the_shipped_schedules_are_right() -> None:
    folder = Path(recurring_runs.__file__).parent / "plans" / "schedules"
    assert len(load(folder, "UTC")) >= 1


def test_the_page_on_schedules_explains_every_key_and_its_example_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text()
    assert [key for key in Schedule.model_fields if f"`{key}`" not in page] == []
    example = yaml.safe_load(page.split("```yaml")[1].split("```")[0])
    assert load(write(tmp_path, {**example, "plan": "small.yaml"}), "UTC")[0][1].add_seeds == 1


# ---- differences ----


def test_omitted_default_values_are_not_a_difference() -> None:
    """KFP's JSON omits fields that are false or empty."""
    import kfp_server_api as api

    wanted = recurring_runs.recurring(
        Schedule.model_validate({**WEEKLY, "catch_up": True}),
        "s3://b/p",
        ("p", "v"),
        "e",
        "xstilts-step",
    )
    there = api.V2beta1RecurringRun(
        recurring_run_id="id", display_name="weekly", description=wanted["description"], experiment_id="e",
        mode="ENABLE", max_concurrency="1", service_account="xstilts-step",
        trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron="0 0 3 * * 1")),
        pipeline_version_reference=api.V2beta1PipelineVersionReference(pipeline_id="p", pipeline_version_id="v"),
        runtime_config=api.V2beta1RuntimeConfig(parameters={"run": "s3://b/p/schedules/weekly"}),
    )  # fmt: skip
    assert present(there) == wanted
    assert diff([wanted], [there], prune=False) == [
        Change("unchanged", "weekly", keep="id", old=[])
    ]


def test_a_new_package_replaces_a_recurring_run() -> None:
    import kfp_server_api as api

    wanted = recurring_runs.recurring(
        Schedule.model_validate(WEEKLY), "s3://b/p", ("p", "new"), "e", "xstilts-step"
    )
    there = api.V2beta1RecurringRun(
        recurring_run_id="id", display_name="weekly", description=wanted["description"], experiment_id="e",
        mode="ENABLE", max_concurrency="1", service_account="xstilts-step", no_catchup=True,
        trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron="0 0 3 * * 1")),
        pipeline_version_reference=api.V2beta1PipelineVersionReference(pipeline_id="p", pipeline_version_id="old"),
        runtime_config=api.V2beta1RuntimeConfig(parameters={"run": "s3://b/p/schedules/weekly"}),
    )  # fmt: skip
    (change,) = diff([wanted], [there], prune=False)
    assert (change.kind, change.differs, change.old) == ("replace", ["version"], ["id"])
