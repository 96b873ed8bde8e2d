"""Counts and examples of a score step: the same numbers as the texts, written once per step."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xstilts.analysis.inputs import Scored
from xstilts.errors import StoreError
from xstilts.runs import step_counts as step_counts
from xstilts.runs.collect import Reader
from xstilts.runs.score_output import SCHEMA
from xstilts.runs.step_counts import clusters_of, read_counts, read_examples, write_counts
from xstilts.scoring.counts import smallest
from xstilts.scoring.metrics import CORPUS, METRICS, task_metrics
from xstilts.step import Step
from xstilts.store.server import serve
from xstilts.store.store import Store

#: Named metrics of a task → (prediction, gold) of its examples.
CASES: dict[str, tuple[list[str], list[tuple[Any, Any]]]] = {
    "classes": (["accuracy"], [(0, 0), (2, 1), (1, 1)]),
    "answers": (["squad_f1", "squad_em"], [("a red ball", ["the red ball", "ball"]), ("", ["x"])]),
    "mlqa": (["mlqa_f1", "mlqa_em"], [("der rote Ball", ["rote Ball"]), ("Ball", ["ein Ball"])]),
    "answers or none": (
        ["squad_v2_f1", "squad_v2_em"],
        [("", []), (["a b", "a"], ["a b c"]), ("x", [])],
    ),
    "entities": (["ner_f1"], [(["B-PER", "O"], ["B-PER", "B-LOC"]), (["O", "O"], ["O", "O"])]),
    "tags": (
        ["udpos_f1", "token_accuracy", "macro_f1"],
        [(["NOUN", "VERB"], ["NOUN", "ADJ"]), (["X"], ["X"])],
    ),
    "ranking": (["map_at_20"], [(["a", "b", "c"], ["b", "d", "c"]), (["d"], ["d"])]),
    "mining": (
        ["bucc_f1", "bucc_precision", "bucc_recall"],
        [("e1", ["e1"]), ("e2", []), ("", [])],
    ),
    "captions": (["cider"], [("a dog", ["a dog runs"]), ("a dog", ["one dog"])]),
    "votes": (["vqa_accuracy"], [("yes", ["yes"] * 2 + ["no"] * 8), ("no", ["no"] * 10)]),
    "duplicates": (["accuracy", "binary_f1"], [(1, 1), (0, 1), (1, 0)]),
}


def predictions(
    path: Path,
    examples: list[tuple[Any, Any]],
    languages: tuple[str, ...] = ("en", "de"),
    checkpoints: tuple[str, ...] = ("selected", "last"),
) -> Path:
    """A predictions.parquet in which `last` has the predictions in reverse."""
    rows = [
        {
            "checkpoint": checkpoint, "language": language, "row": number, "id": f"q{number}",
            "cluster": "picture", "parallel": f"k{number}",
            "prediction": json.dumps(prediction), "gold": json.dumps(gold),
        }
        for language in languages
        for checkpoint in checkpoints
        for number, (prediction, gold) in enumerate(
            examples if checkpoint == "selected" else [(g if isinstance(g, int) else p, g) for p, g in examples]
        )
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    return path


def reader(store: Store, *steps: Step) -> Reader:
    """A reader of these finished steps."""
    read = store.manifests([(step.kind, step.fingerprint) for step in steps])
    manifests = {manifest.fingerprint: manifest for manifest in read if manifest is not None}
    assert len(manifests) == len(steps)
    return Reader(store, manifests)


@pytest.mark.parametrize("case", CASES)
def test_counts_give_the_same_numbers_as_the_texts_to_the_bit(case: str, tmp_path: Path) -> None:
    metrics, examples = CASES[case]
    files = write_counts(predictions(tmp_path / "p.parquet", examples), metrics, tmp_path)
    counted = read_counts(files["counts.parquet"])
    assert counted is not None
    of_language = read_examples(files["examples.parquet"], False)["de"]
    texts = [list(side) for side in zip(*examples, strict=True)]
    by_text = Scored(of_language.ids, of_language.clusters, *texts, "test", language="de")
    for metric in task_metrics(metrics):
        if metric in CORPUS:
            assert counted.corpus["selected", "de"][metric] == by_text.value(metric)
        else:
            expected = METRICS[metric].counts(*texts, "de")
            np.testing.assert_array_equal(counted.of(("selected", "de"), metric), expected)


def test_all_metrics_are_in_a_case() -> None:
    covered = {metric for metrics, _ in CASES.values() for metric in task_metrics(metrics)}
    assert {*METRICS, *CORPUS} - covered == {"retrieval_accuracy", "box_iou50"}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1, 255], np.uint8),
        ([256], np.uint16),
        ([70_000], np.uint32),
        ([0.5, 0.25], np.float32),
        ([2 / 3], np.float64),
        ([-1], np.float32),
    ],
)
def test_a_column_has_the_smallest_type_that_keeps_its_numbers(
    values: list[float], kind: type
) -> None:
    column = smallest(np.asarray(values, dtype=np.float64))
    assert column.dtype == kind
    assert column.tolist() == values


def test_languages_with_columns_of_different_types_keep_their_numbers(tmp_path: Path) -> None:
    """The F1 of one language is whole numbers, that of the other is not."""
    path = tmp_path / "p.parquet"
    rows = [
        ("en", "x", ["x"]),
        ("de", "x b", ["x b c"]),
    ]
    table = [
        {"checkpoint": "selected", "language": code, "row": 0, "id": "q", "cluster": "", "parallel": "",
         "prediction": json.dumps(prediction), "gold": json.dumps(gold)}
        for code, prediction, gold in rows
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(table, schema=SCHEMA), path)
    counted = read_counts(write_counts(path, ["squad_f1", "squad_em"], tmp_path)["counts.parquet"])
    assert counted is not None
    assert counted.of(("selected", "en"), "squad_f1").tolist() == [[1.0, 1.0, 1.0]]
    assert counted.of(("selected", "de"), "squad_f1").tolist() == [[0.0, 0.8, 1.0]]


def test_models_scored_on_the_same_examples_have_the_same_file_of_examples(tmp_path: Path) -> None:
    """Whatever they predicted, and whether they have a second checkpoint."""
    files = []
    for name, answer, checkpoints in (("a", 0, ("selected", "last")), ("b", 1, ("selected",))):
        folder = tmp_path / name
        folder.mkdir()
        examples = [(answer, 1)] * 5000
        path = predictions(folder / "p.parquet", examples, checkpoints=checkpoints)
        files.append(write_counts(path, ["accuracy"], folder)["examples.parquet"].read_bytes())
    assert files[0] == files[1]


def test_rows_of_a_language_in_two_places_are_refused(tmp_path: Path) -> None:
    path = predictions(
        tmp_path / "p.parquet", [(1, 1)], languages=("en", "de", "en"), checkpoints=("selected",)
    )
    with pytest.raises(StoreError, match="rows of selected en are in two places"):
        write_counts(path, ["accuracy"], tmp_path)


def present(cluster: list[str], parallel: list[str]) -> pa.Table:
    rows = {"row": range(len(cluster)), "id": "same", "cluster": cluster, "parallel": parallel}
    return pa.Table.from_pandas(pd.DataFrame(rows))


def test_clusters_differ_between_languages_and_a_row_without_one_is_its_own() -> None:
    table = present(["a", "a", ""], ["", "", ""])
    assert clusters_of(table, "de") == ["de/a", "de/a", "de/#2"]
    assert set(clusters_of(table, "de")).isdisjoint(clusters_of(table, "en"))


@pytest.mark.parametrize(("parallel", "keys"), [(True, ["0", "1"]), (False, [])])
def test_examples_of_earlier_versions_are_parallel_by_id_if_the_task_has_translations(
    parallel: bool, keys: list[str], tmp_path: Path
) -> None:
    table = pa.table({"language": ["de", "de"], "id": ["0", "1"], "cluster": ["p", "1"]})
    pq.write_table(table, tmp_path / "examples.parquet")
    examples = read_examples(tmp_path / "examples.parquet", parallel)["de"]
    assert (list(examples.clusters), list(examples.rows)) == (["de/p", "de/1"], [])
    assert list(examples.parallel) == keys


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch, serve(folder / "s3") as server:
        for name, value in server.env().items():
            patch.setenv(name, value)
        yield Store.open("s3://xstilts/counts", cache=folder / "cache")


STEP = Step(
    "score",
    {"languages": ["en", "de"], "metrics": ["accuracy"], "format": "classification"},
    settings={"splits": {"de": "validation"}},
)


@pytest.mark.parametrize("stale", [False, True], ids=["an earlier step", "other metrics"])
def test_a_step_without_counts_of_this_version_gets_them_once(
    stale: bool, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = predictions(tmp_path / "predictions.parquet", [(1, 1), (0, 1)])
    files = {path.name: path}
    if stale:
        with monkeypatch.context() as patch:
            patch.setattr(step_counts, "VERSION", 0)
            files |= write_counts(path, ["accuracy"], tmp_path)
    store.commit(STEP, files, {})
    scored = reader(store, STEP).read("xnli", STEP.fingerprint, STEP.to_json())
    manifest = store.manifest("score", STEP.fingerprint)
    assert manifest is not None
    assert sorted(manifest.files) == ["counts.parquet", "examples.parquet", "predictions.parquet"]
    assert manifest.step == STEP.to_json()
    german = scored["xnli", "de"]
    assert (german.value("accuracy"), german.split) == (50.0, "validation")
    assert german.last is not None
    assert german.last.value("accuracy") == 100.0
    monkeypatch.setattr(step_counts, "write_counts", None)  # a second report makes none
    assert (
        reader(store, STEP).read("xnli", STEP.fingerprint, STEP.to_json()).keys() == scored.keys()
    )


def test_texts_are_read_when_they_are_used(store: Store, tmp_path: Path) -> None:
    path = predictions(tmp_path / "predictions.parquet", [(1, 1), (0, 1)])
    store.commit(STEP, {path.name: path, **write_counts(path, ["accuracy"], tmp_path)}, {})
    german = reader(store, STEP).read("xnli", STEP.fingerprint, STEP.to_json())["xnli", "de"]
    assert (list(german.predictions), list(german.golds)) == ([1, 0], [1, 1])
    assert german.last is not None
    assert list(german.last.predictions) == [1, 1]


def test_cells_on_the_same_examples_share_them(store: Store, tmp_path: Path) -> None:
    steps = []
    for number, answer in enumerate((0, 1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        step = Step(STEP.kind, {**STEP.spec, "model": number}, settings=STEP.settings)
        path = predictions(folder / "predictions.parquet", [(answer, 1)])
        store.commit(step, {path.name: path, **write_counts(path, ["accuracy"], folder)}, {})
        steps.append(step)
    every = reader(store, *steps)
    cells = [every.read("xnli", step.fingerprint, step.to_json())["xnli", "de"] for step in steps]
    assert cells[0].ids is cells[1].ids
    assert cells[0].clusters is cells[1].clusters
    assert [cell.value("accuracy") for cell in cells] == [0.0, 100.0]
