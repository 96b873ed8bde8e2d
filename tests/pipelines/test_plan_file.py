"""Plans by name, overrides and limits."""

from pathlib import Path

import pytest

from pipelines import plan_file as plan_file_module
from pipelines.plan_file import describe, open_plan, plan_file, shipped_plans
from xstilts import input_files
from xstilts.errors import PlanError
from xstilts.plan import load
from xstilts.plan.expand import expand_offline
from xstilts.plan.load import load_plan


@pytest.mark.parametrize("name", ["demo", "modality"])
def test_a_shipped_plan_has_a_name(name: str) -> None:
    assert plan_file(name) == shipped_plans()[name]
    assert open_plan(name).plan.name == name


def test_a_file_comes_before_a_shipped_plan_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text(shipped_plans()["gpu"].read_text())
    assert open_plan("demo").plan.name == open_plan("gpu").plan.name


@pytest.mark.parametrize("name", shipped_plans())
def test_the_list_of_plans_has_the_sizes_that_check_prints(name: str) -> None:
    listed, plan = describe(shipped_plans()[name]), open_plan(name).plan
    assert (listed["backbones"], listed["arms"], listed["evaluations"]) == (
        len(plan.backbones), len(plan.arms), len(plan.evaluations),
    )  # fmt: skip


def test_a_plan_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text that a run keeps is the one that was checked."""
    read: list[Path] = []

    def read_bytes(path: Path, largest: int) -> bytes:
        read.append(path)
        return input_files.read_bytes(path, largest)

    monkeypatch.setattr(plan_file_module, "read_bytes", read_bytes)
    monkeypatch.setattr(load, "read_bytes", read_bytes)
    file = shipped_plans()["demo"]
    assert open_plan(file).text == file.read_text()
    assert read == [file]


def test_a_plan_of_one_line_without_a_line_break_is_a_plan(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("{name: small, nothing: 1}")
    with pytest.raises(PlanError, match=f"{file}: .*error") as error:
        open_plan(file)
    assert "nothing" in str(error.value)


# ---- overrides ----


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seeds=1", ("seeds",), [[0, 0]]),
        ("languages=[en, qaa]", ("languages",), ["en", "qaa"]),
        ("headline=null", ("headline",), None),
        ("rows.train=10", ("rows", "default", "train"), 10),
        ("override.xquad.lr=1e-3", ("override", "xquad", "lr"), 0.001),
        ("arms.squad.labels=shuffled", ("arms", "squad", "labels"), "shuffled"),
        ("backbones.tiny-llava.tuning=full", ("backbones", "tiny-llava", "tuning", "mode"), "full"),
        ("title=a=b", ("title",), "a=b"),
    ],
)
def test_an_override_is_typed_by_yaml(override: str, path: tuple[str, ...], value: object) -> None:
    node: object = open_plan("demo", overrides=[override]).plan.to_json()
    for key in path:
        node = node.get(key)  # type: ignore[attr-defined]
    assert node == value


def test_names_with_dots_are_found(tmp_path: Path) -> None:
    plan = open_plan("modality", overrides=["backbones.qwen2.5-7b.dtype=float32"]).plan
    assert plan.backbones["qwen2.5-7b"].dtype == "float32"


def test_items_of_lists_have_numbers(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        shipped_plans()["demo"]
        .read_text()
        .replace(
            "arms:\n",
            "arms:\n  both: {mixture: [{task: squad, objective: head}, {task: snli, objective: head}]}\n",
        )
    )
    plan = open_plan(file, overrides=["arms.both.mixture[1].task=mnli"]).plan
    assert [part.task for part in plan.arms["both"].parts] == ["squad", "mnli"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds", "expected key=value"),
        ("=3", "expected key=value"),
        ("seeds=[", "not valid YAML"),
        ("sed=3", "did you mean 'seeds'"),
        ("name.first=x", "has no key"),
        ("evaluations[9]=x", "no item 9"),
        ("arms.squad.task=squd", "did you mean 'squad'"),
    ],
)
def test_a_wrong_override_is_refused(override: str, message: str) -> None:
    with pytest.raises(PlanError, match=message.replace("[", r"\[")):
        open_plan("demo", overrides=[override])


def test_the_text_of_an_overridden_plan_is_that_plan() -> None:
    loaded = open_plan("demo", overrides=["seeds=2"], limit=8)
    assert load_plan(loaded.text) == loaded.plan
    assert "--set seeds=2" in loaded.text.splitlines()[1]


def test_the_text_of_a_plan_without_overrides_is_the_file() -> None:
    assert open_plan("demo").text == plan_file("demo").read_text()


def test_an_override_changes_the_fingerprints_it_should() -> None:
    full = expand_offline(open_plan("demo").plan).by_kind()
    other = expand_offline(open_plan("demo", overrides=["seeds=5"]).plan).by_kind()
    assert set(full["finetune"]) < set(other["finetune"])


# ---- limits ----


@pytest.mark.parametrize("limit", [1, 8, 100_000])
def test_a_limited_run_shares_no_result_with_a_full_one(limit: int) -> None:
    full = expand_offline(open_plan("demo").plan)
    limited = expand_offline(open_plan("demo", limit=limit).plan)
    for kind in ("finetune", "score"):
        assert not set(full.by_kind()[kind]) & set(limited.by_kind()[kind])
    assert full.by_kind()["build"] == limited.by_kind()["build"]


def test_a_limit_caps_rows_and_updates() -> None:
    expansion = expand_offline(open_plan("demo", limit=8).plan)
    specs = [step.spec for step in expansion.steps.values()]
    trained = [s for s in specs if "recipe" in s]
    assert trained
    assert all(s["recipe"]["updates"] <= 8 for s in trained)
    rows = [s["rows"] for s in specs if "rows" in s and s["split"] != "text"]
    assert rows
    assert all(n is not None and n <= 8 for n in rows)


def test_a_limited_run_is_named_after_its_limit() -> None:
    assert open_plan("demo", limit=8).plan.name == "demo-limit-8"
