"""Time and memory of a report at full size, without S3:

python -m benchmarks.report --backbones 1 3 6

Writes the counts and examples that score steps leave for pipelines/plans/modality.yaml, with random
predictions for every test example, and makes the report of some of its backbones. Each size runs in
a process of its own, whose peak memory is recorded. `--texts` measures how fast the counts of
predictions are made.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.measure import OURS, Record, write
from xstilts.analysis.inputs import Cell, ReportInput, Scored, metrics_of
from xstilts.analysis.parallel import in_parallel
from xstilts.plan.expand import expand_offline
from xstilts.plan.load import load_plan
from xstilts.runs.collect import Reader
from xstilts.runs.score_output import SCHEMA
from xstilts.runs.step_counts import COUNTS, EXAMPLES, write_counts
from xstilts.scoring.counts import VERSION, column_names
from xstilts.scoring.metrics import CORPUS, METRICS
from xstilts.step import Step
from xstilts.store.manifest import Blob, Manifest
from xstilts.store.store import Store
from xstilts.tasks.registry import TASKS

PLAN = Path("pipelines/plans/modality.yaml")
#: The targets: seconds, GiB, and MB per million predictions, on two cores.
SECONDS, MEMORY, SLOPE, HTML = 600, 4.0, 20.0, 10.0
#: Examples of a passage or premise, which are one cluster.
PER_CLUSTER = 3
PREDICTIONS, TEXTS = "predictions.parquet", ".texts.parquet"


class Folder:
    """The finished score steps of a folder: what `Reader` needs of a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifests: dict[str, Manifest] = {}

    def manifest(self, kind: str, fingerprint: str) -> Manifest:
        return self.manifests[fingerprint]

    def file(self, manifest: Manifest, name: str) -> Path:
        return self.blob_path(manifest.files[name].sha256)

    def blob_path(self, name: str) -> Path:
        return self.folder / name


def write_examples(
    path: Path, evaluation: str, languages: list[str], share: float
) -> dict[str, int]:
    """Examples of an evaluation, a share of the official numbers. Returns language → rows."""
    task, tables, sizes = TASKS[evaluation], [], {}
    for language in languages:
        rows = max(PER_CLUSTER, round(share * (task.rows("test", language) or 1000)))
        sizes[language] = rows
        numbers = [str(number) for number in range(rows)]
        keys = numbers if task.parallel else [""] * rows
        clusters = [f"p{n // PER_CLUSTER}" if task.parallel else "" for n in range(rows)]
        tables.append(
            pa.table(
                {
                    "language": [language] * rows,
                    "row": pa.array(range(rows), pa.int32()),
                    "id": [f"{evaluation}-{language}-{number}" for number in numbers],
                    "cluster": clusters,
                    "parallel": keys,
                }
            )
        )
    table = pa.concat_tables(tables)
    pq.write_table(table, path, compression="zstd")
    write_texts(path.with_suffix(TEXTS), table)
    return sizes


def write_texts(path: Path, examples: pa.Table) -> None:
    """Answers and gold answers of some words. All steps of an evaluation have the same ones: the
    page shows a few of them.
    """
    answers = [json.dumps(f"the answer to question {n % 9973}") for n in range(len(examples))]
    golds = [json.dumps([f"answer to question {n % 9967}"]) for n in range(len(examples))]
    columns = {
        "checkpoint": ["selected"] * len(examples),
        **{name: examples[name] for name in ("language", "row", "cluster", "parallel")},
        "id": pc.binary_join_element_wise('"', examples["id"], '"', ""),
        "prediction": answers,
        "gold": golds,
    }
    table = pa.table({name: columns[name] for name in SCHEMA.names}).cast(SCHEMA)
    pq.write_table(table, path, compression="zstd")


def write_random_counts(
    path: Path, metrics: list[str], sizes: Mapping[str, int], draws: np.random.Generator
) -> None:
    """Counts of random predictions, about 60% right."""
    places, first = [], 0
    for language, rows in sizes.items():
        places.append(["selected", language, first, rows])
        first += rows
    columns: dict[str, Any] = {}
    for metric in (name for name in metrics if name in METRICS):
        names, right = column_names(metric), draws.random(first) < 0.6
        if names[0] in columns:
            continue
        ones = np.ones(first, np.uint8)
        if metric.endswith("_f1") and len(names) == 3 and not metric.startswith(("squad", "mlqa")):
            gold = draws.integers(1, 12, first, np.uint8)
            columns |= dict(zip(names, (gold * right, gold, gold), strict=True))
        elif len(names) == 3:
            shares = np.where(right, 1.0, draws.integers(0, 12, first) / 13)
            columns |= dict(zip(names, (right.astype(np.uint8), shares, ones), strict=True))
        else:
            columns |= dict(zip(names, (right.astype(np.uint8), ones), strict=True))
    corpus = [{name: 50.0 for name in metrics if name in CORPUS} for _ in places]
    metadata = {"version": VERSION, "places": places, "corpus": corpus}
    table = pa.table(columns).replace_schema_metadata({"xstilts": json.dumps(metadata)})
    pq.write_table(table, path, compression="zstd", write_statistics=False)


def score_manifest(fingerprint: str, examples: str, step: Mapping[str, Any]) -> Manifest:
    """The manifest of a score step whose counts and examples are files of the folder."""
    files = {
        COUNTS: Blob(fingerprint, 0),
        EXAMPLES: Blob(examples, 0),
        PREDICTIONS: Blob(str(Path(examples).with_suffix(TEXTS)), 0),
    }
    return Manifest("score", fingerprint, files, dict(step), {})


def synthetic(folder: Path, backbones: int, share: float) -> tuple[Folder, dict[str, Any], int]:
    """(the store, the expanded plan, the number of predictions) of a plan's last backbones."""
    expanded = expand_offline(load_plan(PLAN)).to_json()
    kept = expanded["order"]["backbones"][-backbones:]
    expanded["order"]["backbones"] = kept
    expanded["cells"] = [cell for cell in expanded["cells"] if cell["backbone"] in kept]
    expanded["contrasts"] = [
        contrast
        for contrast in expanded["contrasts"]
        if {contrast.get("backbone", kept[0]), contrast.get("reference_backbone", kept[0])}
        <= set(kept)
    ]
    store, draws, total = Folder(folder), np.random.default_rng(0), 0
    sizes: dict[str, dict[str, int]] = {}
    for cell in expanded["cells"]:
        for evaluation, fingerprint in cell["scores"].items():
            if fingerprint in store.manifests:
                continue
            step = expanded["steps"][fingerprint]
            name = f"{evaluation}.parquet"
            if evaluation not in sizes:
                sizes[evaluation] = write_examples(
                    folder / name, evaluation, step["spec"]["languages"], share
                )
            metrics = list(metrics_of(step["spec"]["metrics"]))
            write_random_counts(folder / fingerprint, metrics, sizes[evaluation], draws)
            total += sum(sizes[evaluation].values())
            store.manifests[fingerprint] = score_manifest(fingerprint, name, step)
    return store, expanded, total


def collected(store: Folder, expanded: Mapping[str, Any]) -> ReportInput:
    """The report's input, read as `xstilts.runs.collect` reads it."""
    reader = Reader(cast(Store, store), store.manifests)
    cells: list[Cell] = []
    metrics: dict[str, Sequence[str]] = {}
    for cell in expanded["cells"]:
        scored: dict[tuple[str, str], Scored] = {}
        for evaluation, fingerprint in cell["scores"].items():
            step = expanded["steps"][fingerprint]
            metrics[evaluation] = metrics_of(step["spec"]["metrics"])
            scored |= reader.read(evaluation, fingerprint, step)
        keys = ("backbone", "arm", "seed", "seed_intermediate", "seed_target", "trained_target")
        cells.append(Cell(**{key: cell[key] for key in keys}, scored=scored, steps=cell["scores"]))
    order = [name for name in expanded["order"]["evaluations"] if name in metrics]
    return ReportInput(
        expanded=expanded,
        cells=in_parallel(cells),
        metrics={name: metrics[name] for name in order},
        missing=[],
        spent=[],
        staged=[],
        banner="Random predictions.",
        run="runs/synthetic",
    )


def measured(folder: Path) -> dict[str, float]:
    """Makes the report of a folder that `main` prepared. Returns its cost."""
    from xstilts.analysis import report as writer

    store, expanded = Folder(folder), json.loads((folder / "expanded.json").read_text())
    for fingerprint, name in json.loads((folder / "steps.json").read_text()).items():
        store.manifests[fingerprint] = score_manifest(fingerprint, name, {})
    writer.COMBINED = 0  # as at full size: texts stay in the store
    start, before = time.perf_counter(), time.process_time()
    writer.write_report(folder / "report", collected(store, expanded))
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - before,
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "html_mb": (folder / "report" / "report.html").stat().st_size / 1e6,
    }


def of_size(backbones: int, share: float) -> dict[str, float]:
    """The cost of a report of so many backbones, from a process of its own."""
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        folder = Path(scratch)
        store, expanded, total = synthetic(folder, backbones, share)
        (folder / "expanded.json").write_text(json.dumps(expanded))
        names = {fp: each.files[EXAMPLES].sha256 for fp, each in store.manifests.items()}
        (folder / "steps.json").write_text(json.dumps(names))
        command = [sys.executable, "-m", "benchmarks.report", "--folder", str(folder)]
        line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    cells = len(expanded["cells"])
    return {"predictions": total / 1e6, "cells": cells, **json.loads(line.splitlines()[-1])}


def texts(rows: int) -> float:
    """Predictions per second whose counts are made from a predictions.parquet."""
    step = Step("score", {"metrics": ["squad_f1", "squad_em"]})
    answers = [json.dumps(f"the answer of question {number % 97}") for number in range(rows)]
    golds = [json.dumps([f"answer of question {number % 89}"]) for number in range(rows)]
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        path = Path(scratch) / "predictions.parquet"
        numbers = pa.array(range(rows), pa.int32())
        text = {name: [""] * rows for name in ("cluster", "parallel")}
        columns = {
            "checkpoint": ["selected"] * rows,
            "language": [f"l{n // 5000}" for n in range(rows)],
        }
        table = {
            **columns,
            "row": numbers,
            "id": answers,
            **text,
            "prediction": answers,
            "gold": golds,
        }
        pq.write_table(pa.table(table), path)
        start = time.process_time()
        write_counts(path, step.spec["metrics"], Path(scratch))
        return rows / (time.process_time() - start)


def records(sizes: list[dict[str, float]]) -> list[Record]:
    """The records of several sizes: time, memory, and the slope of memory."""
    rows = []
    for size in sizes:
        case = f"report of {size['cells']:.0f} cells, {size['predictions']:.0f} million predictions"
        setting = {"plan": PLAN.name, "load": os.getloadavg()[0], **size}
        note = f"{size['cpu_seconds']:.0f} s of CPU time, page of {size['html_mb']:.1f} MB"
        rows.append(Record(case, "s", {OURS: [size["seconds"]]}, {OURS: note}, setting=setting))
        rows.append(Record(f"{case}: memory", "GiB", {OURS: [size["gib"]]}, setting=setting))
    if len(sizes) > 1:
        first, last = sizes[0], sizes[-1]
        slope = (last["gib"] - first["gib"]) * 1073.741824
        slope /= last["predictions"] - first["predictions"]
        case = "report: memory per million predictions"
        rows.append(Record(case, "MB", {OURS: [slope]}, {OURS: f"target below {SLOPE:g}"}))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", type=int, nargs="*", default=[])
    parser.add_argument("--share", type=float, default=1.0, help="of the official test sizes")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--texts", type=int)
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(measured(options.folder)))
        return
    if options.texts:
        rate = texts(options.texts)
        case = "counts of question answering predictions"
        made = [Record(case, "1/s", {OURS: [rate]}, {OURS: "of CPU time"}, less_is_better=False)]
    else:
        sizes = []
        for backbones in options.backbones:
            sizes.append(of_size(backbones, options.share))
            print(sizes[-1], flush=True)
        made = records(sizes)
    print(json.dumps([record.figures for record in made]))
    if not options.no_record:
        print(write("report", made))


if __name__ == "__main__":
    main()
