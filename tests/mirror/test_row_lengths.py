"""Row lengths are measured by encoding the rows of a mirror."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xstilts.data.sequence import TextImageProcessor
from xstilts.miniature.tokenizers import train_tokenizer
from xstilts.mirror import row_lengths
from xstilts.mirror.row_lengths import RowLengths, measure
from xstilts.models.processor import Processor
from xstilts.sources.mirrors import open_mirror
from xstilts.tasks.registry import TASKS

ROWS = [
    {"premise": "two men cook soup", "hypothesis": "people cook", "label": 0},
    {"premise": "a dog sleeps", "hypothesis": "the dog runs fast", "label": 2},
    {"premise": "a cat", "hypothesis": "nobody knows", "label": -1},  # no gold label: dropped
]


@pytest.fixture(scope="module")
def processor() -> Processor:
    texts = [f"{row['premise']} {row['hypothesis']}" for row in ROWS]
    return Processor("qwen2", train_tokenizer("qwen2", texts, 400, 512))


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """SNLI with a validation split only."""
    folder = tmp_path / "mirror" / "stanfordnlp" / "snli" / "plain_text"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "validation-00000-of-00001.parquet")
    return tmp_path / "mirror"


def test_means_are_those_of_the_encoded_rows(mirror: Path, processor: Processor) -> None:
    def tokens(text: str) -> int:
        return len(processor.text_tokens(text)[0])

    [lengths] = measure(open_mirror(str(mirror)), processor, {"snli": TASKS["snli"]})
    ends = len(processor.layout.start) + len(processor.layout.between) + len(processor.layout.end)
    pairs = [tokens(row["premise"]) + tokens(row["hypothesis"]) for row in ROWS[:2]]
    assert lengths.text == sum(pairs) / 2 + ends
    words = [tokens("entailment"), tokens("contradiction")]
    assert lengths.answer == sum(words) / 2 + 1  # and the end of the text
    assert lengths.lm is not None
    assert lengths.lm > lengths.text
    assert (lengths.split, lengths.rows, lengths.languages) == ("validation", 2, 1)
    assert (lengths.segments, lengths.windows, lengths.images) == (1, 1, 0)


def test_a_task_without_rows_is_left_out(mirror: Path, processor: Processor) -> None:
    tasks = {name: TASKS[name] for name in ("qqp", "snli", "xnli")}
    assert [row.task for row in measure(open_mirror(str(mirror)), processor, tasks)] == ["snli"]


def test_the_command_prints_a_line_per_task(
    mirror: Path,
    processor: Processor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    processor.tokenizer.save_pretrained(tmp_path / "tokenizer")
    monkeypatch.setattr(row_lengths, "TASKS", {"snli": TASKS["snli"]})
    row_lengths.main([str(mirror), "--tokenizer", str(tmp_path / "tokenizer"), "--rows", "1"])
    [line] = capsys.readouterr().out.splitlines()
    assert set(json.loads(line)) == set(RowLengths.__dataclass_fields__)
    assert json.loads(line)["rows"] == 1


@pytest.mark.parametrize("name", ["siqa", "easy_vqa", "squad"])
def test_the_estimates_of_tasks_are_measured(hub: Path, real_tokenizers: Path, name: str) -> None:
    task, processor = TASKS[name], _real(real_tokenizers)
    [measured] = measure(open_mirror(str(hub)), processor, {name: task})
    stated = task.estimate
    assert stated is not None
    assert stated.source == f"measured: {measured.rows} rows of {measured.split}"
    exact = (measured.text, measured.lm, measured.answer, measured.images, measured.windows)
    lm = stated.lm or stated.text
    assert exact == pytest.approx(
        (stated.text, lm, stated.answer, stated.images, stated.windows), abs=0.06
    )


def _real(folder: Path) -> TextImageProcessor:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "qwen2-tokenizer")
    return Processor("qwen2", tokenizer)
