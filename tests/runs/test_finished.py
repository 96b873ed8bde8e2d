"""A task is done when its outputs are in the store."""

from pathlib import Path

import pytest

from pipelines.intermediate_to_xtreme_r import intermediate_to_xtreme_r
from pipelines.kfp.task_results import unfinished
from xstilts.runs import actions
from xstilts.runs.finished import CHECKS, forget, lacking, record
from xstilts.runs.folder import failure_key
from xstilts.step import Step
from xstilts.store.store import Store

RECORDS = Step("records", {"n": 1}, settings={"label": "records of snli"})
BUILD = Step("build", {"n": 1}, settings={"label": "tiny"})
TRAIN = Step("finetune", {"n": 1}, settings={"label": "tiny: none → ud_en"})
FOLDER = "runs/r"


@pytest.fixture
def store(store: Store) -> Store:
    """A store with a planned run of one step of each kind, none of them done."""
    document = {
        "steps": {step.fingerprint: step.to_json() for step in (RECORDS, BUILD, TRAIN)},
        "sources": [{"id": "sources-00", "steps": [RECORDS.fingerprint]}], "encodings": [],
        "builds": [{"id": "builds-00", "steps": [BUILD.fingerprint]}],
        "groups": [{"id": "tiny", "finetune": [TRAIN.fingerprint], "score": []}],
    }  # fmt: skip
    store.put_json(f"{FOLDER}/expanded.json", document)
    record(store, FOLDER, "plan", {"expanded.json": document})
    return store


def test_a_task_without_a_manifest_is_not_done(store: Store) -> None:
    assert lacking(store, FOLDER, "plan") == []
    assert lacking(store, FOLDER, "report") == ["report: no manifest"]


def test_a_task_is_not_done_if_an_output_changed(store: Store, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("<p>")
    store.put_file(f"{FOLDER}/report/report.html", page)
    record(store, FOLDER, "report", {"report/report.html": page})
    assert lacking(store, FOLDER, "report") == []
    store.put_bytes_at(f"{FOLDER}/report/report.html", b"another")
    assert lacking(store, FOLDER, "report") == [
        "report: report/report.html is missing or does not match its SHA-256"
    ]


def test_manifests_of_an_earlier_attempt_can_be_removed(store: Store) -> None:
    forget(store, FOLDER)
    assert lacking(store, FOLDER, "plan") == ["plan: no manifest"]


@pytest.mark.parametrize(("task", "step"), [("stage", RECORDS), ("build", BUILD)])
def test_staging_is_done_when_every_step_of_its_batches_is(
    store: Store, task: str, step: Step
) -> None:
    assert lacking(store, FOLDER, task) == [f"{task}: {step.settings['label']} is not done"]
    store.commit(step, {}, {})
    assert lacking(store, FOLDER, task) == []


def test_a_group_is_done_when_its_steps_are_done_or_recorded_as_failed(store: Store) -> None:
    assert lacking(store, FOLDER, "score") == []
    assert lacking(store, FOLDER, "finetune") == [
        "finetune: tiny: none → ud_en is neither done nor failed"
    ]
    store.put_json(failure_key(FOLDER, "finetune", TRAIN.fingerprint), {"error": "out of memory"})
    assert lacking(store, FOLDER, "finetune") == []


def test_a_task_without_a_check_is_an_error(store: Store) -> None:
    with pytest.raises(KeyError):
        lacking(store, FOLDER, "deploy")


def test_every_task_of_the_package_is_checked(store: Store) -> None:
    """A container of any component that is reported as succeeded without outputs is detected."""
    problems = unfinished(intermediate_to_xtreme_r, store, "r")
    assert {line.split(":")[0].split(" ")[0] for line in problems} == set(CHECKS) - {
        "plan",
        "score",
        "verdict",
    }


@pytest.fixture
def complete_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that has no missing cell, whatever the store has."""
    monkeypatch.setattr("xstilts.runs.collect.report_input", lambda store, folder: None)

    def write(out: Path, data: None) -> None:
        out.mkdir()
        (out / "summary.json").write_text('{"missing": []}')

    monkeypatch.setattr("xstilts.analysis.report.write_report", write)


@pytest.mark.parametrize(("done", "exit_code"), [(False, 4), (True, 0)])
def test_a_lost_step_is_never_exit_code_0(
    store: Store, complete_report: None, tmp_path: Path, done: bool, exit_code: int
) -> None:
    if done:
        store.commit(TRAIN, {}, {})
    actions.report(f"{store.uri}/{FOLDER}", tmp_path / "out")
    status = store.get_json(f"{FOLDER}/status.json") or {}
    assert status["exit_code"] == exit_code
    lost = ["finetune: tiny: none → ud_en is neither done nor failed"] if exit_code else []
    assert [step["what"] for step in status["missing"]] == lost
