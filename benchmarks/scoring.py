"""Measures scoring of 15 languages: one sorted pass over all of them, without padding, against a
careful loop over languages as a user of transformers writes it.

The loop sorts each language by length, pads a batch to its longest row, and runs without gradients
with the same weights, precision, attention (SDPA) and threads. Both get token ids, so that only the
model, the batches and the metric are measured. The model has the shape of multilingual MiniLM
(XLM-R with 12 layers of width 384) and random weights. Lengths are drawn from a log-normal
distribution for each language: tokenizers need up to 1.8 times more tokens for some languages than
for English.

    PYTHONPATH=. python -m benchmarks.scoring [--rounds 3] [--threads 2] [--rows 64]
"""

import argparse
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import torch
import transformers
from torch import Tensor

from benchmarks.measure import OURS, Record, interleaved, table, write
from xstilts.data.encoded import EncodedRow, EncodedRows
from xstilts.miniature.backbones import build_tiny
from xstilts.models.backbone import load_backbone
from xstilts.models.head_set import Heads
from xstilts.models.processor import load_processor
from xstilts.plan.memory_choice import USUAL_BUDGET
from xstilts.scoring.predict import Job, Predictor, predict

#: Layers, width and heads of multilingual MiniLM (L12 H384).
SHAPE = {"hidden": 384, "ff": 1536, "layers": 12, "heads": 12}
#: Language → tokens of a row relative to English.
LANGUAGES = {
    "en": 1.0, "ar": 1.1, "bg": 1.2, "de": 1.15, "el": 1.35, "es": 1.1, "fr": 1.2, "hi": 1.3,
    "ru": 1.15, "sw": 1.2, "th": 1.2, "tr": 1.1, "ur": 1.4, "vi": 1.25, "zh": 0.9,
}  # fmt: skip
PEER = "sorted loop in transformers"


@dataclass(frozen=True)
class Case:
    """Rows of a task. median: tokens of an English row; sigma: of the logarithm of lengths."""

    format: str
    classes: int
    median: float
    sigma: float


CASES = {
    "sentence pairs": Case("classification", 3, 36, 0.45),
    "tagged sentences": Case("tagging", 17, 22, 0.6),
}


def rows_of(case: Case, language: str, count: int, vocabulary: int) -> list[EncodedRow]:
    """Rows of random tokens of a language, with the lengths of its task."""
    random = Random(language)
    rows = []
    for number in range(count):
        length = random.lognormvariate(math.log(case.median * LANGUAGES[language]), case.sigma)
        tokens = [random.randrange(5, vocabulary) for _ in range(min(max(int(length), 5), 256))]
        n, tagging = len(tokens), case.format == "tagging"
        labels = [random.randrange(case.classes) for _ in tokens] if tagging else []
        label = random.randrange(case.classes)
        words = list(range(n)) if tagging else [-1] * n
        rows.append(
            EncodedRow(number, language, [tokens], n, [], [], label, labels, [], [], words, 1)
        )
    return rows


def answers(case: Case, rows: Sequence[EncodedRow]) -> list[Any]:
    """The gold answers of rows."""
    return [row.labels if case.format == "tagging" else row.label for row in rows]


def score(case: Case, predictions: Sequence[Any], rows: Sequence[EncodedRow]) -> float:
    """The share of right answers of a language, 0..100."""
    pairs = zip(predictions, answers(case, rows), strict=True)
    if case.format != "tagging":
        right = [float(answer == gold) for answer, gold in pairs]
    else:
        right = [float(a == g) for answer, gold in pairs for a, g in zip(answer, gold, strict=True)]
    return 100 * sum(right) / len(right)


def by_pass(predictor: Predictor, case: Case, data: Mapping[str, list[EncodedRow]]) -> Any:
    """Language → predictions, by one pass of this project."""
    jobs = [
        Job(
            "score",
            language,
            case.format,
            EncodedRows(pa.Table.from_pylist([asdict(row) for row in rows])),
        )
        for language, rows in data.items()
    ]

    def run() -> dict[str, list[Any]]:
        with torch.no_grad():
            results = predict(predictor, jobs)
        return {
            language: [
                [tags[word] for word in sorted(tags)] if case.format == "tagging" else tags
                for _, tags in sorted(results["score", language].items())
            ]
            for language in data
        }

    return run


def by_loop(
    model: Any, out: Any, case: Case, data: Mapping[str, list[EncodedRow]], size: int
) -> Any:
    """Language → predictions, by a loop over languages and padded batches."""
    pad = model.config.pad_token_id

    def batch_of(batch: Sequence[EncodedRow]) -> tuple[Tensor, Tensor]:
        longest = max(row.length for row in batch)
        ids = torch.full((len(batch), longest), pad)
        for place, row in enumerate(batch):
            ids[place, : row.length] = torch.tensor(row.segments[0])
        return ids, (ids != pad).long()

    def run() -> dict[str, list[Any]]:
        results: dict[str, list[Any]] = {}
        with torch.inference_mode():
            for language, rows in data.items():
                order = sorted(range(len(rows)), key=lambda k: -rows[k].length)
                predictions: list[Any] = [None] * len(rows)
                for first in range(0, len(rows), size):
                    chosen = order[first : first + size]
                    ids, mask = batch_of([rows[k] for k in chosen])
                    states = model(input_ids=ids, attention_mask=mask).last_hidden_state
                    logits = out(states if case.format == "tagging" else states[:, 0])
                    for k, best in zip(chosen, logits.argmax(-1).tolist(), strict=True):
                        predictions[k] = best[: rows[k].length] if isinstance(best, list) else best
                results[language] = predictions
        return results

    return run


def compare(name: str, rows: int, rounds: int, threads: int, size: int) -> Record:
    """Times of one case. AssertionError if a metric differs by more than one answer in a
    thousand.
    """
    case = CASES[name]
    torch.set_num_threads(threads)
    texts = ["bako ritu zeba.", "koko tuba rima baze.", "zeko bama tutu koba rize."] * 20
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        folder = build_tiny("xlm_r", 1, texts, SHAPE, Path(scratch) / "model")
        backbone = load_backbone(folder, "xlm_r", "bidirectional").eval()
        peer = transformers.AutoModel.from_pretrained(folder, attn_implementation="sdpa").eval()
        processor = load_processor(folder, "xlm_r")
    task = {"name": name, "format": case.format, "objective": "head", "classes": case.classes}
    heads = Heads([task], backbone, {}, 5, "")
    out = heads.heads[0].out
    data = {
        language: rows_of(case, language, rows, peer.config.vocab_size) for language in LANGUAGES
    }
    predictor = Predictor(backbone, heads, processor, USUAL_BUDGET, torch.device("cpu"))
    runs = {OURS: by_pass(predictor, case, data), PEER: by_loop(peer, out, case, data, size)}
    metrics: dict[str, dict[str, float]] = {}

    def timed(name: str) -> float:
        start = time.perf_counter()
        predictions = runs[name]()
        metrics[name] = {
            language: score(case, predictions[language], data[language]) for language in data
        }
        return time.perf_counter() - start

    figures = interleaved(rounds, {name: partial(timed, name) for name in runs})
    gap = max(abs(metrics[OURS][code] - metrics[PEER][code]) for code in data)
    tokens = sum(row.length for of_language in data.values() for row in of_language)
    answered = min(
        sum(row.length if case.format == "tagging" else 1 for row in of_language)
        for of_language in data.values()
    )
    assert gap <= 100 * max(1 / answered, 1e-3) + 1e-9, f"{name}: the metrics differ by {gap}"
    notes = {
        alternative: f"mean accuracy {sum(values.values()) / len(values):.2f}"
        for alternative, values in metrics.items()
    }
    setting = {
        "languages": len(data), "rows of each": rows, "tokens": tokens, "threads": threads,
        "rows per batch of the loop": size, "tokens per batch": USUAL_BUDGET,
    }  # fmt: skip
    label = f"{name}, 15 languages, {len(data) * rows:,} rows, {tokens:,} tokens"
    return Record(label, "s", figures, notes, setting=setting, target={PEER: 1.2})


def main() -> None:
    """Measures the cases and writes docs/benchmarks/scoring.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=64, help="of each language")
    parser.add_argument("--batch", type=int, default=32, help="rows per batch of the loop")
    parser.add_argument("--case", choices=list(CASES), action="append")
    arguments = parser.parse_args()
    for name in arguments.case or CASES:
        record = compare(name, arguments.rows, arguments.rounds, arguments.threads, arguments.batch)
        write("scoring", [record])
        print(table([record]), flush=True)


if __name__ == "__main__":
    main()
