"""Exports the predictions of a report, and the labels that they were scored with, as submissions in
the official layout.
"""

import json
import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from xstilts.document_shape import read_shaped
from xstilts.errors import DataError, PlanError
from xstilts.input_files import InvalidDocument, parse_row
from xstilts.new_files import replaced_folder
from xstilts.official.forms import FORMS_OF, OFFICIAL_FORM
from xstilts.official.layout import TABLES, Official, official_languages
from xstilts.official.predictions import Cell, LanguagePredictions, Predictions, ReportPredictions
from xstilts.store.documents import is_name
from xstilts.stored_documents import FORMS
from xstilts.tasks.registry import TASKS

#: The folders of a cell.
SIDES = ("predictions", "labels")


def export(
    report: Path,
    out: Path,
    benchmark: str = "xtreme-r",
    unofficial: bool = False,
    predictions: Predictions | None = None,
) -> list[Path]:
    """Writes `<out>/<cell>/predictions|labels/<task>/test-<language>.<suffix>` for every cell of a
    report, and returns the folders of the cells. Predictions and labels of an earlier export of
    these cells are replaced once all files are written.

    A cell is a backbone, an arm and its seeds. Raw retrieval has no target seed and is part of
    every cell of its backbone, arm and intermediate seed. The predictions of one cell and language
    are in memory at a time. DataError if the report has no predictions of the benchmark, PlanError
    for an unknown benchmark.

    Args:
        report: the report folder of a run.
        out: the folder to write to.
        benchmark: xtreme or xtreme-r.
        unofficial: also export what `left_out` lists.
        predictions: where they come from; None: from the report.
    """
    if benchmark not in TABLES:
        raise PlanError(f"unknown benchmark {benchmark!r}; allowed: {', '.join(TABLES)}")
    predictions = predictions or ReportPredictions(report)
    existing = _existing(predictions, benchmark)
    every = (cell for task in existing for cell in predictions.cells(task.evaluation))
    known = list(dict.fromkeys(every))
    hidden = set() if unofficial else set(_unofficial(report, benchmark, predictions))
    cells: dict[str, None] = {}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as scratch:
        for task in existing:
            wanted = partial(_is_exported, task, hidden)
            for cell, language, part in predictions.parts(task.evaluation, wanted):
                for seed in _target_seeds(cell, known):
                    name = cell_name((*cell[:3], seed))
                    _write(task, language, part, Path(scratch) / name)
                    cells[name] = None
        if not cells:
            reasons = "; ".join(["", *left_out(report, benchmark, predictions)]) if hidden else ""
            raise DataError(
                f"{report}: no predictions of {benchmark}; use the report folder of a finished "
                f"run{reasons}"
            )
        for name, side in product(cells, SIDES):
            with replaced_folder(out / name / side) as folder:
                os.rename(Path(scratch) / name / side, folder)
    return [out / name for name in cells]


def _existing(predictions: Predictions, benchmark: str) -> list[Official]:
    """The tasks of a benchmark with predictions."""
    names = predictions.evaluations()
    return [task for task in TABLES[benchmark].values() if task.evaluation in names]


def _is_exported(task: Official, hidden: Collection[tuple[str, str]], language: str) -> bool:
    return language in task.languages and (task.evaluation, language) not in hidden


def _unofficial(report: Path, benchmark: str, predictions: Predictions) -> list[tuple[str, str]]:
    """(evaluation, language) of predictions in another form than the official labels: UD-POS words
    that are not from the treebanks. Reports without this information were made when only the hub's
    copy was supported.
    """
    path = report / "summary.json"
    remedy = "download the report again with `xstilts report`"
    summary = read_shaped(path, FORMS, remedy) if os.path.lexists(path) else {}
    stated = summary.get("forms", [])
    official = {
        (row["evaluation"], row["language"]) for row in stated if row["form"] == OFFICIAL_FORM
    }
    unofficial = []
    for task in _existing(predictions, benchmark):
        if task.evaluation in FORMS_OF:
            unofficial += [
                (task.evaluation, code)
                for code in predictions.languages(task.evaluation)
                if (task.evaluation, code) not in official
            ]
    return [
        (evaluation, language)
        for evaluation, language in unofficial
        if language in official_languages(benchmark, evaluation)
    ]


def left_out(
    report: Path, benchmark: str = "xtreme-r", predictions: Predictions | None = None
) -> list[str]:
    """What `export` leaves out of a submission and why, one line per evaluation. The arguments are
    those of `export`.
    """
    languages_of: dict[str, list[str]] = {}
    predictions = predictions or ReportPredictions(report)
    for evaluation, language in _unofficial(report, benchmark, predictions):
        languages_of.setdefault(evaluation, []).append(language)
    return [
        f"{evaluation} ({' '.join(languages)}) has the words of the hub's copy, but the official "
        "labels are for written tokens; score it on the treebanks (docs/data.md), or export it "
        "with --unofficial"
        for evaluation, languages in languages_of.items()
    ]


def _target_seeds(cell: Cell, known: Sequence[Cell]) -> list[int | None]:
    """The target seeds of the cells to which some rows belong."""
    if cell[3] is not None:
        return [cell[3]]
    return [other[3] for other in known if other[:3] == cell[:3] and other[3] is not None] or [None]


def cell_name(cell: Cell) -> str:
    """`<backbone>.<arm>.i<seed>.t<seed>`, without the seeds that a cell does not have."""
    seeds = [f"{kind}{seed}" for kind, seed in zip("it", cell[2:], strict=True) if seed is not None]
    name = ".".join([*cell[:2], *seeds])
    if not is_name(name, folders=False):
        raise DataError(
            f"{name!r}: a backbone or arm of the report's predictions is not a valid file name"
        )
    return name


def _write(task: Official, language: str, rows: LanguagePredictions, folder: Path) -> None:
    if task.name == "tatoeba":
        rows = _alphabetical(rows)
    ids = distinct(rows.ids)
    sides = {
        side: [_parsed(text, f"{side} of {task.evaluation} in {language}") for text in texts]
        for side, texts in zip(SIDES, (rows.predictions, rows.golds), strict=True)
    }
    for side, values in sides.items():
        path = folder / side / task.file(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = _WRITERS[task.kind](task, ids, values, side)
        if "data" in ids and (
            task.kind == "rankings" or (task.kind == "answers" and side == "predictions")
        ):
            # The official script reads only the value of this key, if a file has it.
            text = f'{{"data": {text}}}'
        path.write_text(text, encoding="utf-8")


def distinct(ids: Sequence[str]) -> list[str]:
    """The ids, with duplicates renamed to `<id>#2`, `<id>#3`, …, since a file by id has one entry
    per id. Labels with the original ids are scored with the answer of the first row, as the
    official script does for any duplicate id.
    """
    used = set(ids)
    seen: dict[str, int] = {}
    names = []
    for name in ids:
        number = seen.get(name, 0) + 1
        while number > 1 and f"{name}#{number}" in used:
            number += 1
        seen[name] = number
        names.append(name if number == 1 else f"{name}#{number}")
    return names


def _parsed(text: str, where: str) -> Any:
    try:
        return parse_row(text)
    except InvalidDocument as error:
        raise DataError(f"{where}: {error}; download the report again") from error


def _alphabetical(rows: LanguagePredictions) -> LanguagePredictions:
    """Tatoeba's rows in the order of the official English file: stably sorted by code points
    (xtreme utils_preprocess.py tatoeba_preprocess). DataError for a report without the sentences.
    """
    if rows.asked is None:
        raise DataError(
            "predictions/tatoeba.parquet has no column asked; run the plan again to write the "
            "report with it"
        )
    texts = [text.strip() for text in rows.asked]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    columns = (rows.ids, rows.predictions, rows.golds)
    return LanguagePredictions(*([column[place] for place in order] for column in columns))


def _labels(task: Official, ids: Sequence[str], values: Sequence[Any], side: str) -> str:
    """Class names for XNLI, 0 and 1 for PAWS-X, indices for Tatoeba."""
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
        {
            "id": name,
            "question": "",
            "answers": [{"text": text, "answer_start": 0} for text in texts],
        }
        for name, texts in zip(ids, values, strict=True)
    ]
    return json.dumps(
        {"data": [{"title": "", "paragraphs": [{"context": "", "qas": questions}]}]},
        ensure_ascii=False,
    )


def _rankings(task: Official, ids: Sequence[str], values: Sequence[Any], side: str) -> str:
    return json.dumps(dict(zip(ids, values, strict=True)), ensure_ascii=False)


def _pairs(task: Official, ids: Sequence[str], values: Sequence[Any], side: str) -> str:
    """BUCC: pairs of ids as in the files of the pool."""
    targets = ([value] if isinstance(value, str) else value for value in values)
    pairs = [
        (source, target)
        for source, of_source in zip(ids, targets, strict=True)
        for target in of_source
        if target
    ]
    return "".join(
        f"{source.removeprefix('test/')}\t{target.removeprefix('test/')}\n"
        for source, target in pairs
    )


_WRITERS: Mapping[str, Callable[[Official, Sequence[str], Sequence[Any], str], str]] = {
    "labels": _labels,
    "tags": _tags,
    "objects": _objects,
    "answers": _answers,
    "rankings": _rankings,
    "pairs": _pairs,
}
