"""Measures the data path: pictures per second with and without cache and background processes,
memory of images, and how long a checkpoint stops training.

Alternatives are measured in turn, round by round, so that other load affects all of them. Each
figure is the median of the rounds, with the smallest and the largest.

    PYTHONPATH=. python benchmarks/input.py [--rounds 7] [--part pictures]
"""

import argparse
import hashlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save_file

from xstilts.data.encoded import EncodedRows, Images
from xstilts.models.batch import Segment
from xstilts.models.picture_cache import PictureCache
from xstilts.models.picture_inputs import FixedPictures, GridPictures
from xstilts.models.processor import Processor
from xstilts.runs.checkpoint_uploads import CheckpointUploads
from xstilts.store.server import serve
from xstilts.store.store import Store
from xstilts.training.prefetch import Prefetcher, Preparation, Prepared

PICTURES, ROWS_OF_A_BATCH = 24, 4
MEMORY_MB, CHECKPOINT_MB = 200, 128


class Plain:
    """Positions of a family without pictures in its positions."""

    def positions(self, segment: Segment) -> torch.Tensor:
        return torch.arange(len(segment.input_ids))

    def token_types(self, segment: Segment) -> None:
        return None


def photo(seed: int, width: int, height: int) -> bytes:
    """A JPEG with as much detail as a photo of its size."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


def write_rows(path: Path, names: Sequence[str]) -> EncodedRows:
    """Rows of 600 tokens with one picture each."""
    empty: list[int] = []
    rows = [
        {"row": i, "language": "en", "segments": [[1] * 600], "length": 600, "images": [name],
         "grids": [empty], "label": 0, "labels": empty, "span": empty, "offsets": empty,
         "words": empty, "supervised": 1}
        for i, name in enumerate(names)
    ]  # fmt: skip
    numbers = pa.list_(pa.int32())
    lists = dict.fromkeys(("labels", "span", "offsets", "words"), numbers)
    nested = {"segments": pa.list_(numbers), "grids": pa.list_(numbers), **lists}
    table = pa.Table.from_pylist(rows)
    for name, kind in nested.items():
        table = table.set_column(
            table.column_names.index(name), name, table.column(name).cast(kind)
        )
    pq.write_table(table, path)
    return EncodedRows(path)


def write_images(path: Path, data: Sequence[bytes]) -> list[str]:
    """Returns the SHA-256 of each image."""
    names = [hashlib.sha256(image).hexdigest() for image in data]
    pq.write_table(pa.table({"sha256": names, "bytes": pa.array([*data])}), path)
    return names


def interleaved(rounds: int, runs: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """The figures of each alternative, from rounds that run all of them in turn."""
    figures: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            figures[name].append(run())
    return figures


def show(title: str, unit: str, figures: Mapping[str, Sequence[float]]) -> None:
    """Prints a table in Markdown."""
    print(f"\n| {title} | {unit}, median | smallest | largest |\n| --- | --- | --- | --- |")
    for name, values in figures.items():
        row = (statistics.median(values), min(values), max(values))
        print(f"| {name} | " + " | ".join(f"{value:.3g}" for value in row) + " |")


def preparations() -> dict[str, Any]:
    """Image processors with the settings of published models."""
    from transformers import CLIPImageProcessorPil
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    clip = CLIPImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    qwen = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280})
    return {"CLIP, 336 × 336": FixedPictures(clip, 576), "Qwen2-VL": GridPictures(qwen)}


def pictures_per_second(folder: Path, rounds: int) -> None:
    """Photos of 640 × 480 pixels, in micro-batches as training gets them."""
    names = write_images(folder / "photos", [photo(i, 640, 480) for i in range(PICTURES)])
    rows = write_rows(folder / "rows", names)
    images = Images([folder / "photos"], folder / "arrow")
    requests = [(0, [*range(i, i + ROWS_OF_A_BATCH)]) for i in range(0, PICTURES, ROWS_OF_A_BATCH)]
    for title, pictures in preparations().items():
        cache = PictureCache(folder / title, free=0.0)
        for name in names:
            Processor("llava", None, pictures, cache=cache).image_inputs(images[name])

        def run(processes: int, used: PictureCache | None, pictures: Any = pictures) -> float:
            preparation = Preparation(
                Plain(), Processor("llava", None, pictures, cache=used), [images]
            )
            with Prefetcher(Prepared([rows], preparation), processes, pin=False) as prefetcher:
                batches = prefetcher(requests * (1 + 2 * (processes > 0)))
                for _ in range(2 * processes):  # started, and as far ahead as they go
                    next(batches)
                started = time.perf_counter()
                count = sum(batch.rows for batch in batches)
            return count / (time.perf_counter() - started)

        alternatives = {
            f"{processes} processes, {'cached' if used else 'decoded'}": (processes, used)
            for processes in (0, 1, 2)
            for used in (None, cache)
        }
        runs = {name: lambda chosen=chosen: run(*chosen) for name, chosen in alternatives.items()}
        show(title, "pictures per second", interleaved(rounds, runs))
        sizes = [path.stat().st_size for path in cache.folder.rglob("*") if path.is_file()]
        print(f"\n{statistics.mean(sizes) / 1e6:.2f} MB per picture in the cache")


_MEMORY = """
import sys, time
from pathlib import Path
import pyarrow.parquet as pq
from xstilts.data.encoded import Images

def own():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return int(lines["RssAnon"].split()[0]) / 1024

before, path = own(), Path(sys.argv[2])
if sys.argv[1] == "objects":  # as before
    table = pq.read_table(path)
    kept = dict(zip(*(table.column(c).to_pylist() for c in ("sha256", "bytes"))))
    del table
else:
    kept = Images([path], Path(sys.argv[3]))
    for name in kept._rows:
        kept[name]
print(own() - before)
"""


def memory_of_images(folder: Path, rounds: int) -> None:
    """A file of incompressible images, all of which are read."""
    write_images(folder / "large", [os.urandom(100_000) for _ in range(MEMORY_MB * 10)])
    Images([folder / "large"], folder / "arrow")

    def run(kind: str) -> float:
        paths = [str(folder / "large"), str(folder / "arrow")]
        command = [sys.executable, "-c", _MEMORY, kind, *paths]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout)

    runs = {"Python objects": lambda: run("objects"), "mapped": lambda: run("mapped")}
    show(f"images of a file of {MEMORY_MB} MB", "MB of a process", interleaved(rounds, runs))


def stall_of_a_checkpoint(folder: Path, rounds: int) -> None:
    """How long a checkpoint stops training, on the embedded server."""
    tensor = torch.randn(CHECKPOINT_MB * 250_000)
    with serve(folder / "s3") as server:
        os.environ.update(server.env())
        store = Store.open("s3://xstilts/benchmark", cache=folder / "cache")
        update = iter(range(1, 1_000_000))

        def write() -> dict[str, Path]:
            path = folder / "trainable.safetensors"
            save_file({"weights": tensor}, path)
            return {path.name: path}

        def waiting() -> float:
            started = time.perf_counter()
            store.put_checkpoint("waiting", "a", write(), {"update": next(update)})
            return time.perf_counter() - started

        def in_a_thread() -> float:
            with CheckpointUploads(store, "thread", "a") as uploads:
                started = time.perf_counter()
                uploads.put(write, next(update))
                return time.perf_counter() - started

        runs = {"uploaded while training waits": waiting, "uploaded in a thread": in_a_thread}
        show(f"checkpoint of {CHECKPOINT_MB} MB", "seconds", interleaved(rounds, runs))


PARTS = {
    "pictures": pictures_per_second,
    "memory": memory_of_images,
    "checkpoint": stall_of_a_checkpoint,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--part", choices=PARTS, action="append", help="may be repeated")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for part in options.part or PARTS:
        with tempfile.TemporaryDirectory(prefix="xstilts-benchmark-") as scratch:
            PARTS[part](Path(scratch), options.rounds)


if __name__ == "__main__":
    main()
