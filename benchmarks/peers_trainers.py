"""ms-swift and LLaMA-Factory as alternatives of `python -m benchmarks.training`.

They need other releases of transformers than this project, so each runs in a Python environment of
its own (`benchmarks/trainer_process.py`). It gets the initial weights, token ids and labels as
files, and leaves its weights, the time of its `Trainer.train`, and what it trained on. `check`
compares that with the case; the metric is computed here.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks import peers_transformers, training_ours
from benchmarks.trainer_jobs import Peer, job_of, tokenizer
from benchmarks.training_cases import PAD, START, Case, Row, model_of

#: Largest relative difference of the first update's loss from ours: in single precision, and under
#: bfloat16 autocast. Attention across the rows of a pack changes it by 4e-3 in the case `text`.
TOLERANCE, TOLERANCE_BF16 = 1e-5, 2e-3
#: Hubs are not asked; nothing is written to the user's caches.
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "USE_HF": "1"}
CACHES = ("HF_HOME", "MODELSCOPE_CACHE", "TRITON_CACHE_DIR")

#: Alternative → the trainer.
PEERS: Mapping[str, Peer] = {
    "ms-swift": Peer(
        "swift", "ms-swift", False,
        "group_by_length, fused AdamW; its packing needs FlashAttention; bf16 on a GPU",
        {"span": "no heads for spans", "tagging": "no heads for tags"},
    ),
    "LLaMA-Factory": Peer(
        "llamafactory", "llamafactory", True,
        "neat_packing of the rows of each update, fused AdamW; bf16 on a GPU",
        {
            "classification": "no heads for classes",
            "span": "no heads for spans",
            "tagging": "no heads for tags",
        },
    ),
}  # fmt: skip


class OtherTraining(RuntimeError):
    """An alternative trained on something else than the case: its time says nothing."""


def python_of(name: str, chosen: str | None) -> str | None:
    """The interpreter for a trainer: the chosen one, or this one where it is installed."""
    if chosen:
        return os.path.abspath(chosen)  # links stay: they lead out of a virtual environment
    try:
        version(PEERS[name].package)
    except PackageNotFoundError:
        return None
    return sys.executable


def unavailable(case: Case, name: str, python: str | None) -> str | None:
    """Why a trainer cannot run a case; None if it can."""
    if case.images:
        return "not driven: only cases without images are"
    return PEERS[name].lacks.get(case.format) or (None if python else "not installed")


def about(name: str, python: str) -> str:
    """What a trainer is, with its release and that of transformers in its environment."""
    packages = [PEERS[name].package, "transformers"]
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    found = subprocess.run(
        [python, "-I", "-c", code, *packages], capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise RuntimeError(f"{python}: no {' or '.join(packages)}: {found.stderr[-1000:]}")
    own, library = found.stdout.split()
    return f"{own} with transformers {library}: {PEERS[name].about}"


def train(
    case: Case, name: str, python: str, rows: Sequence[Row], dev: Sequence[Row], seed: int
) -> tuple[float, float]:
    """(seconds of one epoch, metric on the dev rows)."""
    peer = PEERS[name]
    model = model_of(case, seed, head=True)
    with tempfile.TemporaryDirectory(prefix="xstilts-benchmark-") as scratch:
        folder = Path(scratch)
        model.save_pretrained(folder / "model")
        tokenizer().save_pretrained(folder / "model")
        job = job_of(case, peer, rows, seed, folder, torch.cuda.is_available())
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        environment = {**os.environ, **OFFLINE, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        environment |= {cache: str(folder / "cache") for cache in CACHES}
        script = Path(__file__).with_name("trainer_process.py")
        with (folder / "log").open("w+", encoding="utf-8") as log:
            ended = subprocess.run(
                [python, "-I", str(script), str(folder / "job.json")],
                cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
            log.seek(0)
            if ended.returncode:
                raise RuntimeError(f"{name} ended with {ended.returncode}:\n{log.read()[-4000:]}")
        result = json.loads(Path(job["result"]).read_text(encoding="utf-8"))
        check(case, name, rows, result, model)
        trained: Any = type(model).from_pretrained(job["saved"], dtype=torch.float32)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return result["seconds"], peers_transformers.metric(case, trained.to(device).eval(), dev, [])


def rows_in(step: Mapping[str, Any]) -> list[Row]:
    """The rows of an update, however they were padded or packed: each begins with START."""
    found: list[Row] = []
    for ids, labels in zip(step["ids"], step["labels"], strict=True):
        if isinstance(labels, int):  # a class
            found.append(Row([token for token in ids if token != PAD], label=labels))
            continue
        for token, label in zip(ids, labels, strict=True):
            if token == PAD and label < 0:
                continue
            if token == START or not found:
                found.append(Row([]))
            found[-1].ids.append(token)
            found[-1].labels.append(label)
    return found


def check(
    case: Case, name: str, rows: Sequence[Row], result: Mapping[str, Any], model: Any
) -> None:
    """Raises OtherTraining if a trainer did not have the case's rows and labels once each, the same
    number of rows in every update, and in the first update without dropout our loss under the
    initial weights. `result` is what `benchmarks/trainer_process.py` wrote.
    """
    seen = [rows_in(step) for step in result["steps"]]
    sizes = [len(update) for update in seen]
    if sizes != [case.batch] * case.updates:
        raise OtherTraining(f"{name}: updates of {sizes} rows, not {case.updates} × {case.batch}")
    trained = [row for update in seen for row in update]
    wanted, had = _supervised(rows), _supervised(trained)
    if had != wanted:
        raise OtherTraining(f"{name}: {had} supervised tokens in an epoch, not {wanted}")
    if Counter(_keys(trained)) != Counter(_keys(rows)):
        raise OtherTraining(f"{name}: other rows, with the same number of supervised tokens")
    first, theirs = rows_in(result["without_dropout"]), result["without_dropout"]["loss"]
    if Counter(_keys(first)) - Counter(_keys(rows)) or len(first) != case.batch:
        raise OtherTraining(f"{name}: other rows in the first update without dropout")
    of = training_ours.loss_of if case.objective == "lm" else peers_transformers.loss_of
    ours = of(case, model, first)
    tolerance = TOLERANCE_BF16 if torch.cuda.is_available() else TOLERANCE
    if not math.isclose(theirs, ours, rel_tol=tolerance):
        raise OtherTraining(f"{name}: loss {theirs:.6f} in the first update, not {ours:.6f}")


def _supervised(rows: Sequence[Row]) -> int:
    return sum(label >= 0 for row in rows for label in row.labels)


def _keys(rows: Sequence[Row]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], int]]:
    return ((tuple(row.ids), tuple(row.labels), row.label) for row in rows)
