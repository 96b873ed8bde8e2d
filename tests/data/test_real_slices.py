"""The tasks of the registry can read every data set of the mirror of real slices."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from xstilts.data.records import read_rows
from xstilts.mirror.first_rows import first_rows
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import open_mirror
from xstilts.sources.source_files import split_files
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Source, Task

ROWS = 20
#: What lies in the folder and is read by no task: other tasks' sets, and a second copy of the same
#: rows.
UNREAD = {
    "aps/super_glue/cb", "nyu-mll/glue/mrpc", "nyu-mll/glue/rte", "nyu-mll/glue/sst2", "facebook/xnli/all_languages",
    *(f"cambridgeltl/xcopa/translation-{code}" for code in ("et", "ht", "id", "it", "sw", "ta", "th", "tr", "vi", "zh")),
    *(f"facebook/mlqa/mlqa.{a}.{b}" for a in TASKS["mlqa"].languages for b in TASKS["mlqa"].languages if a != b),
}  # fmt: skip
SETS = [
    "HuggingFaceM4/A-OKVQA", "Rowan/hellaswag", "allenai/cosmos_qa", "allenai/social_i_qa", "aps/super_glue",
    "cambridgeltl/xcopa", "facebook/anli", "facebook/mlqa", "facebook/xnli", "google-research-datasets/tydiqa",
    "google-research-datasets/xquad_r", "google/xquad", "google/xtreme", "jxie/coco_captions", "lil-lab/nlvr",
    "lmms-lab/COCO-Caption2017", "nyu-mll/glue", "nyu-mll/multi_nli", "rajpurkar/squad", "rajpurkar/squad_v2",
    "stanfordnlp/snli", "tau/commonsense_qa", "unimelb-nlp/wikiann", "vzhou842/easy-VQA",
]  # fmt: skip


def readers(path: str) -> Iterator[tuple[Task, Source]]:
    """The tasks that read a set, each with the sources that name it."""
    for task in TASKS.values():
        left = list(task.splits.values())
        while left:
            source = left.pop()
            left += [*source.alternatives, *source.plus]
            if source.path == path:
                yield task, replace(source, alternatives=(), plus=())


def test_the_list_of_data_sets_matches_the_folder(hub: Path) -> None:
    assert {p.relative_to(hub).as_posix() for p in hub.glob("*/*") if p.is_dir()} == set(SETS)


@pytest.mark.parametrize("path", SETS)
def test_the_first_rows_of_every_file_become_examples(hub: Path, path: str) -> None:
    read = set()
    for task, source in readers(path):
        for language in task.languages:
            for split, files in split_files(hub / path, source.config_for(language)).items():
                with open(files[0], "rb") as stream:
                    rows, _ = first_rows(stream, "parquet", ROWS)
                examples, bad, dropped = read_rows(task, rows, range(len(rows)), language, None)
                assert not bad, f"{task.name} {split} {language}: {bad[0]}"
                assert examples or dropped == len(rows)
                read.add(files[0].parent.relative_to(hub).as_posix())
    there = {file.parent.relative_to(hub).as_posix() for file in (hub / path).rglob("*.parquet")}
    assert there - read <= UNREAD


def test_the_files_of_lareqa_are_read_from_a_mirror(hub: Path, tmp_path: Path) -> None:
    raw = hub.parent / "raw" / "lareqa" / "xquad-r"
    if not raw.is_dir():
        pytest.skip(f"no raw files: {raw} is absent")
    (tmp_path / "lareqa").mkdir()
    (tmp_path / "lareqa" / "xquad-r").symlink_to(raw)
    task, mirror = TASKS["lareqa"], open_mirror(str(tmp_path))
    for language in task.languages:
        rows = load_rows(mirror, task.splits["test"], language)
        examples, bad, _ = read_rows(task, rows, range(len(rows)), language, None)
        assert not bad
        assert len({one.id for one in examples if one.relevant}) >= 300


@pytest.mark.parametrize("path", SETS)
def test_rows_of_the_loader_become_examples(hub: Path, path: str) -> None:
    mirror, loaded = open_mirror(str(hub)), 0
    for task, source in readers(path):
        language = next(
            (one for one in task.languages if split_files(hub / path, source.config_for(one))), None
        )
        if language is None:
            continue
        there = split_files(hub / path, source.config_for(language))
        split = source.split if set(source.split.split("+")) <= set(there) else next(iter(there))
        rows = load_rows(mirror, replace(source, split=split), language)
        examples, bad, dropped = read_rows(task, rows, range(len(rows)), language, ROWS)
        assert examples or dropped == len(rows)
        assert not bad
        loaded += len(rows)
    assert loaded
