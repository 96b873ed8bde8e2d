"""Time of an update with gradients of the input embedding as rows, and with dense ones.

    PYTHONPATH=. python -m benchmarks.row_gradients [--width 384] [--processes 2] [--rounds 3]

The model has the vocabulary of XLM-R (250,002) and 12 layers; width 384 is the size of
multilingual-e5-small, 768 that of XLM-R base. Weights are random. An update has 32 rows with the
lengths of NLI. Its tokens come from 30,000 words that are spread over the vocabulary, frequent ones
more often, and all of these rows are active from the start: the later part of a training.

Each round trains some updates with both alternatives, in an order that changes. Prints seconds of
an update: the median of each round's updates, then median, smallest and largest of the rounds.
"""

import argparse
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import transformers as tf

from benchmarks.measure import interleaved
from benchmarks.training_cases import CASES, END, PAD, START, Row, encoded, rows_of
from xstilts.data.encoded import EncodedRows
from xstilts.models.backbone import Backbone, wrap
from xstilts.models.head_set import Heads
from xstilts.models.processor import Processor
from xstilts.training.loop import Progress, TrainingSettings, TrainTask, make_optimiser, train
from xstilts.training.losses import Learner
from xstilts.training.workers import Workers

VOCABULARY, WORDS, EXAMPLES = 250_002, 30_000, 32
TASK = {"name": "nli", "format": "classification", "objective": "head", "classes": 3}


def built(width: int) -> Backbone:
    """A backbone with random weights."""
    torch.manual_seed(0)
    config = tf.XLMRobertaConfig(
        hidden_size=width, num_hidden_layers=12, num_attention_heads=width // 64,
        intermediate_size=4 * width, vocab_size=VOCABULARY, max_position_embeddings=514,
        type_vocab_size=1, bos_token_id=START, pad_token_id=PAD, eos_token_id=END,
    )  # fmt: skip
    return wrap(tf.XLMRobertaForMaskedLM(config), "xlm_r").train()


def drawn(updates: int) -> tuple[list[int], list[Row]]:
    """All words, and rows of NLI with random ones."""
    rng = random.Random(0)
    words = rng.sample(range(100, VOCABULARY), WORDS)
    rows = [
        Row([START, *(words[int(WORDS * rng.random() ** 3)] for _ in row.ids[2:]), END], row.label)
        for row in rows_of(CASES["nli"], updates * EXAMPLES, 1)
    ]
    return words, rows


def seconds(width: int, updates: int, as_rows: bool, workers: Workers) -> float:
    """Median time of an update."""
    backbone = built(width)
    words, rows = drawn(updates)
    device = torch.device("cpu")
    heads = Heads([TASK], backbone, {"dropout": 0.1}, 0, "")
    learner = Learner(
        backbone, heads, Processor("xlm_r", None), [None], {"dropout": 0.1}, 0, "", device
    )
    settings = TrainingSettings(updates, EXAMPLES, lr=1e-5)
    trainable = {n: p for n, p in backbone.named_parameters() if p.requires_grad}
    optimiser = make_optimiser(trainable, heads, settings, backbone if as_rows else None)
    table = backbone.model.get_input_embeddings()  # type: ignore[operator]
    table(torch.tensor(words)).sum().backward()
    optimiser.step()
    task = TrainTask("nli", EncodedRows(encoded(CASES["nli"], rows, [])), "head")
    done = train([task], learner.loss_sum, optimiser, settings, Progress(), workers)
    return statistics.median(update["seconds"] for update in done.history)


def _work(
    rank: int, world: int, threads: int, folder: str, width: int, updates: int, as_rows: bool
) -> None:
    torch.set_num_threads(threads)
    dist.init_process_group(
        "gloo", (Path(folder) / "rendezvous").as_uri(), rank=rank, world_size=world
    )
    median = seconds(width, updates, as_rows, Workers(rank, world))
    if rank == 0:
        torch.save(median, Path(folder) / "seconds.pt")
    dist.destroy_process_group()


def in_processes(count: int, width: int, updates: int, as_rows: bool) -> float:
    """Median time of an update of several workers, which share the cores."""
    threads = max(1, torch.get_num_threads() // count)
    with tempfile.TemporaryDirectory(prefix="xstilts-benchmark-") as folder:
        arguments = (count, threads, folder, width, updates, as_rows)
        mp.spawn(_work, args=arguments, nprocs=count)  # type: ignore[attr-defined]
        return float(torch.load(Path(folder) / "seconds.pt"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)

    def one(as_rows: bool) -> float:
        if chosen.processes > 1:
            return in_processes(chosen.processes, chosen.width, chosen.updates, as_rows)
        return seconds(chosen.width, chosen.updates, as_rows, Workers())

    figures = interleaved(chosen.rounds, {"rows": lambda: one(True), "dense": lambda: one(False)})
    for name, values in figures.items():
        middle, low, high = statistics.median(values), min(values), max(values)
        print(f"{name}: {middle:.3f} s ({low:.3f} … {high:.3f})")


if __name__ == "__main__":
    main()
