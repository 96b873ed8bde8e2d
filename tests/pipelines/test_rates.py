"""`xstilts rates`: its arguments, the plans that it writes, and the refusal when trainings are
missing.
"""

from pathlib import Path

import pytest

from pipelines.cli import main, parser
from xstilts.plan.load import load_plan

PLAN = Path(__file__).parents[1] / "e2e" / "small.yaml"


def test_a_grid_is_read_as_numbers() -> None:
    given = parser().parse_args(
        ["rates", "plan.yaml", "--grid", "1e-5,2e-5", "--backbone", "a", "-o", "rates.yaml"]
    )
    assert (given.grid, given.backbone, given.output) == ((1e-5, 2e-5), ["a"], "rates.yaml")


@pytest.mark.parametrize(
    "more",
    [["--grid", "fast"], ["--plans", "p", "--finished"]],
    ids=["no numbers", "write and read"],
)
def test_arguments_that_cannot_be_meant_are_refused(more: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parser().parse_args(["rates", "plan.yaml", *more])
    assert refused.value.code == 2


def test_plans_are_written_and_nothing_is_run(tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "trials"
    assert (
        main(["rates", str(PLAN), "--grid", "1e-3,2e-3", "--plans", str(out), "--home", str(home)])
        == 0
    )
    assert [load_plan(file).override["ud_en"].updates for file in sorted(out.iterdir())] == [30, 30]
    assert not home.exists()


def test_a_set_without_a_grid_asks_for_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rates", str(PLAN), "--plans", str(tmp_path)]) == 2
    assert "give --grid" in capsys.readouterr().err


@pytest.mark.slow
def test_trainings_that_the_store_lacks_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["rates", str(PLAN), "--grid", "1e-3,2e-3", "--finished"]
    assert main([*given, "--home", str(tmp_path / "home"), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "tiny-llava: ud_en at 0.001" in told
    assert "tiny-llava: ud_en at 0.002" in told
