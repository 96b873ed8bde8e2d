"""Vectors on disk, and the shards of large pools: several workers produce what one would."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.models.conftest import SETTINGS
from xstilts.data.encoded import EncodedRow, EncodedRows
from xstilts.errors import StoreError
from xstilts.miniature.backbones import build_tiny
from xstilts.models.backbone import load_backbone
from xstilts.models.processor import load_processor
from xstilts.runs import score, score_shards
from xstilts.runs.score_shards import bounds
from xstilts.scoring.predict import Job, Predictor, predict_rows
from xstilts.scoring.vectors import Vectors
from xstilts.step import Step
from xstilts.store.server import serve
from xstilts.store.store import Store
from xstilts.training.workers import Workers


def test_vectors_on_disk_keep_their_values(tmp_path: Path) -> None:
    vectors = Vectors.empty(3, 2, tmp_path)
    for place in (2, 0, 1):
        vectors.put(place, place + 10, torch.tensor([place, 0.5]))
    assert vectors.rows == [10, 11, 12]
    assert vectors.take([2, 0]).tolist() == [[2.0, 0.5], [0.0, 0.5]]
    assert [len(part) for part in vectors.parts(range(3), 2)] == [2, 1]


def test_vectors_on_disk_leave_no_file(tmp_path: Path) -> None:
    vectors = Vectors.empty(3, 2, tmp_path)
    assert len(vectors) == 3
    assert list(tmp_path.iterdir()) == []


def test_small_sets_have_no_shards() -> None:
    assert bounds(score_shards.SHARD) == []
    assert bounds(2 * score_shards.SHARD + 1)[1:] == [
        range(score_shards.SHARD, 2 * score_shards.SHARD), range(2 * score_shards.SHARD, 2 * score_shards.SHARD + 1)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch, serve(tmp_path_factory.mktemp("s3")) as server:
        for name, value in server.env().items():
            patch.setenv(name, value)
        yield Store.open("s3://xstilts/vectors", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    texts = ["bako ritu zeba.", "koko tuba rima baze.", "zeko bama tutu koba rize."] * 20
    folder = build_tiny("xlm_r", 1, texts, SETTINGS, tmp_path_factory.mktemp("xlm_r"))
    backbone = load_backbone(folder, "xlm_r", "bidirectional").eval()
    scratch = tmp_path_factory.mktemp("scratch")
    return Predictor(
        backbone, None, load_processor(folder, "xlm_r"), 500, torch.device("cpu"), scratch
    )


def job(step: str, rows: int, format_: str = "ranking") -> Job:
    random = Random(step)
    made = [
        EncodedRow(n, "en", [[random.randrange(20, 200) for _ in range(random.randrange(3, 25))]], 0, [], [], 0, [], [], [], [], 1)
        for n in range(rows)
    ]  # fmt: skip
    table = [{**asdict(row), "length": len(row.segments[0])} for row in made]
    return Job(
        step,
        "pool",
        format_,
        EncodedRows(pa.Table.from_pylist(table)),
        depth=0.5 if format_ == "mining" else None,
    )


def test_shards_of_two_workers_equal_one_pass(
    store: Store, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_shards, "SHARD", 10)
    jobs = [job("sharded", 37), job("mined", 21, "mining"), job("small", 8)]
    with torch.no_grad():
        whole = predict_rows(predictor, jobs)[1]
        every = {"model": list(score_shards.shards(jobs, "selected"))}
        assert [len(shard.places) for shard in every["model"]] == [10, 10, 10, 7, 10, 10, 1]
        for rank in range(2):
            score_shards.make(store, predictor, score_shards.assigned(every, rank, 2)["model"])
        monkeypatch.setattr(
            score_shards, "predict_rows", None
        )  # gathering must not compute anything
        gathered = score_shards.with_vectors(store, predictor, jobs, "selected")
    assert [job.vectors is not None for job in gathered] == [True, True, False]
    for sharded in gathered[:2]:
        expected = whole[sharded.step, "pool"]
        assert sharded.vectors is not None
        assert sharded.vectors.rows == expected.rows
        assert np.allclose(sharded.vectors.table, expected.table, atol=2e-3)


def test_the_scoring_worker_computes_missing_shards(
    store: Store, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker was lost before its second shard."""
    monkeypatch.setattr(score_shards, "SHARD", 10)
    jobs = [job("lost", 25)]
    with torch.no_grad():
        score_shards.make(store, predictor, list(score_shards.shards(jobs, "selected"))[:1])
        (gathered,) = score_shards.with_vectors(store, predictor, jobs, "selected")
    assert gathered.vectors is not None
    assert gathered.vectors.rows == list(range(25))


def test_a_shard_of_another_width_is_refused(store: Store, tmp_path: Path) -> None:
    key = score_shards.shard_key("wide", "selected", "pool", 0)
    score_shards.put_shard(store, key, Vectors.of([(0, torch.ones(3))]), tmp_path)
    with pytest.raises(StoreError, match="delete it"):
        score_shards.read_shard(store, key, Vectors.empty(1, 4), range(1), tmp_path)


def test_shards_of_all_models_are_distributed_in_turn(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models of three shards each: the second model's first goes to the worker with fewer."""
    monkeypatch.setattr(score_shards, "SHARD", 10)
    every = {name: list(score_shards.shards([job(name, 30)], "selected")) for name in ("a", "b")}
    shares = [score_shards.assigned(every, rank, 2) for rank in range(2)]
    assert [{model: len(parts) for model, parts in worker.items()} for worker in shares] == [
        {"a": 2, "b": 1},
        {"a": 1, "b": 2},
    ]


def test_a_shard_in_half_precision_is_refused(store: Store, tmp_path: Path) -> None:
    key = score_shards.shard_key("half", "selected", "pool", 0)
    half = Vectors([0], np.ones((1, 4), np.float16))  # type: ignore[arg-type]
    score_shards.put_shard(store, key, half, tmp_path)
    with pytest.raises(StoreError, match="dtype float16, expected float32; delete it"):
        score_shards.read_shard(store, key, Vectors.empty(1, 4), range(1), tmp_path)


def test_a_shard_of_the_widest_models_is_half_a_gigabyte() -> None:
    assert score_shards.SHARD * 4_096 * np.dtype(np.float32).itemsize == 2**29


def test_a_model_whose_shards_cannot_be_prepared_does_not_stop_the_worker(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worker that scores the model records the error; the others' shards are computed."""

    def jobs(loaded: Any, steps: list[Step]) -> list[Job]:
        raise KeyError("its candidates are not done")

    class Loaded:
        def parent(self, kind: str, fingerprint: str, child: Step) -> None:
            return None

    monkeypatch.setattr(score, "jobs_of", jobs)
    score._make_shards(Loaded(), {"a" * 64: [Step("score", {})]}, Workers())  # type: ignore[arg-type]
    assert (
        "shards of aaaaaaaaaaaa: KeyError: 'its candidates are not done'" in capsys.readouterr().err
    )
