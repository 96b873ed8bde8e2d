"""Everything that is wrong with a submission, at once."""

from pathlib import Path

from xstilts.errors import DataError, PlanError
from xstilts.official import read
from xstilts.official.grade import score_language
from xstilts.official.layout import TABLES

_READERS = {
    "labels": read.lines, "pairs": read.lines, "objects": read.objects, "tags": read.sentences, "answers": read.mapping,
    "rankings": read.mapping,
}  # fmt: skip


def validate(predictions: Path, benchmark: str = "xtreme-r", labels: Path | None = None) -> list[str]:
    """The problems of a folder of predictions: tasks, languages and files that are missing, files that cannot be read and,
    with labels, those that do not fit them. Empty for a submission that can be sent in."""
    if benchmark not in TABLES:
        raise PlanError(f"no benchmark {benchmark!r}; allowed: {', '.join(TABLES)}")
    problems = []
    for task in TABLES[benchmark].values():
        if not (predictions / task.name).is_dir():
            problems.append(f"{task.name}: no folder")
            continue
        for language in task.languages:
            path = predictions / task.file(language)
            try:
                if labels is not None and path.is_file():
                    score_language(task, path, labels / task.file(language), language)
                else:
                    _READERS[task.kind](path)
            except (DataError, ValueError) as error:
                problems.append(str(error))
    return problems
