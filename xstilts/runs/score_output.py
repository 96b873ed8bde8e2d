"""Writes the predictions of a score step with their gold answers, and commits it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xstilts.runs.loaded_backbone import LoadedBackbone
from xstilts.runs.score_pass import RECORDED
from xstilts.runs.step_counts import write_counts
from xstilts.scoring.gold import Gold, encoded_gold
from xstilts.scoring.predict import withheld, written
from xstilts.scoring.ranking import in_all_languages
from xstilts.scoring.vectors import FORMATS
from xstilts.step import Step

#: The columns of `predictions.parquet`. checkpoint: `selected`, and `last` for the weights of the
#: last update if English dev selected earlier ones. row: position of the example in its language's
#: records. parallel: a key that its translations share, or empty.
_TEXTS = ("id", "cluster", "parallel", "prediction", "gold")
SCHEMA = pa.schema(
    [
        ("checkpoint", pa.string()),
        ("language", pa.string()),
        ("row", pa.int32()),
        *((name, pa.string()) for name in _TEXTS),
    ]
)

#: checkpoint → (fingerprint of the score step, language) → row → prediction
Predictions = Mapping[str, Mapping[tuple[str, str], Mapping[int, Any]]]


def commit_all(
    loaded: LoadedBackbone, steps: Sequence[Step], predictions: Predictions, seconds: float
) -> dict[str, Exception]:
    """Commits the score steps of a model. Returns fingerprint → error for those whose predictions
    could not be written.
    """
    failed: dict[str, Exception] = {}
    for step in steps:
        try:
            _commit(loaded, step, predictions, seconds)
        except RECORDED as error:  # the model's other evaluations are still valid
            failed[step.fingerprint] = error
    return failed


def _commit(loaded: LoadedBackbone, step: Step, predictions: Predictions, seconds: float) -> None:
    """Writes a step's predictions with their gold answers and commits it."""
    rows: list[dict[str, Any]] = []
    golds = {language: loaded.gold(step, language) for language in step.spec["languages"]}
    if step.spec["format"] == "ranking":
        golds = in_all_languages(golds)
    if step.spec["format"] == "words":
        golds = {
            language: _encoded(loaded, step, language, gold, predictions)
            for language, gold in golds.items()
        }
    if step.spec["format"] == "mining":
        golds = {
            language: _mined(step, language, gold, predictions) for language, gold in golds.items()
        }
    for language, examples in golds.items():
        gold_texts = [json.dumps(example.gold, ensure_ascii=False) for example in examples]
        for checkpoint, by_step in predictions.items():
            raw = by_step[step.fingerprint, language]
            answers = written(step.spec["format"], loaded.tags(step), examples, raw)
            if step.spec["format"] == "span" and "squad_v2_f1" in step.spec["metrics"]:
                answers = withheld(answers, examples, raw)
            rows += [
                {
                    "checkpoint": checkpoint,
                    "language": language,
                    "row": example.row,
                    "id": example.id,
                    "cluster": example.cluster,
                    "parallel": example.parallel,
                    "prediction": json.dumps(answer, ensure_ascii=False),
                    "gold": gold_text,
                }
                for example, answer, gold_text in zip(examples, answers, gold_texts, strict=True)
            ]
    path = loaded.scratch / "predictions.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    files = {path.name: path, **write_counts(path, step.spec["metrics"], loaded.scratch)}
    loaded.store.commit(step, files, {"rows": len(rows), "seconds": round(seconds, 3)})
    if step.spec["format"] in FORMATS:
        loaded.store.clear_work(step.fingerprint)  # the shards


def _encoded(
    loaded: LoadedBackbone,
    step: Step,
    language: str,
    golds: list[Gold],
    predictions: Predictions,
) -> list[Gold]:
    """The examples without the bad rows that encoding left out. All examples if more predictions
    are missing, so that the caller names those.

    Args:
        loaded: the backbone.
        step: the score step.
        language: a language of the step.
        golds: all examples of the language.
        predictions: of all checkpoints.
    """
    by_row = next(iter(predictions.values()))[step.fingerprint, language]
    encoded = loaded.parent("encode", step.parents[f"test:{language}"], step)
    return encoded_gold(golds, by_row, int(encoded.info.get("bad_rows", 0)))


def _mined(
    step: Step, language: str, golds: Sequence[Gold], predictions: Predictions
) -> list[Gold]:
    """The sentences of a pool that count: foreign sentences of the test part with a gold or a
    predicted translation. The others, most of hundreds of thousands, do not change any metric.
    """
    by_checkpoint = [by_step[step.fingerprint, language] for by_step in predictions.values()]
    queried = by_checkpoint[0].keys()
    return [
        gold
        for gold in golds
        if gold.row in queried and (gold.gold or any(rows[gold.row] for rows in by_checkpoint))
    ]
