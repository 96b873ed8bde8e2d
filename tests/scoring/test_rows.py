"""From records to written predictions: each row gets its own, whatever the data set's ids are."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.conftest import SETTINGS
from xstilts.data.encode import encode
from xstilts.data.encoded import EncodedRows
from xstilts.data.records import write_records
from xstilts.miniature.backbones import build_tiny
from xstilts.models.backbone import load_backbone
from xstilts.models.head_set import Heads
from xstilts.models.processor import load_processor
from xstilts.scoring.gold import candidate_names, gold_answers
from xstilts.scoring.predict import Job, Predictor, predict, written
from xstilts.step import Step
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example

WORDS = "bako ritu zeba koko tuba rima baze riri zeko bama tutu koba rize".split()
COUNT = 9


def words(number: int, count: int) -> list[str]:
    return [WORDS[(number * 5 + k * (number + 1)) % len(WORDS)] for k in range(count)]


def text(number: int, count: int = 6) -> str:
    return " ".join(words(number, count))


def classification(n: int) -> Example:
    return Example(f"id-{n}", text=WORDS[n] * 3, text_pair=WORDS[-n] * (1 + n % 4), label=0)


def multiple_choice(n: int) -> Example:
    return Example(
        f"id-{n}",
        text=text(n),
        question="riri?",
        choices=(text(n + 1), text(n + 2), text(n + 4)),
        label=0,
    )


def tagging(n: int) -> Example:
    """Long sentences become several pieces."""
    return Example(f"id-{n}", tokens=tuple(words(n, 30 + n)), tags=("NOUN",) * (30 + n))


def span(n: int) -> Example:
    """Long contexts become several windows."""
    context = text(n, 40 + n)
    return Example(
        f"id-{n}", text=context, question=text(n + 1, 2), answers=((context.split()[0], 0),)
    )


def retrieval(n: int) -> Example:
    return Example(f"id-{n}", text=text(n + 1), text_pair=text(n, 4))


def ranking(n: int) -> Example:
    """Queries at even rows, candidates at odd ones."""
    if n % 2:
        return Example(f"id-{n}", text=text(n), candidate=f"en/{n}")
    return Example(f"id-{n}", text=text(n, 3), relevant=("en/1",))


MADE: dict[str, tuple[str, Callable[[int], Example]]] = {
    "classification": ("xnli", classification), "multiple_choice": ("xcopa", multiple_choice),
    "tagging": ("udpos", tagging), "span": ("tydiqa", span), "retrieval": ("tatoeba", retrieval),
    "ranking": ("lareqa", ranking),
}  # fmt: skip
HEADS = {"classification": 3, "multiple_choice": 0, "tagging": 17, "span": 0}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = build_tiny(
        "xlm_r", 1, [" ".join(WORDS)] * 20, SETTINGS, tmp_path_factory.mktemp("xlm_r")
    )
    backbone = load_backbone(folder, "xlm_r", "bidirectional").eval()
    tasks = [
        {"name": name, "format": name, "objective": "head", "classes": classes}
        for name, classes in HEADS.items()
    ]
    heads = Heads(tasks, backbone, {"pooling": "pooled+mean"}, 5, "")
    torch.manual_seed(4)
    with torch.no_grad():  # as they start, heads hardly tell one row from another
        for parameter in heads.parameters():
            parameter.normal_(std=3.0) if parameter.ndim > 1 else parameter.zero_()
    return Predictor(backbone, heads, load_processor(folder, "xlm_r"), 300, torch.device("cpu"))


def told(
    predictor: Predictor, format_: str, task: str, examples: Sequence[Example], folder: Path
) -> list[Any]:
    """The written predictions, in the order of the examples that are asked."""
    lengths = {"max_length": 32, "stride": 8, "question_length": 8}
    spec = {
        "task": task,
        "split": "test",
        "language": "en",
        "objective": "eval",
        "lengths": lengths,
        "subtoken": "first",
    }
    records = write_records(list(examples), folder)["records.parquet"]
    files, _ = encode(Step("encode", spec), records, predictor.processor, folder)
    rows, golds = EncodedRows(files["encoded.parquet"]), gold_answers(records, format_)
    head = list(HEADS).index(format_) if format_ in HEADS else 0
    depth = 0.5 if format_ in ("retrieval", "mining") else None
    job = Job(
        "s",
        "en",
        format_,
        rows,
        depth=depth,
        queries=golds,
        head=head,
        names=candidate_names(records),
    )
    with torch.no_grad():
        found = predict(predictor, [job])["s", "en"]
    asked = [gold for gold in golds if gold.row in found] if format_ == "mining" else golds
    return written(format_, TASKS[task].labels, asked, found)


@pytest.mark.parametrize("format_", MADE)
def test_equal_ids_change_no_prediction(predictor: Predictor, format_: str, tmp_path: Path) -> None:
    task, make = MADE[format_]
    examples = [make(number) for number in range(COUNT)]
    unique = told(predictor, format_, task, examples, tmp_path / "unique")
    equal = told(
        predictor, format_, task, [replace(one, id="same") for one in examples], tmp_path / "equal"
    )
    assert equal == unique
    assert len({str(one) for one in unique}) > 1, "all rows are answered alike: this shows nothing"
    if format_ == "span":
        assert all(answer in one.text for answer, one in zip(equal, examples, strict=True))


def test_rows_of_another_order_take_their_predictions_with_them(
    predictor: Predictor, tmp_path: Path
) -> None:
    """With equal ids, only the position tells rows apart."""
    examples = [replace(span(number), id="same") for number in range(COUNT)]
    ahead = told(predictor, "span", "tydiqa", examples, tmp_path / "ahead")
    assert told(predictor, "span", "tydiqa", examples[::-1], tmp_path / "back") == ahead[::-1]


def test_sentences_of_a_pool_with_equal_ids_are_mined_each_by_itself(
    predictor: Predictor, tmp_path: Path
) -> None:
    """The ids of a pool say which part a sentence is of, and nothing else."""

    def pool(same: bool) -> list[Example]:
        found = []
        for part in ("dev", "test"):
            for number in range(4):
                name = f"{part}/fr-{0 if same else number}"
                found.append(Example(name, text=text(number), relevant=(f"{part}/en-{number}",)))
            for number in range(4):
                name = f"{part}/en-{number}"
                found.append(
                    Example(f"{part}/en-0" if same else name, text=text(number, 7), candidate=name)
                )
        return found

    unique, equal = (
        told(predictor, "mining", "bucc_mining", pool(same), tmp_path / str(same))
        for same in (False, True)
    )
    assert equal == unique
    assert len({*unique}) > 1
