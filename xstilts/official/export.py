"""A report's predictions as a submission in the official layout, with the labels that they were scored against."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from xstilts.errors import DataError, PlanError
from xstilts.official.layout import TABLES, Official
from xstilts.tasks.registry import TASKS

CELL = ("backbone", "arm", "seed_intermediate", "seed_target")


def export(report: Path, out: Path, benchmark: str = "xtreme-r") -> list[Path]:
    """Writes `<out>/<cell>/predictions|labels/<task>/test-<language>.<ending>` for every cell of a run's report folder, a
    cell being a backbone, an arm and its seeds; returns the cells' folders. DataError where the report holds no prediction
    of the benchmark; PlanError for a benchmark that does not exist."""
    if benchmark not in TABLES:
        raise PlanError(f"no benchmark {benchmark!r}; allowed: {', '.join(TABLES)}")
    cells: dict[str, None] = {}
    for task in TABLES[benchmark].values():
        path = report / "predictions" / f"{task.evaluation}.parquet"
        if not path.is_file():
            continue
        frame = pd.read_parquet(path)
        for keys, rows in frame.groupby([*CELL, "language"], sort=False, dropna=False):
            *cell, language = keys
            if language in task.languages:
                folder = out / cell_name(dict(zip(CELL, cell, strict=True)))
                _write(task, str(language), rows, folder)
                cells[str(folder)] = None
    if not cells:
        raise DataError(f"{report}: no prediction of {benchmark} is there; name the report folder of a finished run")
    return [Path(name) for name in cells]


def cell_name(cell: Mapping[str, Any]) -> str:
    """`<backbone>.<arm>.i<seed>.t<seed>`; a seed that a cell does not have is left out."""
    seeds = [f"{kind}{int(cell[key])}" for kind, key in (("i", CELL[2]), ("t", CELL[3])) if not pd.isna(cell[key])]
    return ".".join([str(cell["backbone"]), str(cell["arm"]), *seeds])


def _write(task: Official, language: str, rows: pd.DataFrame, folder: Path) -> None:
    ids = [str(name) for name in rows["id"]]
    sides = {
        side: [json.loads(text) for text in rows[column]]
        for side, column in (("predictions", "prediction"), ("labels", "gold"))
    }
    for side, values in sides.items():
        path = folder / side / task.file(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = _WRITERS[task.kind](task, ids, values, side)
        part = path.with_name(f"{path.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)


def _labels(task: Official, ids: Sequence[str], values: Sequence[Any], side: str) -> str:
    """Class names for XNLI, 0 and 1 for PAWS-X, places for Tatoeba."""
    names = TASKS[task.evaluation].labels if task.name == "xnli" else ()
    return "".join(f"{names[value] if names else value}\n" for value in values)


def _tags(task: Official, ids: Sequence[str], values: Sequence[Any], side: str) -> str:
    return "".join("".join(f"{tag}\n" for tag in tags) + "\n" for tags in values)


def _objects(task: Official, ids: Sequence[str], values: Sequence[Any], side: str) -> str:
    return "".join(json.dumps({"label": value}) + "\n" for value in values)


def _answers(task: Official, ids: Sequence[str], values: Sequence[Any], side: str) -> str:
    if side == "predictions":
        return json.dumps(dict(zip(ids, values, strict=True)), ensure_ascii=False)
    questions = [
        {"id": name, "question": "", "answers": [{"text": text, "answer_start": 0} for text in texts]}
        for name, texts in zip(ids, values, strict=True)
    ]
    return json.dumps({"data": [{"title": "", "paragraphs": [{"context": "", "qas": questions}]}]}, ensure_ascii=False)


def _rankings(task: Official, ids: Sequence[str], values: Sequence[Any], side: str) -> str:
    return json.dumps(dict(zip(ids, values, strict=True)), ensure_ascii=False)


def _pairs(task: Official, ids: Sequence[str], values: Sequence[Any], side: str) -> str:
    """BUCC: the example's own id and the id of the sentence that it was matched with."""
    return "".join(f"{name}\t{ids[value]}\n" for name, value in zip(ids, values, strict=True))


_WRITERS: Mapping[str, Callable[[Official, Sequence[str], Sequence[Any], str], str]] = {
    "labels": _labels, "tags": _tags, "objects": _objects, "answers": _answers, "rankings": _rankings, "pairs": _pairs,
}  # fmt: skip
