"""`xstilts rates`: its options, the plans that it writes, and errors for missing trainings."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import main
from pipelines.commands import rates
from xstilts.plan.load import load_plan

PLAN = Path(__file__).parents[1] / "e2e" / "small.yaml"


def test_options_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(rates, "choose_rates", lambda plan, **options: seen.update(options) or 0)
    options = ["--grid", "1e-5,2e-5", "--backbone", "a", "--backbone", "b", "-o", "rates.yaml"]
    assert main(["rates", "plan.yaml", *options]) == 0
    assert seen["grid"] == (1e-5, 2e-5)
    assert seen["backbones"] == ["a", "b"]
    assert seen["output"] == Path("rates.yaml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--grid", "fast"], "'fast' is not a list of rates"),
        (["--plans", "p", "--finished"], "--plans and --finished exclude each other"),
    ],
    ids=["not numbers", "write and read"],
)
def test_invalid_options_are_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rates", "plan.yaml", *options]) == 2
    assert message in capsys.readouterr().err


def test_plans_are_written_and_nothing_is_run(tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "trials"
    assert (
        main(["rates", str(PLAN), "--grid", "1e-3,2e-3", "--plans", str(out), "--home", str(home)])
        == 0
    )
    assert [load_plan(file).override["ud_en"].updates for file in sorted(out.iterdir())] == [30, 30]
    assert not home.exists()


def test_a_recipe_set_without_a_grid_requires_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rates", str(PLAN), "--plans", str(tmp_path)]) == 2
    assert "give --grid" in capsys.readouterr().err


@pytest.mark.slow
def test_missing_trainings_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["rates", str(PLAN), "--grid", "1e-3,2e-3", "--finished"]
    assert main([*given, "--home", str(tmp_path / "home"), "--out", str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err
    assert "tiny-llava: ud_en at 0.001" in errors
    assert "tiny-llava: ud_en at 0.002" in errors
