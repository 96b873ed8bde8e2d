"""The values of docs/walkthrough.md, computed again: one CommonsenseQA row of the demo, stop by stop.

`python -m tests.docs.walkthrough` writes them into the page.
"""

import json
import random
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from xstilts.analysis.effects import effects_table
from xstilts.analysis.inputs import Cell, ReportInput, Scored
from xstilts.data.encode import Encoder
from xstilts.data.records import read_rows
from xstilts.data.wording import verbalize
from xstilts.miniature.backbones import build_tiny
from xstilts.miniature.invented_languages import LANGUAGES
from xstilts.miniature.splits import Sizes, Split, splits
from xstilts.models.processor import Processor, load_processor
from xstilts.plan.expand import expand
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.tables import Tables
from xstilts.tasks.registry import TASKS
from xstilts.training.micro_batches import micro_batches
from xstilts.training.order import Order

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "walkthrough.md"
PLAN = ROOT / "pipelines" / "plans" / "demo.yaml"
BACKBONE, ARM, SEED = "tiny-llava", "commonsense-lm", 0
#: Accuracy of three seeds with the arm, and without: made up, so that the last stop has numbers.
SCORES = {"commonsense-lm": (62, 64, 66), "none": (60, 61, 62)}
_BLOCK = re.compile(r"^```text\n(.*?)^```$", re.M | re.S)


def blocks(page: str) -> list[str]:
    """The text blocks of the page."""
    return _BLOCK.findall(page)


def renewed(page: str, values: list[str]) -> str:
    remaining = iter(values)
    return _BLOCK.sub(lambda _: f"```text\n{next(remaining)}```", page)


def values() -> list[str]:
    """What the text blocks of the page must be, in order."""
    return ["\n".join(lines) + "\n" for lines in _stops()]


def _stops() -> Iterator[list[str]]:
    task, expansion = TASKS["commonsense_qa"], _expansion()
    source_rows = _rows("tau/commonsense_qa")
    order = list(range(len(source_rows)))
    random.Random("records/commonsense_qa").shuffle(order)
    (cell,) = (
        cell
        for cell in expansion.to_json()["cells"]
        if (cell["backbone"], cell["arm"], cell["trained_target"]) == (BACKBONE, ARM, "ud_en")
        and (cell["seed_intermediate"], cell["seed_target"]) == (SEED, SEED)
    )
    chain = [expansion.steps[fingerprint] for fingerprint in cell["chain"]]
    encoding = expansion.steps[chain[0].parents["train:commonsense_qa"]]
    records = expansion.steps[encoding.parents["records"]]

    source = records.spec["source"]
    yield [
        f"{source['path']}, {source['config']}, {source['split']}, row {order[0]}",
        *(f"{name}: {json.dumps(value)}" for name, value in source_rows[order[0]].items()),
    ]
    steps = [records, encoding, *chain, expansion.steps[cell["scores"]["udpos"]]]
    yield [f"cell {cell['id']}", *(f"{step.kind:9} {step.settings['label']}" for step in steps)]
    examples, bad, dropped = read_rows(task, source_rows, order, "en", records.spec["rows"])
    example = examples[0]
    names = ("id", "text", "choices", "label")
    yield [f"{name}: {json.dumps(getattr(example, name))}" for name in names]
    yield [f"record 0 of {len(examples)}; bad rows: {len(bad)}; dropped: {dropped}"]
    spec = {key: value for key, value in records.spec.items() if key != "source"}
    yield [f"kind: {records.kind}", f"spec: {json.dumps(spec)}", f"parents: {records.parents}"]
    words = verbalize(task, example)
    yield [
        f"text: {words.texts[0][0]}",
        f"instruction: {words.instruction}",
        f"answer: {words.answer}",
    ]
    processor = _processor()
    encoder = Encoder(task, processor, "lm", encoding.spec["lengths"], encoding.spec["subtoken"])
    encoded = [row for place, one in enumerate(examples) for row in encoder.rows(one, place)]
    first = encoded[0]
    supervised = [label for label in first["labels"] if label != -100]
    tokens = processor.tokenizer.convert_ids_to_tokens
    yield [
        f"tokens: {' '.join(tokens(first['segments'][0]))}",
        f"length: {first['length']}; with a loss: {' '.join(tokens(supervised))}",
    ]
    recipe = chain[0].spec["recipe"]
    drawn = Order(len(encoded), recipe["examples_per_step"], SEED, "intermediate")
    updates = [
        (update, drawn.draw(update).index(0))
        for update in range(recipe["updates"])
        if 0 in drawn.draw(update)
    ]
    (update, place), *again = updates
    yield [
        f"{recipe['updates']} updates of {recipe['examples_per_step']} examples, seed {SEED}",
        f"record 0: update {update}, example {place}" + ("; and again" if again else ""),
    ]
    rows = drawn.draw(update)
    settings = chain[0].settings
    dealt = micro_batches(
        [encoded[row]["length"] for row in rows],
        settings["workers"],
        settings["tokens_per_micro_batch"],
    )
    for_update = sum(encoded[row]["supervised"] for row in rows)
    yield [
        *(
            f"worker {rank}: {sum(map(len, batches))} examples, {len(batches)} micro-batch, "
            f"{sum(encoded[rows[i]]['length'] for batch in batches for i in batch)} tokens"
            for rank, batches in enumerate(dealt)
        ),
        f"loss: sum over {for_update} tokens with a loss / {for_update}; record 0 has "
        f"{first['supervised']} of them",
    ]
    effect = _effect()
    yield [
        *(f"{arm}: {' '.join(map(str, scores))}" for arm, scores in SCORES.items()),
        f"effect {effect['effect']:.2f}, interval {effect['ci_low']:.2f} to "
        f"{effect['ci_high']:.2f}, p = {effect['p']:.3f}",
        f"seeds: {effect['n_seeds']}; ci_method: {effect['ci_method']}",
    ]


def _expansion() -> Expansion:
    """The demo's expansion; identities of data are constants, so that no mirror is read."""
    tables = replace(
        Tables.shipped(),
        identity=lambda *_: {"commit": "0" * 40},
        missing=lambda *_: None,
        model=lambda *_: None,
    )
    return expand(load_plan(PLAN.read_text(), tables), None, {"torch": "0"}, tables)


def _rows(path: str) -> list[Any]:
    """The English training rows of a data set of the miniature."""

    def wanted(split: Split) -> bool:
        return (split.path, split.split) == (path, "train")

    split = next(filter(wanted, splits([LANGUAGES["en"]], Sizes())))
    made = split.make(random.Random(f"0:{split.scenes}"), split.language, split.count, split.split)
    return list(made)


def _processor() -> Processor:
    """The processor of a tiny LLaVA whose tokenizer has learned the miniature's English text."""
    texts = [row["text"] for row in _rows("xstilts/miniature-text")]
    small = {"hidden": 16, "ff": 16, "layers": 1, "heads": 2, "vision_hidden": 16, "vision_ff": 16}
    with tempfile.TemporaryDirectory() as folder:
        build_tiny("llava", 0, texts, {**small, "vocab_size": 4096}, Path(folder))
        return load_processor(Path(folder), "llava")


def _effect() -> dict[str, Any]:
    """The row of effects.parquet that the scores of SCORES give, with 100 examples a cell."""

    def cell(arm: str, seed: int, right: int) -> Cell:
        ids = [str(number) for number in range(100)]
        predictions = [int(number < right) for number in range(100)]
        scored = Scored(ids, ids, predictions, [1] * 100, "test")
        return Cell("b", arm, seed, seed, seed, "mnli", {("xnli", "de"): scored})

    cells = [
        cell(arm, seed, right)
        for arm, scores in SCORES.items()
        for seed, right in enumerate(scores)
    ]
    contrast = {"name": "c", "arm": ARM, "reference": "none", "implicit": False, "differences": []}
    expanded = {"contrasts": [contrast], "overlaps": [], "headline": None}
    given = ReportInput(expanded, cells, {"xnli": ("accuracy",)}, [], [], [], "", "runs/r")
    table = effects_table(given)
    row: dict[str, Any] = table[table["language"] == "de"].iloc[0].to_dict()
    return row


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), values()), encoding="utf-8")
