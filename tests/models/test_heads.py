"""Heads on small exact arrays: what they read, one loss for each row, predictions as plain
values.
"""

import math
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from xstilts.data.encoded import EncodedRow
from xstilts.models import heads
from xstilts.models.backbone import load_backbone
from xstilts.models.batch import Segment, pack
from xstilts.models.heads import (
    AnswerLimit,
    HeadInputs,
    Span,
    embed,
    head_inputs,
    initialise,
    join_windows,
    lm_loss,
    make_head,
    mean,
    pool,
)


def row(segments: list[int], **given: object) -> EncodedRow:
    """A row with segments of these lengths."""
    empty = {"label": -1, "labels": [], "span": [], "offsets": [], "words": [], "supervised": 1}
    return EncodedRow(
        row=0, language="en", segments=[[5] * n for n in segments], length=sum(segments), images=[], grids=[],
        **{**empty, **given},
    )  # fmt: skip


def fill(head: torch.nn.Module, **weights: object) -> None:
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            parameter.copy_(
                torch.tensor(weights[name]) if name in weights else torch.zeros(parameter.shape)
            )


STATES = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 4.0], [2.0, 2.0], [4.0, 6.0]])


def test_pooling():
    about = head_inputs([row([3]), row([2])])
    assert about.cu_seq_lens.tolist() == [0, 3, 5]
    assert pool(STATES, about, "first").tolist() == [[1.0, 0.0], [2.0, 2.0]]
    assert pool(STATES, about, "last").tolist() == [[5.0, 4.0], [4.0, 6.0]]
    assert pool(STATES, about, "last", "pooled+mean").tolist() == [
        [5.0, 4.0, 3.0, 2.0],
        [4.0, 6.0, 3.0, 4.0],
    ]
    assert (
        mean(STATES, about).tolist()
        == pool(STATES, about, "last", "mean").tolist()
        == [[3.0, 2.0], [3.0, 4.0]]
    )


@pytest.mark.parametrize(
    ("token", "pooling", "expected"),
    [
        ("first", "pooled", [[1.0, 0.0], [2.0, 2.0]]), ("last", "pooled", [[5.0, 4.0], [4.0, 6.0]]),
        ("last", "mean", [[3.0, 2.0], [3.0, 4.0]]), ("last", "pooled+mean", [[3.0, 2.0], [3.0, 4.0]]),
    ],
)  # fmt: skip
def test_vectors_have_unit_length_and_the_width_of_the_model(
    token: str, pooling: str, expected: list[list[float]]
) -> None:
    given = torch.tensor(expected)
    found = embed(STATES, head_inputs([row([3]), row([2])]), token, pooling)
    torch.testing.assert_close(found, given / given.norm(dim=1, keepdim=True))


def test_classification():
    about = head_inputs([row([3], label=1), row([2], label=0)])
    head = make_head("classification", "head", 2, 2, "first")
    fill(head, **{"out.weight": [[1.0, 0.0], [0.0, 1.0]], "out.bias": [0.0, 0.5]})
    assert head(STATES, about).tolist() == [[1.0, 0.5], [2.0, 2.5]]
    expected = [math.log(1 + math.exp(0.5)), math.log(1 + math.exp(0.5))]
    assert head.loss(STATES, about).tolist() == pytest.approx(expected)
    assert head.predict(STATES, about) == [0, 1]


def test_multiple_choice_with_two_and_three_choices():
    about = head_inputs([row([1, 1, 1], label=2), row([1, 1], label=0)])
    head = make_head("multiple_choice", "head", 2, 0, "last")
    fill(head, **{"out.weight": [[1.0, 0.0]]})
    assert head(STATES, about).tolist() == [[1.0, 3.0, 5.0], [2.0, 4.0, -math.inf]]
    expected = [math.log(math.e + math.e**3 + math.e**5) - 5, math.log(math.e**2 + math.e**4) - 2]
    assert head.loss(STATES, about).tolist() == pytest.approx(expected)
    assert head.predict(STATES, about) == [2, 1]


def test_tagging_gives_every_sentence_the_same_weight():
    about = head_inputs(
        [row([3], labels=[-100, 0, 1], words=[-1, 0, 1]), row([2], labels=[1, -100], words=[1, -1])]
    )
    head = make_head("tagging", "head", 2, 2)
    fill(head, **{"out.weight": [[1.0, 0.0], [0.0, 1.0]]})
    one, two = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    assert head.loss(STATES, about).tolist() == pytest.approx([(one + two) / 2, math.log(2)])
    assert head.predict(STATES, about) == [{0: 0, 1: 0}, {1: 0}]
    lost = head_inputs(
        [row([3], labels=[-100] * 3, words=[-1] * 3), row([2], labels=[1, 1], words=[0, 1])]
    )
    assert head.loss(STATES, lost)[0] == 0.0


def test_span_start_and_end_given_start():
    """A window: token 0 (no answer), a question's token, then three of the context; start logit
    the first channel.
    """
    states = torch.tensor([[0.0, 0.0], [9.0, 9.0], [1.0, 0.0], [2.0, 1.0], [0.0, 3.0]])
    about = head_inputs([row([5], span=[3, 4], offsets=[-1, -1, -1, -1, 0, 3, 4, 8, 9, 12])])
    head = Span(2)
    fill(head, **{"start.weight": [[1.0, 0.0]], "end.weight": [[0.0, 1.0]]})
    over = torch.tensor([0.0, 1.0, 2.0, 0.0]).log_softmax(0)  # the question is not among them
    ends = torch.tensor([0.0, 0.0, 1.0, 3.0]).log_softmax(0)
    assert head.loss(states, about).tolist() == pytest.approx([float(-(over[2] + ends[3]) / 2)])
    best, null = pytest.approx(float(over[2] + ends[3])), pytest.approx(float(over[0] + ends[0]))
    assert head.predict(states, about) == [{"start": 4, "end": 12, "score": best, "null": null}]
    # A token by itself, start + end: 1 + 0, 2 + 1 or 0 + 3; of equals the likelier start.
    assert head.predict(states, about, AnswerLimit(tokens=1))[0]["end"] == 8
    absent = head_inputs([row([5], span=[0, 0], offsets=[-1, -1, -1, -1, 0, 3, 4, 8, 9, 12])])
    assert head.loss(states, absent).tolist() == pytest.approx([float(-(over[0] + ends[0]) / 2)])
    with pytest.raises(ValueError, match="outside the context"):
        head.loss(
            states,
            head_inputs([row([5], span=[1, 3], offsets=[-1, -1, -1, -1, 0, 3, 4, 8, 9, 12])]),
        )
    nothing = head_inputs([row([5], offsets=[-1] * 10)])
    assert head.predict(states, nothing) == [
        {"start": 0, "end": 0, "score": -math.inf, "null": 0.0}
    ]


def test_the_end_sees_the_start():
    """Two starts s = ±1 and two ends x = ±1, the end to be that of equal sign: no sum of
    separate logits can say so, tanh(x + s - 1) + tanh(-x - s - 1) can.
    """
    starts = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    ends = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    head = Span(3)
    fill(head, **{
        "joint.weight": [[0, 1, 0, 1, 0, 0], [0, -1, 0, -1, 0, 0], [0, 0, 0, 0, 0, 0]],
        "joint.bias": [-1.0, -1.0, 0.0], "joint_out.weight": [[1.0, 1.0, 0.0]],
    })  # fmt: skip
    logits = head._end(ends, starts[:, None])
    assert logits.argmax(-1).tolist() == [0, 1]
    assert float(logits.detach()[0, 0]) == pytest.approx(math.tanh(1) + math.tanh(-3))


def test_predict_equals_a_search_of_all_pairs():
    torch.manual_seed(0)
    states, n = torch.randn(40, 8), 40
    head = Span(8, n_best=40)
    initialise(head, 0, "squad")
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(20)
    offsets = [v for i in range(n) for v in ((i, i + 1) if 10 <= i < 35 else (-1, -1))]
    shut = torch.tensor([not (i == 0 or 10 <= i < 35) for i in range(n)])
    starts = head.start(states)[:, 0].masked_fill(shut, -math.inf).log_softmax(0)
    best = (-math.inf, 0, 0)
    for i in range(10, 35):
        ends = head._end(states, states[i]).masked_fill(shut, -math.inf).log_softmax(0)
        best = max(best, *(((starts[i] + ends[j]).item(), i, j) for j in range(i, min(35, i + 6))))
    found = head.predict(states, head_inputs([row([n], offsets=offsets)]), AnswerLimit(tokens=6))[0]
    assert (found["start"], found["end"]) == (best[1], best[2] + 1)
    assert found["score"] == pytest.approx(best[0], abs=1e-5)


@torch.no_grad()
def alone(head: Span, window: Tensor, about: HeadInputs, limit: AnswerLimit) -> dict[str, Any]:
    """The prediction of one window, start by start."""
    places, (begin, end) = about.offsets.tolist(), about.answer_starts[0].tolist()
    shut = torch.tensor([i > 0 and place[0] < 0 for i, place in enumerate(places)])
    starts = head.start(window)[:, 0].masked_fill(shut, -math.inf).log_softmax(0)

    def ends(start: int) -> Tensor:
        return head._end(window, window[start]).masked_fill(shut, -math.inf).log_softmax(0)

    likely = [i for i in starts.argsort(descending=True).tolist() if begin <= i < end]
    likely = [i for i in likely if places[i][0] >= 0][: head.n_best]
    pairs = [
        (float(starts[i] + ends(i)[j]), places[i][0], places[j][1])
        for i in likely
        for j in range(len(places))
        if places[j][0] >= 0 and limit.allows(j - i + 1, places[j][1] - places[i][0])
    ]
    score, first, last = max(pairs, default=(-math.inf, 0, 0))
    null = float(starts[0] + ends(0)[0])
    return {"start": first, "end": last, "score": score, "null": null}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("values", [1, 2**12, 2**22])
def test_windows_are_answered_together_as_alone(seed, values, monkeypatch):
    """Windows of 1 to 30 tokens, contexts anywhere in them or absent, few or all starts allowed."""
    monkeypatch.setattr(heads, "_PAIRS_CPU", values)
    random = Random(seed)
    head = Span(8, n_best=random.choice([1, 4, 20]))
    initialise(head, seed, "squad")
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(20)
    rows = []
    for _ in range(12):
        n = random.randrange(1, 31)
        first, last = sorted(random.choices(range(1, n + 1), k=2))
        inside = [random.randrange(3) for _ in range(n)]  # characters beside each token's end
        offsets = [v for i in range(n) for v in ((3 * i, 3 * i + 1 + inside[i]) if first <= i < last else (-1, -1))]  # fmt: skip
        begin = random.randrange(n + 1)
        rows.append(row([n], offsets=offsets, starts=random.choice([[0, n], [begin, n]])))
    states = torch.randn(
        sum(r.length for r in rows), 8, generator=torch.Generator().manual_seed(seed)
    )
    limit = random.choice([AnswerLimit(), AnswerLimit(tokens=3), AnswerLimit(characters=9)])
    together = head.predict(states, head_inputs(rows), limit)
    windows = states.split([r.length for r in rows])
    expected = [alone(head, w, head_inputs([r]), limit) for w, r in zip(windows, rows, strict=True)]
    for prediction, of_window in zip(together, expected, strict=True):
        assert (prediction["start"], prediction["end"]) == (of_window["start"], of_window["end"])
        assert prediction["score"] == pytest.approx(of_window["score"], abs=1e-4)
        assert prediction["null"] == pytest.approx(of_window["null"], abs=1e-4)


def test_an_answer_starts_only_where_the_row_says_and_ends_anywhere():
    """Start logits 1, 2, 0 of three context tokens, end logits 0, 1, 3."""
    states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 1.0], [0.0, 3.0]])
    head = Span(2)
    fill(head, **{"start.weight": [[1.0, 0.0]], "end.weight": [[0.0, 1.0]]})
    offsets = [-1, -1, 0, 3, 4, 8, 9, 12]
    starts = {(1, 4): 4, (1, 2): 0, (3, 4): 9}
    for allowed, expected in starts.items():
        (found,) = head.predict(
            states, head_inputs([row([4], offsets=offsets, starts=list(allowed))])
        )
        assert (found["start"], found["end"]) == (expected, 12)
    (nowhere,) = head.predict(states, head_inputs([row([4], offsets=offsets, starts=[1, 1])]))
    assert (nowhere["end"], nowhere["score"]) == (0, -math.inf)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (AnswerLimit(), (0, 30)),
        (AnswerLimit(tokens=3), (0, 30)),
        (AnswerLimit(tokens=2), (4, 30)),
        (AnswerLimit(tokens=1), (4, 12)),
        (AnswerLimit(characters=30), (0, 30)),
        (AnswerLimit(characters=29), (4, 30)),
        (AnswerLimit(characters=20), (0, 12)),
    ],
)
def test_an_answer_is_limited_by_tokens_or_characters(limit, expected):
    """The pairs of three tokens by falling sum of logits: (0, 2), (1, 2), (0, 1), … after their
    characters.
    """
    states = torch.tensor([[0.0, 0.0], [9.0, 0.0], [8.0, 6.0], [0.0, 8.0]])
    head = Span(2)
    fill(head, **{"start.weight": [[1.0, 0.0]], "end.weight": [[0.0, 1.0]]})
    (found,) = head.predict(
        states, head_inputs([row([4], offsets=[-1, -1, 0, 3, 4, 12, 13, 30])]), limit
    )
    assert (found["start"], found["end"]) == expected


def test_windows_of_one_question_give_its_best_answer():
    found = join_windows(
        [
            (1, {"start": 1, "score": -3.0, "null": -2.0}),
            (2, {"start": 2, "score": -math.inf, "null": -1.0}),
            (1, {"start": 3, "score": -1.0, "null": -5.0}),
            (1, {"start": 4, "score": -1.0, "null": -1.0}),
        ]
    )
    assert found == {
        1: {"start": 3, "score": -1.0, "null": -5.0}, 2: {"start": 2, "score": -math.inf, "null": -1.0},
    }  # fmt: skip


def test_lm_loss_reads_supervised_tokens_only(folder):
    backbone = load_backbone(folder("llava"), "llava")
    rows = [row([4], labels=[-100, 7, -100, 9]), row([3], labels=[-100, -100, 8])]
    states = backbone(
        pack([Segment([300 + i for i in range(len(r.segments[0]))]) for r in rows], backbone)
    )
    total, count = lm_loss(backbone, states, head_inputs(rows))
    logits = backbone.lm_logits(states)
    assert count == 3
    expected = sum(F.cross_entropy(logits[i], torch.tensor(t)) for i, t in ((1, 7), (3, 9), (6, 8)))
    assert float(total) == pytest.approx(float(expected), rel=1e-5)
    none = lm_loss(
        backbone, states, head_inputs([row([4], labels=[-100] * 4), row([3], labels=[-100] * 3)])
    )
    assert (float(none[0]), none[1]) == (0.0, 0)


def test_retrieval():
    states = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 1.0], [1.0, 1.0]])
    about = head_inputs([row([2, 1]), row([1, 1])])
    vectors = embed(states, about)
    assert vectors.tolist() == [
        [1.0, 0.0],
        [0.0, 1.0],
        [0.0, 1.0],
        pytest.approx([0.5**0.5, 0.5**0.5]),
    ]


def test_heads_are_initialized_from_their_random_stream():
    for format_ in ("classification", "multiple_choice", "tagging", "span"):
        one, two, other = (
            make_head(format_, "head", 16, 3, "last", "pooled+mean") for _ in range(3)
        )
        initialise(one, 0, "mnli")
        torch.manual_seed(1)
        initialise(two, 0, "mnli")
        initialise(other, 1, "mnli")
        same = [torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)]
        assert all(same)
        assert not torch.equal(next(one.parameters()), next(other.parameters()))
        assert all(not p.any() for n, p in one.named_parameters() if n.endswith("bias"))
        assert all(p.any() for n, p in one.named_parameters() if n.endswith("weight"))


def test_formats_without_a_head_and_invalid_arguments():
    assert make_head("classification", "lm", 2, 3) is None
    assert make_head("generation", "lm", 2) is None
    assert make_head("retrieval", "head", 2) is None
    for bad in ({"format": "poem"}, {"pooling": "max"}, {"objective": "reward"}):
        with pytest.raises(ValueError, match=r"has no head|unknown pooling|unknown objective"):
            make_head(**{"format": "span", "objective": "head", "width": 2, **bad})


def test_losses_equal_those_of_each_row_alone():
    torch.manual_seed(0)
    lengths = [4, 7, 3]
    states = torch.randn(14, 8).split(lengths)
    rows = [
        row([n], label=1, labels=[-100, *[2] * (n - 1)], words=[-1, *range(n - 1)], span=[1, 2],
            offsets=[-1, -1, *[v for i in range(n - 1) for v in (i, i + 1)]])
        for n in lengths
    ]  # fmt: skip
    for format_ in ("classification", "tagging", "span"):
        head = make_head(format_, "head", 8, 3)
        initialise(head, 0, "")
        together = head.loss(torch.cat(states), head_inputs(rows))
        alone = torch.cat(
            [head.loss(s, head_inputs([r])) for s, r in zip(states, rows, strict=True)]
        )
        assert torch.allclose(together, alone, atol=1e-6)
        assert together.shape == (3,)
