"""docs/benchmarks.md has the figures of docs/benchmarks/*.json, and how these are summarized."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import measure, page
from benchmarks.measure import Record, interleaved, paired, ratio, read, spread, table, write


def test_the_page_has_the_recorded_figures() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.rendered(text) == text


def test_every_file_of_figures_has_a_table_on_the_page() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert {path.stem for path in measure.RESULTS.glob("*.json")} <= set(page.TABLES)
    assert all(f"<!-- table: {name} -->" in text for name in page.TABLES)


@pytest.mark.parametrize(
    ("rounds", "warm_up", "figures", "order"),
    [
        (2, 0, {"a": [1.0, 4.0], "b": [2.0, 3.0]}, "abba"),
        (1, 2, {"a": [5.0], "b": [6.0]}, "abbaab"),
    ],
)
def test_alternatives_run_in_turn_and_every_second_round_backwards(
    rounds: int, warm_up: int, figures: object, order: str
) -> None:
    called: list[str] = []

    def run(name: str) -> float:
        called.append(name)
        return float(len(called))

    assert interleaved(rounds, {"a": lambda: run("a"), "b": lambda: run("b")}, warm_up) == figures
    assert "".join(called) == order


def test_paired_alternatives_run_next_to_xstilts_and_are_compared_with_that_run() -> None:
    called: list[str] = []

    def run(name: str, number: int) -> float:
        called.append(f"{name}{number}")
        return float(len(called))

    pairs = paired(2, ["a", "b"], run)
    assert " ".join(called) == "xstilts0 a0 xstilts0 b0 a1 xstilts1 b1 xstilts1"
    assert pairs.figures == {"xstilts": [1.0, 3.0, 6.0, 8.0], "a": [2.0, 5.0], "b": [4.0, 7.0]}
    record = Record("case", "s", pairs.figures, beside=pairs.beside, machine={}, command="")
    assert ratio(record, "a") == spread([2 / 1, 5 / 6])
    assert ratio(record, "b") == spread([4 / 3, 7 / 8])


def test_without_an_alternative_xstilts_is_measured_alone() -> None:
    pairs = paired(2, [], lambda name, number: float(number))
    assert (pairs.figures, pairs.beside) == ({"xstilts": [0.0, 1.0]}, {})


@pytest.mark.parametrize(
    ("values", "expected"),
    [([2.0], (2.0, 2.0, 2.0)), ([1.0, 2.0, 3.0], (2.0, 1.5, 2.5)), ([4.0, 1.0], (2.5, 1.75, 3.25))],
)
def test_a_spread_is_the_median_with_quartiles(values: list[float], expected: object) -> None:
    assert (spread(values).median, spread(values).low, spread(values).high) == expected


@pytest.mark.parametrize(("less_is_better", "expected"), [(True, 3.0), (False, 1 / 3)])
def test_a_ratio_above_one_means_that_this_project_is_ahead(
    less_is_better: bool, expected: float
) -> None:
    figures = {"xstilts": [1.0, 10.0, 2.0], "peer": [3.0, 20.0, 8.0]}  # ratios 3, 2, 4
    record = Record("case", "s", figures, less_is_better=less_is_better, machine={}, command="")
    assert ratio(record, "peer").median == pytest.approx(expected)


def test_a_table_names_what_was_not_measured() -> None:
    record = Record("case", "s", {"xstilts": [1.0]}, absent={"peer": "not installed"}, machine={})
    assert "| case | peer | – | – | not installed |" in table([record])


def test_writing_a_case_again_keeps_the_other_cases(tmp_path: Path) -> None:
    def record(case: str, value: float) -> Record:
        return Record(case, "s", {"xstilts": [value]}, machine={}, command="command")

    write("training", [record("a", 1.0), record("b", 2.0)], tmp_path)
    write("training", [record("a", 3.0)], tmp_path)
    assert read("training", tmp_path) == [record("a", 3.0), record("b", 2.0)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--case", "sentence pairs"], "benchmarks.scoring --case 'sentence pairs'"),
        (["--home", "/some/where/home"], "benchmarks.scoring --home home"),
    ],
)
def test_the_recorded_command_can_be_pasted_and_has_no_path_of_the_machine(
    arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", *arguments])
    monkeypatch.setattr(
        sys.modules["__main__"], "__spec__", SimpleNamespace(name="benchmarks.scoring")
    )
    assert measure.command() == f"python -m {expected}"
