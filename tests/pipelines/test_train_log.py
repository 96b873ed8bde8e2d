"""`xstilts train-log`: learning curves, and time and GPU-hours by phase."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import training_log
from pipelines.cli import main
from tests.expansions import expansion_of
from xstilts.runs.folder import create
from xstilts.step import Step
from xstilts.store.store import Store

RUN = "small-20260101-000000-1"
#: Two workers with half a GPU each.
RESOURCES = {"workers": 2, "gpus_per_worker": 0.5}


def step(kind: str, label: str, **spec: Any) -> Step:
    return Step(kind, {"label": label, **spec}, {}, {"label": label, **RESOURCES})


RECORDS = step("records", "squad train en")
CAPTIONS = step("finetune", "tiny-llava: intermediate captions, seed 0", stage="intermediate")
SQUAD = step("finetune", "tiny-llava: captions → squad, seed 0", stage="target")
OTHER = step("finetune", "tiny-xlm-r: none → squad, seed 0", stage="target")
SCORE = step("score", "tiny-llava: captions → squad (0) on xquad")


@pytest.fixture
def run(local_store: Store) -> Store:
    """A store with a run of these steps, none of them finished."""

    expansion = expansion_of([RECORDS, OTHER, SQUAD, CAPTIONS, SCORE])
    create(local_store, RUN, "name: small", "miniature", out="out")
    local_store.put_json(f"runs/{RUN}/expanded.json", expansion.to_json())
    return local_store


def train(
    store: Store, trained: Step, folder: Path, losses: Sequence[float], seconds: float, **info: Any
) -> None:
    """Finishes a training with these losses."""
    file = folder / "history.parquet"
    pq.write_table(pa.Table.from_pylist([{"loss": loss} for loss in losses]), file)
    store.commit(trained, {"history.parquet": file}, {"seconds": seconds, **info})


def looks(*scores: float, update: int) -> dict[str, Any]:
    """The evaluations on dev after every ten updates, of which one is selected."""
    shown = [{"update": 10 * (i + 1), "value": score} for i, score in enumerate(scores)]
    return {"selection": {"looks": shown, "update": update}}


@pytest.fixture
def trained(run: Store, tmp_path: Path) -> Store:
    """The run with its records, two of its three trainings and its score."""
    run.commit(RECORDS, {}, {"seconds": 5.5})
    train(run, CAPTIONS, tmp_path, [4.0, 3.0, 2.0, 1.0], 1800.0)
    train(run, SQUAD, tmp_path, [2.0, 0.5], 900.0, **looks(0.25, 0.75, 0.5, update=20))
    run.commit(SCORE, {}, {"seconds": 360.0})
    return run


def test_curves_and_time_are_printed(trained: Store, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train-log", "small"]) == 0
    assert capfd.readouterr().out.splitlines() == [
        "tiny-llava: captions → squad, seed 0: 2 updates in 900 s",
        "  loss █▁  2.000 → 0.500",
        "  dev  ▁█▅  best 0.750, update 20 selected",
        "tiny-llava: intermediate captions, seed 0: 4 updates in 1800 s",
        "  loss █▆▃▁  4.000 → 1.000",
        "time by phase (finished steps, summed over those that ran side by side)",
        "  records        1 of     1          6 s",
        "  finetune       2 of     3       2700 s      0.75 GPU-hours",
        "  score          1 of     1        360 s      0.10 GPU-hours",
    ]


def test_json_has_the_same(trained: Store, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train-log", RUN, "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {
        "trainings": [
            {
                "fingerprint": SQUAD.fingerprint,
                "label": "tiny-llava: captions → squad, seed 0",
                "stage": "target",
                "seconds": 900.0,
                "losses": [2.0, 0.5],
                "dev": [[10, 0.25], [20, 0.75], [30, 0.5]],
                "selected": 20,
            },
            {
                "fingerprint": CAPTIONS.fingerprint,
                "label": "tiny-llava: intermediate captions, seed 0",
                "stage": "intermediate",
                "seconds": 1800.0,
                "losses": [4.0, 3.0, 2.0, 1.0],
                "dev": [],
                "selected": None,
            },
        ],
        "phases": [
            {"kind": "records", "done": 1, "of": 1, "seconds": 5.5, "gpu_hours": 0.0},
            {"kind": "finetune", "done": 2, "of": 3, "seconds": 2700.0, "gpu_hours": 0.75},
            {"kind": "score", "done": 1, "of": 1, "seconds": 360.0, "gpu_hours": 0.1},
        ],
    }


def test_only_leaves_out_other_trainings_but_no_time(
    trained: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-log", RUN, "--only", "squad", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert [curve["label"] for curve in document["trainings"]] == [SQUAD.settings["label"]]
    assert [phase["done"] for phase in document["phases"]] == [1, 2, 1]


def test_only_with_a_text_that_no_training_has_is_an_error(
    trained: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-log", RUN, "--only", "nonsense"]) == 2
    assert capfd.readouterr().err == (
        "xstilts: --only 'nonsense': no training of the run has this in its label; one of its 3 "
        f"trainings is {SQUAD.settings['label']!r}\n"
    )


def test_a_run_without_a_finished_training_says_so(
    run: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-log", RUN]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "no finished training yet"
    assert lines[3] == "  finetune       0 of     3          0 s"
    assert main(["train-log", RUN, "--only", "tiny-xlm-r"]) == 0
    assert capfd.readouterr().out.startswith("no finished training of 'tiny-xlm-r' yet\n")
    assert main(["train-log", RUN, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["trainings"] == []


def test_a_run_whose_plan_step_has_not_finished_is_an_error(
    run: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    run.delete(f"runs/{RUN}/expanded.json")
    assert main(["train-log", RUN]) == 2
    assert (
        f"{RUN}: its plan step has not finished, so nothing was trained" in capfd.readouterr().err
    )


def test_an_unknown_run_is_an_error(run: Store, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train-log", "nope"]) == 2
    assert f"no such run; the newest are {RUN}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([2.0], "▁"),
        ([1.0, 1.0], "▁▁"),
        ([2.0, 1.0, 0.0], "█▅▁"),
        ([0.0] * 32 + [1.0] * 32, "▁" * 16 + "█" * 16),
    ],
)
def test_a_sparkline_goes_from_lowest_to_highest(values: list[float], expected: str) -> None:
    assert training_log.sparkline(values) == expected
