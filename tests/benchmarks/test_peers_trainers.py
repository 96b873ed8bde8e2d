"""ms-swift and LLaMA-Factory in the training benchmark: what they get, and how their results are
checked. The trainers themselves are not needed here.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import peers_trainers, peers_transformers, trainer_jobs, training_ours
from benchmarks.peers_trainers import PEERS, OtherTraining, check, rows_in, unavailable
from benchmarks.trainer_process import Watched
from benchmarks.training_cases import CASES, END, PAD, START, Row, model_of, rows_of

CASE = replace(CASES["text"], width=64, layers=1, batch=3, updates=2)
ROWS = rows_of(CASE, 6, seed=1)
BOTH = pytest.mark.parametrize("name", PEERS)


def padded(rows: list[Row], loss: float = 9.75) -> dict[str, Any]:
    """An update as a trainer that pads sees it."""
    longest = max(len(row.ids) for row in rows)
    return {
        "ids": [row.ids + [PAD] * (longest - len(row.ids)) for row in rows],
        "labels": [row.labels + [-100] * (longest - len(row.ids)) for row in rows],
        "loss": loss,
    }


STEPS = [padded(ROWS[:3]), padded(ROWS[3:])]
MODEL = model_of(CASE, 0, head=True)
LOSS = training_ours.loss_of(CASE, model_of(CASE, 0, head=True), ROWS[:3])


def result(steps: list[dict[str, Any]], loss: float = LOSS) -> dict[str, Any]:
    """What the trainer's process writes."""
    return {"seconds": 1.5, "steps": steps, "without_dropout": padded(ROWS[:3], loss)}


def test_rows_are_found_in_a_padded_update() -> None:
    assert rows_in(STEPS[0]) == [Row(row.ids, labels=row.labels) for row in ROWS[:3]]


def test_rows_are_found_in_packs_each_once() -> None:
    steps = [
        {"ids": [pack["input_ids"]], "labels": [pack["labels"]]}
        for pack in trainer_jobs.packs(CASE, ROWS, seed=5)
    ]
    found = [row for step in steps for row in rows_in(step)]
    assert sorted(row.ids for row in found) == sorted(row.ids for row in ROWS)
    assert [len(rows_in(step)) for step in steps] == [3, 3]


def test_a_pack_numbers_its_rows_and_their_places() -> None:
    short = replace(CASE, batch=2, updates=1)
    rows = [Row([START, 100, END], labels=[-100, 100, END])] * 2
    [pack] = trainer_jobs.packs(short, rows, seed=0)
    assert pack["input_ids"] == [START, 100, END, START, 100, END, PAD, PAD]
    assert pack["labels"] == [-100, 100, END, -100, 100, END, -100, -100]
    assert pack["attention_mask"] == [1, 1, 1, 2, 2, 2, 0, 0]
    assert pack["position_ids"] == [0, 1, 2, 0, 1, 2, 0, 0]


def test_words_of_the_tokenizer_are_token_ids() -> None:
    tokenizer = trainer_jobs.tokenizer()
    words = ROWS[0].ids[1:-1]
    assert tokenizer(" ".join(map(str, words)))["input_ids"] == words
    assert (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id) == (
        START, PAD, END,
    )  # fmt: skip


@BOTH
def test_the_recipe_is_that_of_the_tuned_trainer(name: str, tmp_path: Path) -> None:
    ours = peers_transformers.arguments(CASE, "tuned", 7, 1, str(tmp_path))
    theirs = trainer_jobs.arguments(CASE, PEERS[name], 7, tmp_path, cuda=False)
    for setting in (
        "learning_rate", "warmup_steps", "weight_decay", "max_grad_norm", "adam_beta1",
        "adam_beta2", "adam_epsilon", "num_train_epochs", "gradient_accumulation_steps", "seed",
        "bf16", "optim", "lr_scheduler_type",
    ):  # fmt: skip
        assert theirs[setting] == getattr(ours, setting), setting


@BOTH
def test_a_job_has_the_rows_and_is_json(name: str, tmp_path: Path) -> None:
    job = trainer_jobs.job_of(CASE, PEERS[name], ROWS, 0, tmp_path, cuda=False)
    assert json.loads(json.dumps(job)) == job
    tokens = [token for row in job["rows"] for token in row["input_ids"] if token != PAD]
    assert sorted(tokens) == sorted(token for row in ROWS for token in row.ids)


def test_the_check_accepts_the_same_training_in_any_order() -> None:
    check(CASE, "ms-swift", ROWS, result([padded(ROWS[::2]), padded(ROWS[1::2])]), MODEL)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (STEPS[:1], r"updates of \[3\] rows, not 2 × 3"),
        ([padded(ROWS[:2]), padded(ROWS[2:])], r"updates of \[2, 4\] rows"),
        ([STEPS[0], padded([Row(row.ids, labels=row.ids) for row in ROWS[3:]])], "supervised"),
        ([STEPS[0], padded([Row([*r.ids[:-1], 600], labels=r.labels) for r in ROWS[3:]])], "other"),
    ],
)
def test_the_check_rejects_other_rows(steps: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(OtherTraining, match=message):
        check(CASE, "ms-swift", ROWS, result(steps), MODEL)


def test_the_check_rejects_another_loss() -> None:
    with pytest.raises(OtherTraining, match=f"in the first update, not {LOSS:.6f}"):
        check(CASE, "ms-swift", ROWS, result(STEPS, LOSS * 1.001), MODEL)


def test_the_check_compares_classes_and_the_loss_of_a_classifier() -> None:
    case = replace(CASES["nli"], width=64, layers=1, batch=2, updates=1)
    rows = rows_of(case, 2, seed=1)
    model = model_of(case, 0, head=True)
    step = padded(rows) | {"labels": [row.label for row in rows]}
    step["loss"] = peers_transformers.loss_of(case, model, rows)
    check(case, "ms-swift", rows, {"steps": [step], "without_dropout": step}, model)
    other = [replace(rows[0], label=rows[0].label + 1), rows[1]]
    with pytest.raises(OtherTraining, match="other rows"):
        check(case, "ms-swift", other, {"steps": [step], "without_dropout": step}, model)


def test_every_case_is_driven_or_has_a_reason() -> None:
    driven = {
        (case, name)
        for case in CASES
        for name in PEERS
        if not unavailable(CASES[case], name, sys.executable)
    }
    assert driven == {("nli", "ms-swift"), ("text", "ms-swift"), ("text", "LLaMA-Factory")}


@BOTH
def test_without_an_interpreter_a_trainer_is_not_installed(name: str) -> None:
    assert unavailable(CASES["text"], name, None) == "not installed"


def test_an_interpreter_can_be_chosen_by_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "python").symlink_to(sys.executable)
    assert peers_trainers.python_of("ms-swift", "python") == str(tmp_path / "python")


@BOTH
def test_a_folder_with_the_name_of_a_trainer_is_none(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / PEERS[name].module).mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert peers_trainers.python_of(name, None) is None


@BOTH
def test_an_interpreter_without_the_trainer_is_an_error(name: str) -> None:
    package = PEERS[name].package
    with pytest.raises(RuntimeError, match=f"no {package} or transformers"):
        peers_trainers.about(name, sys.executable)


def other_python(folder: Path, body: str) -> str:
    """A command that is called like an interpreter: `-I SCRIPT JOB`."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport json, shutil, sys\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_a_training_gives_its_seconds_and_the_loss_of_its_weights(tmp_path: Path) -> None:
    python = other_python(
        tmp_path,
        "job = json.load(open(sys.argv[3]))\n"
        'shutil.copytree(job["arguments"]["model"], job["saved"])\n'
        f'json.dump({result(STEPS)}, open(job["result"], "w"))',
    )
    seconds, loss = peers_trainers.train(CASE, "ms-swift", python, ROWS, ROWS[:2], seed=0)
    assert seconds == 1.5
    assert loss == pytest.approx(training_ours.loss_of(CASE, model_of(CASE, 0, True), ROWS[:2]))


def test_the_message_of_a_failed_trainer_is_shown(tmp_path: Path) -> None:
    python = other_python(tmp_path, 'sys.exit("no such option")')
    with pytest.raises(RuntimeError, match="ms-swift ended with 1:\nno such option"):
        peers_trainers.train(CASE, "ms-swift", python, ROWS, ROWS, seed=0)


def test_only_the_latest_training_is_recorded() -> None:
    class Trainer:
        model = torch.nn.Linear(1, 1)

        def train(self) -> str:
            for number in range(2):
                self.training_step(None, {"input_ids": number, "labels": -number})
            return "done"

        def training_step(self, _model: None, inputs: dict[str, int]) -> float:
            return inputs.pop("labels") / 2

    watched = Watched()
    watched.over(Trainer)
    assert [Trainer().train(), Trainer().train()] == ["done", "done"]
    assert watched.steps == [(0, 0, 0.0), (1, -1, -0.5)]
    assert watched.model is Trainer.model
    assert watched.seconds > 0


def test_a_training_can_be_without_dropout() -> None:
    class Trainer:
        model = torch.nn.Sequential(torch.nn.Dropout(0.1))

        def train(self) -> None: ...

        def training_step(self) -> None: ...

    watched = Watched()
    watched.over(Trainer)
    watched.dropout = False
    Trainer().train()
    assert Trainer.model[0].p == 0.0
