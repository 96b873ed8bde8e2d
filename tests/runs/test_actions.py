"""What each component writes to a run's folder, failures included."""

import json
import os
import pickle
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, ClassVar

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from xstilts.errors import DataError, InfrastructureError, PlanError
from xstilts.miniature.write import write_miniature
from xstilts.runs import actions
from xstilts.runs.folder import create, failure, open_run, planned_ids, spec_of, split_run_uri
from xstilts.step import digest
from xstilts.store.manifest import Manifest
from xstilts.store.server import serve
from xstilts.store.store import Store
from xstilts.training.workers import StepFailed, Workers

PLAN = (Path(__file__).parents[1] / "e2e" / "small.yaml").read_text()


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror") / "miniature"
    write_miniature(folder)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    before = dict(os.environ)
    with serve(tmp_path_factory.mktemp("s3")) as server:
        os.environ.update(server.env() | {"XSTILTS_CACHE": str(tmp_path_factory.mktemp("cache"))})
        yield Store.open("s3://xstilts/store", cache=Path(os.environ["XSTILTS_CACHE"]))
    os.environ.clear()
    os.environ.update(before)


def inline(worker: str, config: Mapping[str, Any], resources: Mapping[str, Any]) -> None:
    """A launcher that runs one worker in this process, without Ray."""
    from xstilts.runs.finetune import group as train_group
    from xstilts.runs.score import group as score_group

    cpu = torch.device("cpu")
    if worker == actions.WORKERS["finetune"]:
        train_group(config["run_uri"], config["group"], Workers(), cpu, lambda _: None)
    else:
        score_group(config["run_uri"], config["group"], Workers(), cpu)


def planned(store: Store, name: str, miniature: Path, text: str = PLAN) -> str:
    create(store, name, text, str(miniature))
    uri = f"{store.uri}/runs/{name}"
    actions.plan(uri)
    return uri


def staged(store: Store, name: str, miniature: Path, text: str = PLAN) -> str:
    uri = planned(store, name, miniature, text)
    for kind in ("sources", "builds", "encodings"):
        for batch in planned_ids(uri)[kind]:
            actions.stage(uri, batch)
    return uri


def finished(uri: str, out: Path, launch: actions.Launch = inline) -> dict[str, Any]:
    for group in planned_ids(uri)["groups"]:
        actions.finetune(uri, group, launch)
        actions.score(uri, group, launch)
    return actions.report(uri, out)


@pytest.mark.slow
def test_a_whole_run_and_its_repeat(store: Store, miniature: Path, tmp_path: Path) -> None:
    uri = staged(store, "whole", miniature)
    summary = finished(uri, tmp_path)
    assert summary["missing"] == []
    assert store.get_json("runs/whole/status.json") == {"exit_code": 0, "missing": []}
    assert store.list("runs/whole/failures/") == []
    written = {path.name for path in tmp_path.iterdir()}
    assert written >= {
        "results.parquet",
        "effects.parquet",
        "summary.json",
        "report.html",
        "report.md",
        "predictions",
    }
    assert "<script src" not in (tmp_path / "report.html").read_text()
    again = planned(store, "again", miniature)
    assert all(actions.stage(again, batch) == 0 for batch in planned_ids(again)["sources"])

    def never(*_: Any) -> None:
        pytest.fail("nothing was left to launch")

    assert finished(again, tmp_path / "again", never)["effects"] == summary["effects"]


@pytest.mark.slow
def test_a_failed_cell_is_listed_and_the_others_are_scored(
    store: Store, miniature: Path, tmp_path: Path
) -> None:
    """A learning rate that diverges fails the target; raw retrieval is still scored."""
    text = PLAN.replace("ud_en: {updates: 30}", "ud_en: {updates: 30, lr: 1.0e+30}")
    uri = staged(store, "cell", miniature, text)
    summary = finished(uri, tmp_path)
    assert {entry["what"].split(" on ")[1] for entry in summary["missing"]} == {"udpos"}
    assert all("the loss is" in entry["reason"] for entry in summary["missing"])
    assert {row["evaluation"] for row in summary["effects"]} == {"tatoeba"}
    status = store.get_json("runs/cell/status.json")
    assert status is not None
    assert status["exit_code"] == 4
    assert "the loss is" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_an_evaluation_that_cannot_be_written_does_not_affect_others_of_the_same_model(
    store: Store, miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xstilts.runs.loaded_backbone import LoadedBackbone

    original = LoadedBackbone.gold

    def gold(self: LoadedBackbone, step: Any, language: str) -> Any:
        if step.spec["evaluation"] == "tatoeba_squad":
            raise ValueError("no gold answers")
        return original(self, step, language)

    monkeypatch.setattr(LoadedBackbone, "gold", gold)
    text = PLAN.replace("[udpos, tatoeba]", "[xquad, tatoeba_squad]").replace(
        "ud_en: {updates: 30}", "squad: {updates: 2}"
    )
    summary = finished(staged(store, "unwritten", miniature, text), tmp_path)
    assert {entry["what"].split(" on ")[1] for entry in summary["missing"]} == {"tatoeba_squad"}
    assert all("no gold answers" in entry["reason"] for entry in summary["missing"])
    assert {row["evaluation"] for row in summary["effects"]} == {"xquad"}


@pytest.mark.slow
def test_a_failed_group_is_recorded_and_the_report_is_written(
    store: Store, miniature: Path, tmp_path: Path
) -> None:
    def lost(*_: Any) -> None:
        raise OSError("the workers are gone")

    uri = staged(store, "group", miniature, PLAN.replace("seed: 0", "seed: 1"))
    summary = finished(uri, tmp_path, lost)
    assert len(summary["missing"]) == 6
    assert all("the workers are gone" in entry["reason"] for entry in summary["missing"])
    assert (tmp_path / "report.html").is_file()
    recorded = store.get_json("runs/group/failures/finetune-tiny-llava.json")
    assert recorded is not None
    assert recorded["error"] == "the workers are gone"


def test_the_groups_of_a_cancelled_run_record_no_failure(store: Store, miniature: Path) -> None:
    uri = planned(store, "ended", miniature, PLAN.replace("seed: 0", "seed: 2"))

    def cancelled(*_: Any) -> None:
        store.put_json("runs/ended/cancelled.json", {"at": 0})
        raise InfrastructureError("the run was cancelled")

    with pytest.raises(InfrastructureError, match="was cancelled"):
        actions.finetune(uri, "tiny-llava", cancelled)
    assert store.list("runs/ended/failures/") == []


def test_an_invalid_plan_is_refused_and_recorded(store: Store, miniature: Path) -> None:
    with pytest.raises(PlanError, match="coco_caption"):
        planned(
            store, "mistaken", miniature, PLAN.replace("task: coco_captions", "task: coco_caption")
        )
    recorded = store.get_json("runs/mistaken/failures/plan.json")
    assert recorded is not None
    assert recorded["exit_code"] == 2


def test_a_mirror_without_a_needed_split_is_refused_before_staging(
    store: Store, miniature: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    (bare / "xstilts").mkdir(parents=True)
    (bare / "xstilts" / "miniature-text").symlink_to(miniature / "xstilts" / "miniature-text")
    with pytest.raises(DataError, match=r"the mirror lacks required data; nothing was staged"):
        planned(store, "lacking", bare)


def test_a_run_that_was_not_planned_is_refused(store: Store) -> None:
    with pytest.raises(PlanError, match="has not run"):
        planned_ids(f"{store.uri}/runs/nothing")["groups"]


def of_version(kind: str, version: int) -> dict[str, Any]:
    """The JSON of a step as the program of that recipe version wrote it."""
    body = {"kind": kind, "spec": {}, "parents": {}}
    return {
        **body,
        "fingerprint": digest({**body, "version": version}),
        "settings": {"label": f"old {kind}"},
    }


def test_a_run_planned_before_a_recipe_changed_computes_no_step_of_it(store: Store) -> None:
    """Its result would be stored under the fingerprint of the earlier recipe."""
    records, scored = of_version("records", 3), of_version("score", 3)
    uri = f"{store.uri}/runs/earlier"
    for name, spec, step in (
        ("batch", {"steps": [records["fingerprint"]]}, records),
        ("group", {"finetune": [], "score": [scored["fingerprint"]]}, scored),
    ):
        store.put_json(
            f"runs/earlier/specs/{name}.json", {"spec": spec, "steps": {step["fingerprint"]: step}}
        )
    with pytest.raises(
        PlanError, match=r"old records was planned with version 3 .* run the plan again"
    ):
        actions.stage(uri, "batch")
    with pytest.raises(
        PlanError, match=r"old score was planned with version 3 .* run the plan again"
    ):
        actions.score(uri, "group", inline)


def test_a_uri_that_is_not_a_run_is_refused() -> None:
    with pytest.raises(PlanError, match=r"not a run URI: .*expected s3://bucket/prefix/runs/<run>"):
        open_run("s3://bucket/prefix")


def test_a_failure_has_the_message_the_exit_code_and_the_end_of_the_log() -> None:
    try:
        raise DataError("no such split")
    except DataError as error:
        record = failure("records", error)
    assert json.loads(json.dumps(record))["exit_code"] == 2
    assert record["error"] == "no such split"
    assert "DataError" in record["log"]


def test_an_error_without_a_message_is_recorded_by_its_type() -> None:
    assert failure("score", AssertionError())["error"] == "AssertionError"


def weights(store: Store, fingerprint: str) -> dict[str, str]:
    manifest = store.manifest("finetune", fingerprint)
    assert manifest is not None
    return {
        name: blob.sha256 for name, blob in manifest.files.items() if name.endswith(".safetensors")
    }


def targets(store: Store, uri: str) -> list[str]:
    spec, steps = spec_of(store, split_run_uri(uri)[1], "tiny-llava")
    return [fp for fp in spec["finetune"] if steps[fp].spec["stage"] == "target"]


@pytest.mark.slow
def test_a_cell_does_not_depend_on_what_ran_before_it(store: Store, miniature: Path) -> None:
    """Each target again, alone in its group, gives the same bits as after all the others."""
    uri = staged(store, "order", miniature)
    actions.finetune(uri, "tiny-llava", inline)
    for fingerprint in reversed(targets(store, uri)):
        before = weights(store, fingerprint)
        store.delete(f"steps/finetune/{fingerprint}/manifest.json")
        actions.finetune(uri, "tiny-llava", inline)
        assert weights(store, fingerprint) == before


class Threads(Workers):
    """One of two workers that are threads of this process."""

    meeting: ClassVar[Barrier] = Barrier(2)
    box: ClassVar[dict[str, Any]] = {}

    def from_first(self, value: Any) -> Any:
        if self.rank == 0:
            self.box["value"] = value
        self.meet()
        return self.box["value"]

    def everyone(self, value: Any) -> list[Any]:
        self.box[f"value {self.rank}"] = pickle.dumps(value)
        self.meet()
        values = [pickle.loads(self.box[f"value {rank}"]) for rank in range(self.world)]
        self.meet()
        return values

    def send(self, value: Any, to: int) -> list[Any]:
        values = self.everyone(value)
        return values if self.rank == to else []

    def agree(self, error: str | None) -> None:
        if errors := [text for text in self.everyone(error) if text]:
            raise StepFailed("\n".join(errors))

    def meet(self) -> None:
        self.meeting.wait(timeout=120)


@pytest.fixture(scope="module")
def scored(
    store: Store, miniature: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The URI of a run with mining and ranking, scored by one worker, and its report."""
    text = PLAN.replace("[udpos, tatoeba]", "[bucc_mining, mewslix]").replace(
        "[en, qaa]", "[en, qaa, qab]"
    )
    text = text.replace("ud_en: {updates: 30}", "mewsli_pairs: {updates: 4}").replace(
        "captions minus none: {arm", "c: {arm"
    )
    uri = staged(store, "shards", miniature, text.replace("headline: captions minus none", ""))
    report = tmp_path_factory.mktemp("whole")
    finished(uri, report)
    return uri, report


def score_by_two(store: Store, uri: str, scratch: Path) -> None:
    """Scores the group of a run by two threads."""
    from xstilts.runs.loaded_backbone import LoadedBackbone
    from xstilts.runs.score import group

    cpu, (_, steps) = torch.device("cpu"), spec_of(store, "runs/shards", "tiny-llava")
    first = next(step for step in steps.values() if step.kind == "score")
    # Loaded here because transformers loads one model at a time.
    backbones = [LoadedBackbone(store, first, scratch / f"loaded-{rank}", cpu) for rank in range(2)]
    with ThreadPoolExecutor(2) as threads:
        futures = [
            threads.submit(group, uri, "tiny-llava", Threads(rank, 2), cpu, backbones[rank])
            for rank in range(2)
        ]
        for future in futures:
            future.result()


def score_manifests(store: Store) -> dict[str, Manifest]:
    """Fingerprint → manifest of the run's score steps that are done."""
    _, steps = spec_of(store, "runs/shards", "tiny-llava")
    manifests = {name: store.manifest("score", name) for name in steps}
    return {name: manifest for name, manifest in manifests.items() if manifest is not None}


@pytest.mark.slow
def test_two_workers_score_one_model_together_and_to_the_bit_as_one(
    store: Store, scored: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xstilts.runs import score, score_together
    from xstilts.scoring.predict import predicted

    batches: list[int] = []

    def counted(*args: Any) -> Iterator[Any]:
        items = list(predicted(*args))
        batches.append(len(items))
        return iter(items)

    alone = score_manifests(store)
    store.delete("steps/score/")
    monkeypatch.setattr(score_together, "predicted", counted)
    monkeypatch.setattr(score, "deal", lambda undone, *_: ([], [*undone.items()]))
    score_by_two(store, scored[0], tmp_path)
    together = score_manifests(store)
    assert together.keys() == alone.keys()
    for name, manifest in together.items():
        tables = [
            pq.read_table(store.file(m, "predictions.parquet")) for m in (manifest, alone[name])
        ]
        assert tables[0].equals(tables[1])
    assert len(batches) >= 2
    assert min(batches) > 0, "both workers computed a part"


@pytest.mark.slow
def test_a_worker_that_cannot_read_a_model_fails_its_steps_and_writes_nothing(
    store: Store, scored: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xstilts.runs import score, score_together
    from xstilts.scoring.predict import predicted

    def failing(predictor: Any, jobs: Any, rank: int, world: int) -> Iterator[Any]:
        if rank == 1:
            raise OSError("the disk is full")
        return predicted(predictor, jobs, rank, world)

    before = score_manifests(store)
    store.delete("steps/score/")
    monkeypatch.setattr(score_together, "predicted", failing)
    monkeypatch.setattr(score, "deal", lambda undone, *_: ([], [*undone.items()]))
    score_by_two(store, scored[0], tmp_path)
    assert before
    assert score_manifests(store) == {}
    failures = [store.get_json(key) for key in store.list("runs/shards/failures/")]
    assert len(failures) == len(before)
    assert all("worker 1: OSError: the disk is full" in (f or {})["error"] for f in failures)
    store.delete("runs/shards/failures/")


@pytest.mark.slow
def test_pools_in_shards_of_two_workers_score_as_in_one_pass(
    store: Store, scored: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xstilts.runs import score_shards

    uri, report = scored
    store.delete("steps/score/")
    monkeypatch.setattr(score_shards, "SHARD", 40)
    made: list[str] = []
    put = score_shards.put_shard
    monkeypatch.setattr(
        score_shards,
        "put_shard",
        lambda store, key, *rest: (made.append(key), put(store, key, *rest)),
    )
    score_by_two(store, uri, tmp_path)
    assert len(made) == len(set(made)) > 10, "each shard is computed once"
    assert store.list("work/") == [], "the shards are removed after scoring"
    actions.report(uri, tmp_path / "sharded")
    whole, sharded = (
        pd.read_parquet(folder / "results.parquet") for folder in (report, tmp_path / "sharded")
    )
    assert set(whole["metric"]) >= {"bucc_f1", "map_at_20"}
    assert set(whole[whole["evaluation"] == "bucc_mining"]["language"]) >= {"qaa", "qab"}
    pd.testing.assert_frame_equal(whole, sharded, atol=1.0)
    assert whole[whole["metric"] == "bucc_f1"]["value"].max() > 5


@pytest.mark.slow
def test_a_killed_and_resumed_step_equals_an_uninterrupted_one(
    store: Store, miniature: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = staged(
        store,
        "resumed",
        miniature,
        PLAN.replace("ud_en: {updates: 30}", "ud_en: {updates: 30, selection: 4}"),
    )
    actions.finetune(uri, "tiny-llava", inline)
    fingerprint = targets(store, uri)[0]
    before = weights(store, fingerprint)
    store.delete(f"steps/finetune/{fingerprint}/manifest.json")
    put = Store.put_checkpoint
    updates: list[int] = []

    def killed(self: Store, fp: str, attempt: str, files: Any, state: Any) -> None:
        put(self, fp, attempt, files, state)
        updates.append(state["update"])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            actions.finetune(uri, "tiny-llava", inline)
    assert updates == [5]
    actions.finetune(uri, "tiny-llava", inline)
    assert weights(store, fingerprint) == before
    assert store.latest_checkpoint(fingerprint) is None


@pytest.mark.slow
def test_background_processes_change_no_weight(store: Store, miniature: Path) -> None:
    """Every finetune step of the plan, those with pictures included."""
    trained = []
    for name, more in (("here", ""), ("background", ", data_processes: 1")):
        uri = staged(store, name, miniature, PLAN.replace("threads: 1", f"threads: 1{more}"))
        fingerprints = spec_of(store, f"runs/{name}", "tiny-llava")[0]["finetune"]
        for fingerprint in fingerprints:
            store.delete(f"steps/finetune/{fingerprint}/manifest.json")
        actions.finetune(uri, "tiny-llava", inline)
        trained.append({fingerprint: weights(store, fingerprint) for fingerprint in fingerprints})
    assert trained[0] == trained[1]
    assert len(trained[0]) > 3


@pytest.mark.slow
def test_english_dev_selects_the_weights_and_both_are_scored(
    store: Store, miniature: Path, tmp_path: Path
) -> None:
    """The learning rate is so high that the last update is not the best, so both sets of weights are
    kept and scored.
    """
    text = PLAN.replace(
        "ud_en: {updates: 30}", "ud_en: {updates: 12, selection: 3, lr: 0.05, schedule: constant}"
    )
    uri = staged(store, "selected", miniature, text)
    finished(uri, tmp_path)
    earlier = 0
    for fingerprint in targets(store, uri):
        manifest = store.manifest("finetune", fingerprint)
        assert manifest is not None
        evaluations = manifest.info["selection"]["looks"]
        assert [entry["update"] for entry in evaluations] == [3, 6, 9, 12]
        best = max(entry["value"] for entry in evaluations)
        assert manifest.info["selection"]["update"] == next(
            entry["update"] for entry in evaluations if entry["value"] == best
        )
        differs = manifest.info["selection"]["update"] != 12
        assert ("last.trainable.safetensors" in manifest.files) == differs
        earlier += differs
    assert earlier
    results = pd.read_parquet(tmp_path / "results.parquet")
    lasts = results[results["checkpoint"] == "last"]
    assert len(lasts[(lasts["language"] == "avg") & (lasts["metric"] == "udpos_f1")]) == earlier
    assert set(results["checkpoint"]) == {"selected", "last"}


@pytest.mark.slow
def test_only_english_dev_reaches_the_selection(store: Store, miniature: Path) -> None:
    text = PLAN.replace("ud_en: {updates: 30}", "ud_en: {updates: 30, selection: 4}")
    uri = planned(store, "english", miniature, text)
    _, steps = spec_of(store, "runs/english", "tiny-llava")
    document = store.get_json("runs/english/expanded.json")
    assert document is not None
    for fingerprint in targets(store, uri):
        encoded = document["steps"][steps[fingerprint].parents["select:ud_en"]]["spec"]
        assert (encoded["split"], encoded["language"]) == ("select", "en")
        assert not {role for role in steps[fingerprint].parents if role.startswith("test:")}


@pytest.mark.slow
def test_two_arms_of_one_seed_start_the_target_from_equal_heads(
    store: Store, miniature: Path
) -> None:
    from xstilts.models.head_set import Heads
    from xstilts.runs.loaded_backbone import LoadedBackbone
    from xstilts.training.order import Order

    uri = staged(store, "heads", miniature)
    _, steps = spec_of(store, "runs/heads", "tiny-llava")
    chosen = [steps[fp] for fp in targets(store, uri) if steps[fp].spec["seed"]["value"] == 0]
    assert len(chosen) == 2
    assert {"init" in step.parents for step in chosen} == {True, False}
    loaded = LoadedBackbone(
        store, chosen[0], Path(os.environ["XSTILTS_CACHE"]) / "loaded", torch.device("cpu")
    )
    heads = [
        Heads(step.spec["tasks"], loaded.backbone, step.spec["recipe"], 0, step.spec["name"])
        for step in chosen
    ]
    first, second = (head.state_dict() for head in heads)
    assert all(torch.equal(first[name], second[name]) for name in first)
    draws = [
        Order(64, 32, step.spec["seed"]["value"], f"{step.spec['name']}/ud_en").draw(3)
        for step in chosen
    ]
    assert draws[0] == draws[1]
    assert chosen[0].parents["train:ud_en"] == chosen[1].parents["train:ud_en"]
