"""Submissions made of real rows, against label files that are made straight from the mirror's
Parquet files.

No reader of the project takes part in the labels here. Predictions are seeded guesses; rows are
read, exported and graded as those of a run are.
"""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from xstilts.data.records import read_rows
from xstilts.official.export import export
from xstilts.official.grade import grade
from xstilts.scoring.metrics import METRICS
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import open_mirror
from xstilts.sources.source_files import missing_reason
from xstilts.tasks.registry import TASKS

ROWS = 40
#: evaluation → (official name, languages, source of the slices, metrics of its official score).
TABLE: dict[str, tuple[str, tuple[str, ...], str, str, tuple[str, ...]]] = {
    "xnli": ("xnli", ("en", "sw", "zh"), "facebook/xnli/{}", "test", ("accuracy",)),
    "xcopa": ("xcopa", ("et", "qu"), "cambridgeltl/xcopa/{}", "test", ("accuracy",)),
    "udpos": ("udpos", ("fr", "fa", "yo"), "google/xtreme/udpos.{}", "test", ("udpos_f1",)),
    "wikiann": ("panx", ("ar", "my", "qu"), "unimelb-nlp/wikiann/{}", "validation", ("ner_f1",)),
    "xquad": ("xquad", ("en", "th", "zh"), "google/xquad/xquad.{}", "validation", ("squad_em", "squad_f1")),
    "mlqa": ("mlqa", ("ar", "hi", "zh"), "facebook/mlqa/mlqa.{0}.{0}", "validation", ("mlqa_em", "mlqa_f1")),
    "tydiqa": ("tydiqa", ("ko", "sw"), "google-research-datasets/tydiqa/secondary_task", "train", ("squad_em", "squad_f1")),
    "tatoeba_squad": ("tatoeba", ("de", "fa", "zh"), "google/xtreme/tatoeba.{}", "validation", ("accuracy",)),
}  # fmt: skip
#: What the configs of google/xtreme call these languages.
NAMES = {
    "udpos": {"fr": "French", "fa": "Persian", "yo": "Yoruba"},
    "tatoeba_squad": {"de": "deu", "fa": "pes", "zh": "cmn"},
    "tydiqa": {"ko": "korean", "sw": "swahili"},
}


def parquet(folder: Path, split: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of a split and, of each column, what the hub's metadata says about it."""
    (file,) = folder.glob(f"{split}-*.parquet")
    table = pq.read_table(file)
    return table.to_pylist(), json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]


def answer_is_there(row: dict[str, Any]) -> bool:
    """At its offset, or once in the context: another row is a bad row of a run."""
    spans = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
    return all(
        row["context"][i : i + len(text)] == text or row["context"].count(text) == 1
        for text, i in spans
    )


def squad(rows: list[dict[str, Any]]) -> str:
    qas = [
        {"id": row["id"], "answers": [{"text": text} for text in row["answers"]["text"]]}
        for row in rows
    ]
    return json.dumps({"data": [{"paragraphs": [{"qas": qas}]}]})


def label_text(
    evaluation: str, language: str, rows: list[dict[str, Any]], features: dict[str, Any]
) -> str:
    """A label file as the official layout has it."""
    if evaluation == "xnli":
        return "".join(f"{features['label']['names'][row['label']]}\n" for row in rows[:ROWS])
    if evaluation == "xcopa":
        return "".join(json.dumps({"label": row["label"]}) + "\n" for row in rows[:ROWS])
    if evaluation in ("udpos", "wikiann"):
        column = "pos_tags" if evaluation == "udpos" else "ner_tags"
        names = features[column]["feature"]["names"]
        return "".join(
            "".join(f"{names[tag]}\n" for tag in row[column]) + "\n" for row in rows[:ROWS]
        )
    if evaluation == "tatoeba_squad":
        english = [row["target_sentence"].strip() for row in rows[:ROWS]]
        return "".join(
            f"{place}\n" for place in sorted(range(len(english)), key=english.__getitem__)
        )
    if evaluation == "tydiqa":
        rows = [row for row in rows if row["id"].startswith(f"{NAMES['tydiqa'][language]}-")]
    return squad([row for row in rows if answer_is_there(row)][:ROWS])


def guess(evaluation: str, gold: Any, golds: list[Any], random_: random.Random) -> Any:
    """The right answer in half of the rows, else something like it."""
    if random_.random() < 0.5:
        return gold[0] if TASKS[evaluation].format == "span" else gold
    if TASKS[evaluation].format == "tagging":
        return [random_.choice(TASKS[evaluation].labels) for _ in gold]
    if TASKS[evaluation].format == "span":
        return " ".join([*random_.choice(random_.choice(golds)).split()[:3], *gold[0].split()[:1]])
    return random_.choice(golds)


def gold_of(
    evaluation: str, language: str, hub: Path, split: str
) -> tuple[list[str], list[Any], list[str]]:
    """ids, gold answers and (Tatoeba) English sentences of the rows as a run reads them."""
    task = TASKS[evaluation]
    mirror, declared = open_mirror(str(hub)), task.splits["test"]
    sources = [replace(source, split=split) for source in (declared, *declared.alternatives)]
    source = next(source for source in sources if missing_reason(mirror, source, language) is None)
    rows = load_rows(mirror, source, language)
    examples, _, _ = read_rows(task, rows, range(len(rows)), language, ROWS)
    gold: dict[str, Callable[[int, Any], Any]] = {
        "tagging": lambda _, example: list(example.tags), "span": lambda _, example: [text for text, _ in example.answers],
        "retrieval": lambda place, _: place,
    }  # fmt: skip
    answer = gold.get(task.format, lambda _, example: example.label)
    golds = [answer(place, example) for place, example in enumerate(examples)]
    return (
        [example.id for example in examples],
        golds,
        [example.text_pair or "" for example in examples],
    )


@pytest.mark.slow
@pytest.mark.parametrize("evaluation", TABLE)
def test_exports_of_real_rows_have_our_score_against_labels_that_are_made_independently(
    tmp_path: Path, hub: Path, evaluation: str
) -> None:
    name, languages, folder, split, metrics = TABLE[evaluation]
    random_, reported, expected = random.Random(evaluation), [], {}
    for language in languages:
        config = NAMES.get(evaluation, {}).get(language, language)
        rows, features = parquet(hub / folder.format(config), split)
        ending = {"xcopa": "jsonl", "xquad": "json", "mlqa": "json", "tydiqa": "json"}.get(
            evaluation, "tsv"
        )
        labels = tmp_path / "labels" / name / f"test-{language}.{ending}"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(label_text(evaluation, language, rows, features))
        ids, golds, english = gold_of(evaluation, language, hub, split)
        predictions = [guess(evaluation, gold, golds, random_) for gold in golds]
        if (
            evaluation == "tydiqa"
        ):  # the slice cuts its ids short: an id has one answer in a submission
            first = dict(zip(reversed(ids), reversed(predictions), strict=True))
            predictions = [first[name] for name in ids]
        reported.append(
            pd.DataFrame(
                {
                    "backbone": "b", "arm": "none", "seed_intermediate": pd.array([None] * len(ids), "Int64"),
                    "seed_target": pd.array([1] * len(ids), "Int64"), "language": language, "id": ids, "cluster": "",
                    "prediction": [json.dumps(value) for value in predictions],
                    "gold": [json.dumps(value) for value in golds], "asked": english,
                }
            )
        )  # fmt: skip
        ours = [
            METRICS[metric].value(METRICS[metric].counts(predictions, golds, language).sum(0))
            for metric in metrics
        ]
        expected[language] = ours
        assert 0 < min(ours) <= max(ours) < 100
    (tmp_path / "report/predictions").mkdir(parents=True)
    pd.concat(reported).to_parquet(tmp_path / f"report/predictions/{evaluation}.parquet")
    # Words of the hub's copy on both sides: a report that states the official form has its UD-POS
    # exported.
    forms = [
        {"evaluation": "udpos", "language": language, "form": "official"} for language in languages
    ]
    (tmp_path / "report/summary.json").write_text(json.dumps({"forms": forms}))
    (cell,) = export(tmp_path / "report", tmp_path / "exported")
    found = grade(cell / "predictions", tmp_path / "labels")["tasks"][name]["languages"]
    assert {language: [*scores.values()] for language, scores in found.items()} == {
        language: pytest.approx(scores, abs=1e-9) for language, scores in expected.items()
    }
