"""Micro-batches prepared in background processes are those of the process that trains."""

import hashlib
import io
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil

from components.launch.descendants import children
from xstilts.data.encoded import EncodedRows, Images
from xstilts.models.batch import Segment
from xstilts.models.picture_inputs import FixedPictures
from xstilts.models.processor import Processor
from xstilts.processes import is_running
from xstilts.training.loop import Progress, TrainingSettings, TrainTask, make_optimiser, train
from xstilts.training.prefetch import (
    MicroBatch,
    Prefetcher,
    Preparation,
    PreparationFailed,
    Prepared,
    processes_for,
)
from xstilts.training.workers import StepFailed, Workers

CPU, GPU = torch.device("cpu"), torch.device("cuda")
#: Requests of two tasks: the second has pictures.
REQUESTS = [(0, [3, 1]), (1, [0, 2]), (0, [0]), (1, [1]), (0, [2, 2, 2]), (1, [2])]


class Plain:
    """The placement of a family without token types."""

    def positions(self, segment: Segment) -> torch.Tensor:
        return torch.arange(len(segment.input_ids))

    def token_types(self, segment: Segment) -> None:
        return None


def write_rows(path: Path, images: list[list[str]]) -> EncodedRows:
    rows = [
        {"row": i, "language": "en", "segments": [[i + 1] * (i + 2)], "length": i + 2, "label": i % 3, "supervised": 1,
         "images": shown, "grids": [[] for _ in shown], "labels": [], "span": [], "offsets": [], "words": []}
        for i, shown in enumerate(images)
    ]  # fmt: skip
    ints, texts = pa.list_(pa.int32()), pa.list_(pa.string())
    schema = pa.schema(
        {"row": pa.int32(), "language": pa.string(), "segments": pa.list_(ints), "length": pa.int32(), "label": pa.int32(),
         "supervised": pa.int32(), "images": texts, "grids": pa.list_(ints), "labels": ints, "span": ints, "offsets": ints,
         "words": ints}
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return EncodedRows(path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A text task, and a task with three pictures, of which the last row's is no image."""
    folder, pictures = tmp_path_factory.mktemp("rows"), []
    for seed in range(3):
        out = io.BytesIO()
        values = np.random.default_rng(seed).integers(0, 256, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(values).save(out, "PNG")
        pictures.append(out.getvalue())
    pictures.append(b"no picture")
    names = [hashlib.sha256(data).hexdigest() for data in pictures]
    pq.write_table(pa.table({"sha256": names, "bytes": pa.array(pictures)}), folder / "images")
    rows = [
        write_rows(folder / "text", [[]] * 4),
        write_rows(folder / "shown", [[n] for n in names]),
    ]
    images = CLIPImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    processor = Processor("llava", None, FixedPictures(images, 4))
    shown = Images([folder / "images"], folder / "arrow")
    return Prepared(rows, Preparation(Plain(), processor, [None, shown]))


def tensors(micro_batch: MicroBatch) -> dict[str, Any]:
    return {**vars(micro_batch.batch), **vars(micro_batch.inputs)}


def equal(one: MicroBatch, other: MicroBatch) -> bool:
    first, second = tensors(one), tensors(other)
    return first.keys() == second.keys() and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in ((first[name], second[name]) for name in first)
    )


def workers(process: int | None = None) -> set[int]:
    """The background processes: children of the server, which is a child of the process."""
    return {worker for server in children(process) for worker in children(server)}


def wait_until(condition: Any, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_background_processes_change_no_bit_and_no_order(prepared: Prepared) -> None:
    with Prefetcher(prepared, 0, pin=False) as here:
        expected = list(here(REQUESTS))
    state = torch.random.get_rng_state()
    with Prefetcher(prepared, 2, pin=False) as background:
        made = list(background(REQUESTS))
    assert len(made) == len(expected) == len(REQUESTS)
    assert all(equal(one, other) for one, other in zip(made, expected, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_requests_are_not_read_far_ahead(prepared: Prepared) -> None:
    read = []

    def requests() -> Iterator[tuple[int, list[int]]]:
        for number in range(1000):
            read.append(number)
            yield 0, [number % 4]

    with Prefetcher(prepared, 1, pin=False) as background:
        next(background(requests()))
        assert len(read) < 10


def test_an_error_reads_as_in_the_process_that_trains(prepared: Prepared) -> None:
    texts = []
    for processes in (0, 1):
        with Prefetcher(prepared, processes, pin=False) as prefetcher:
            batches = prefetcher([(1, [0]), (1, [3])])
            next(batches)
            with pytest.raises((ValueError, PreparationFailed)) as raised:
                next(batches)
            texts.append(f"{raised.value}".removeprefix("ValueError: ").partition("<_io")[0])
    assert texts[0] == texts[1]
    assert "row 3: image " in texts[0]
    assert "cannot be prepared: OSError: not a picture of the formats" in texts[0]


def _trained(prepared: Prepared, processes: int, updates: int = 6, start: int = 0) -> list[float]:
    """Losses of a toy model on the text task."""
    torch.manual_seed(0)
    embed, head = torch.nn.Embedding(8, 6), torch.nn.Linear(6, 3)

    def loss_sum(micro_batch: MicroBatch, task: int, update: int) -> torch.Tensor:
        states = embed(micro_batch.batch.input_ids)
        first = states[micro_batch.inputs.starts]
        labels = micro_batch.inputs.label
        return torch.nn.functional.cross_entropy(head(first), labels, reduction="sum")

    settings = TrainingSettings(updates, 3, 1e-2, stage="toy", seed=1, tokens_per_micro_batch=5)
    task = TrainTask("text", prepared._rows[0], "head")
    optimiser = make_optimiser(dict(embed.named_parameters()), head, settings)
    with Prefetcher(prepared, processes, pin=False) as prefetcher:
        progress = train([task], loss_sum, optimiser, settings, Progress(update=start), Workers(),
                         prefetch=prefetcher)  # fmt: skip
    return [float(entry["loss"]) for entry in progress.history]


def test_losses_do_not_depend_on_the_number_of_processes(prepared: Prepared) -> None:
    assert _trained(prepared, 0) == _trained(prepared, 2)


def test_a_resumed_step_requests_the_remaining_updates(prepared: Prepared) -> None:
    assert _trained(prepared, 1, start=4) == _trained(prepared, 0, start=4)
    assert len(_trained(prepared, 0, start=4)) == 2


def test_a_bad_row_fails_the_step_with_its_name(prepared: Prepared) -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    settings = TrainingSettings(4, 4, 1e-2)
    task = TrainTask("shown", prepared._rows[1], "head")
    shifted = Prepared(prepared._rows[1:], _only_second(prepared))
    optimiser = torch.optim.SGD([weight], 0.1)
    with Prefetcher(shifted, 1, pin=False) as prefetcher, pytest.raises(
        StepFailed, match=r"update 0: ValueError: row 3: image .* not a picture of the formats"
    ):  # fmt: skip
        train([task], lambda *_: weight.sum(), optimiser, settings, Progress(), Workers(),
              prefetch=prefetcher)  # fmt: skip


def _only_second(prepared: Prepared) -> Preparation:
    inner = prepared._preparation
    return Preparation(inner._placement, inner._processor, inner._images[1:])


def test_a_lost_process_is_an_error_and_not_a_hang(prepared: Prepared) -> None:
    with Prefetcher(prepared, 1, pin=False) as background:
        batches = background((0, [k % 4]) for k in range(1000))
        next(batches)
        for pid in workers():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match=r"was lost .*check the memory limit"):
            list(batches)


def test_processes_end_with_the_step(prepared: Prepared) -> None:
    with Prefetcher(prepared, 2, pin=False) as background:
        next(background((0, [k % 4]) for k in range(1000)))
        running = workers()
        assert len(running) == 2
    assert wait_until(lambda: not any(is_running(pid) for pid in running))


#: The script unpickles what tests of this module made, so it imports them.
ROOT = Path(__file__).resolve().parents[2]
_ORPHANS = """
import sys, pickle, os, time
from pathlib import Path
from xstilts.training.prefetch import Prefetcher
if __name__ == "__main__":
    prepared = pickle.loads(Path(sys.argv[1]).read_bytes())
    sys.path.insert(0, os.getcwd())
    with Prefetcher(prepared, 1, pin=False) as background:
        next(background((0, [k % 4]) for k in range(1000)))
        print("ready", flush=True)
        time.sleep(60)
"""


@pytest.mark.slow
def test_processes_end_with_a_killed_worker(prepared: Prepared, tmp_path: Path) -> None:
    script = tmp_path / "orphans.py"
    script.write_text(_ORPHANS)
    (tmp_path / "prepared").write_bytes(pickle.dumps(prepared))
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "prepared")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    running = set(children(process.pid)) | workers(process.pid)
    assert workers(process.pid)
    process.kill()
    process.wait()
    process.stdout.close()
    assert wait_until(lambda: not any(is_running(pid) for pid in running))


@pytest.mark.parametrize(
    ("setting", "pictures", "device", "processes"),
    [
        (None, False, CPU, 0),
        (None, True, CPU, 0),
        (None, False, GPU, 1),
        (None, True, GPU, 4),
        (0, True, GPU, 0),
        (3, False, CPU, 3),
    ],
)
def test_the_number_of_processes(
    setting: int | None, pictures: bool, device: torch.device, processes: int
) -> None:
    assert processes_for(setting, 4, pictures, device) == processes
