"""A prediction depends on no batch, order or neighbour, in every family, format and attention."""

from dataclasses import asdict, replace
from random import Random
from typing import Any

import pyarrow as pa
import pytest
import torch

from tests.models.conftest import SETTINGS
from xstilts.data.encoded import EncodedRow, EncodedRows
from xstilts.miniature.backbones import build_tiny
from xstilts.models.backbone import Backbone, load_backbone
from xstilts.models.head_set import Heads
from xstilts.models.heads import AnswerLimit
from xstilts.models.processor import load_processor
from xstilts.scoring.gold import Gold
from xstilts.scoring.metrics import METRICS
from xstilts.scoring.predict import Job, Predictor, predict_rows, sorted_batches, withheld

TEXTS = ["bako ritu zeba.", "koko tuba rima baze.", "riri.", "zeko bama tutu koba rize."] * 20
FORMATS = {
    "classification": 3,
    "multiple_choice": 0,
    "tagging": 5,
    "span": 0,
    "retrieval": 0,
    "ranking": 0,
    "mining": 0,
}
KINDS = [
    ("xlm_r", "bidirectional"),
    ("llava", "causal"),
    ("llava", "bidirectional"),
    ("qwen_vl", "causal"),
]


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def predictor(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Predictor:
    family, attention = request.param
    folder = build_tiny(family, 1, TEXTS, SETTINGS, tmp_path_factory.mktemp(family))
    backbone: Backbone = load_backbone(folder, family, attention).eval()
    tasks = [
        {"name": name, "format": name, "objective": "head", "classes": classes}
        for name, classes in FORMATS.items()
    ]
    heads = Heads(tasks, backbone, {}, 5, "")
    with torch.no_grad():  # as they start, heads hardly tell one row from another
        for number, parameter in enumerate(heads.parameters()):
            torch.manual_seed(number)
            parameter.normal_(std=1.0)
    return Predictor(backbone, heads, load_processor(folder, family), 10_000, torch.device("cpu"))


def encoded(format_: str, number: int) -> EncodedRow:
    random = Random(f"{number} {format_}")
    segments = {"multiple_choice": 3, "retrieval": 2}.get(format_, 1)
    made = [
        [random.randrange(20, 200) for _ in range(random.randrange(3, 25))] for _ in range(segments)
    ]
    n = len(made[0])
    words = list(range(n)) if format_ == "tagging" else [-1] * n
    offsets = [value for i in range(n) for value in ((3 * i, 3 * i + 3) if i else (-1, -1))]
    return EncodedRow(
        number, "en", made, sum(map(len, made)), [], [], 0, [0] * n if format_ == "tagging" else [], [1, 1],
        offsets if format_ == "span" else [], words, 1,
    )  # fmt: skip


def jobs(numbers: list[int]) -> list[Job]:
    found = []
    for place, format_ in enumerate(FORMATS):
        rows = EncodedRows(
            pa.Table.from_pylist([asdict(encoded(format_, number)) for number in numbers])
        )
        found.append(
            Job(
                format_,
                "en",
                format_,
                rows,
                depth=0.5 if format_ in ("retrieval", "mining") else None,
                head=place,
            )
        )
    return found


def predicted(
    predictor: Predictor, numbers: list[int], budget: int = 10_000
) -> dict[str, dict[str, Any]]:
    """format → row → prediction"""
    given = Predictor(
        predictor.backbone, predictor.heads, predictor.processor, budget, predictor.device
    )
    with torch.no_grad():
        told, spread = predict_rows(given, jobs(numbers))
    found = {format_: dict(rows) for (format_, _), rows in told.items()}
    return found | {
        format_: dict(zip(rows.rows, rows.take(range(len(rows))), strict=True))
        for (format_, _), rows in spread.items()
    }


def close(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):  # of rankings and pools in half precision
        return torch.allclose(one, other, atol=2e-3 if one.ndim == 1 else 2e-5)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    return one == pytest.approx(other, abs=1e-4) if isinstance(one, float) else one == other


@pytest.mark.parametrize("format_", FORMATS)
def test_together_as_alone_and_in_any_order(predictor: Predictor, format_: str) -> None:
    together = predicted(predictor, list(range(7)))[format_]
    alone = predicted(predictor, list(range(7)), budget=1)[format_]
    turned = predicted(predictor, [6, 2, 0, 5, 1, 4, 3], budget=60)[format_]
    fewer = predicted(predictor, [3, 6])[format_]
    for number, prediction in together.items():
        assert close(prediction, alone[number]), number
        assert close(prediction, turned[number]), number
        assert number not in fewer or close(prediction, fewer[number]), number
    if format_ in ("classification", "multiple_choice"):
        assert len(set(together.values())) > 1, "all rows are answered alike: this shows nothing"


def test_answers_of_one_pass_are_limited_each_by_its_own_job(predictor: Predictor) -> None:
    """Every token of these rows has 3 characters."""
    (job,) = [one for one in jobs(list(range(7))) if one.format == "span"]
    limits = {
        "none": None,
        "tokens": AnswerLimit(tokens=2),
        "characters": AnswerLimit(characters=3),
    }
    given = [replace(job, step=name, answer_limit=limit) for name, limit in limits.items()]
    with torch.no_grad():
        told, _ = predict_rows(predictor, given)
    longest = {name: max(w["end"] - w["start"] for _, w in told[name, "en"]) for name in limits}
    assert longest["none"] > 6
    assert (longest["tokens"], longest["characters"]) == (6, 3)


def test_batches_hold_the_longest_first_and_every_row_once() -> None:
    given = jobs([0, 1, 2, 3, 4])[:2]
    batches = list(sorted_batches(given, budget=40))
    flat = [pair for batch in batches for pair in batch]
    lengths = [given[job].rows.lengths[row] for job, row in flat]
    assert lengths == sorted(lengths, reverse=True)
    assert sorted(flat) == [(job, row) for job in range(2) for row in range(5)]
    assert all(
        len(batch) == 1 or sum(given[j].rows.lengths[i] for j, i in batch) <= 40
        for batch in batches
    )


def test_squad_v2_withholds_for_em_and_for_f1_by_thresholds_of_their_own() -> None:
    """One question has no answer: F1 gains most by answering all three (0 + 0.8 + 0.8), EM by
    answering none (1).
    """
    golds = [
        Gold(0, "a", "", []),
        Gold(1, "b", "", ["red big ball"]),
        Gold(2, "c", "", ["blue big ball"]),
    ]
    texts = ["x", "red ball", "blue ball"]
    predicted = {0: [0, 1, 3.0], 1: [0, 1, 2.0], 2: [0, 1, 1.0]}
    told = withheld(texts, golds, predicted)
    assert told == [["", "x"], ["", "red ball"], ["", "blue ball"]]
    both = [
        METRICS[name].counts(told, [one.gold for one in golds], "en").sum(0)
        for name in ("squad_v2_em", "squad_v2_f1")
    ]
    assert METRICS["squad_v2_em"].value(both[0]) == pytest.approx(100 / 3)
    assert METRICS["squad_v2_f1"].value(both[1]) == pytest.approx(100 * 1.6 / 3)
