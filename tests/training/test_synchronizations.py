"""An update waits for the GPU once, and the variable-length kernel is called as PyTorch declares."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import varlen

from tests.training.sharded_runs import FULL, LORA, PICTURES, UPDATES, Case, Training
from tests.training.synchronizations import counted
from xstilts.data.encoded import EncodedRows
from xstilts.models import attention
from xstilts.models.families import FAMILIES
from xstilts.models.head_set import pack_rows
from xstilts.training.workers import Workers

torch.set_num_threads(1)

SIGNATURE = inspect.signature(varlen.varlen_attn)


def reference(*args: Any, **kwargs: Any) -> Tensor:
    """varlen_attn on the CPU, without reading numbers: attention under a mask of segments."""
    given = SIGNATURE.bind(*args, **kwargs)
    given.apply_defaults()
    a = given.arguments
    q, k, v, cu = a["query"], a["key"], a["value"], a["cu_seq_q"]
    assert cu is a["cu_seq_k"]
    assert cu.dtype == torch.int32
    assert cu.ndim == 1
    assert isinstance(a["max_q"], int)
    assert a["max_q"] == a["max_k"]
    assert q.ndim == 3
    assert q.shape[-1] % 8 == 0
    assert q.shape[-1] <= 256
    assert q.stride(-1) == k.stride(-1) == v.stride(-1) == 1
    assert a["window_size"] in ((-1, 0), (-1, -1))
    assert a["enable_gqa"] is (q.shape[1] != k.shape[1])
    place = torch.arange(len(q))
    segment = torch.searchsorted(cu[1:].long(), place, right=True)
    mask = segment[:, None] == segment[None]
    if a["window_size"] == (-1, 0):
        mask = mask & (place[:, None] >= place[None])
    q, k, v = (t.transpose(0, 1)[None] for t in (q, k, v))
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, scale=a["scale"], enable_gqa=a["enable_gqa"]
    )
    return out[0].transpose(0, 1)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Uses the reference as the kernel of a GPU. Collects the longest segment of each call."""
    calls: list[int] = []

    def call(*args: Any, **kwargs: Any) -> Tensor:
        calls.append(args[5])
        return reference(*args, **kwargs)

    monkeypatch.setattr(attention, "has_kernel", lambda query: True)
    monkeypatch.setattr(varlen, "varlen_attn", call)
    return calls


@pytest.mark.parametrize("family", FAMILIES)
def test_text_and_rows_of_images_use_the_kernel(
    family: str, tiny: Callable[[str], Path], request: pytest.FixtureRequest
) -> None:
    words = {"format": "generation", "objective": "lm"}
    training = Training(Case(family, FULL, **words), tiny(family), Workers(), sharded=False)
    backbone = training.backbone.eval()
    batch = pack_rows(training.task.rows.rows([0, 1, 2, 3]), backbone, training.processor, PICTURES)
    with torch.no_grad():
        expected = backbone(batch)
    calls = request.getfixturevalue("kernel")
    with torch.no_grad():
        torch.testing.assert_close(backbone(batch), expected, rtol=1e-4, atol=1e-4)
    text = [longest for longest in calls if longest == batch.max_length]
    assert len(text) >= backbone.layers
    if "qwen" in family and batch.image_grids is not None:
        assert len(calls) > backbone.layers


def annotated(training: Training, format_: str) -> EncodedRows:
    """The rows of a training with the answers of a format."""
    made = []
    for row in training.task.rows.table.to_pylist():
        size = sum(map(len, row["segments"]))
        if format_ == "multiple_choice":
            body = row["segments"][0]
            row |= {"segments": [body, body[:-1], body[1:]], "length": 3 * size - 2}
        elif format_ == "tagging":
            row |= {"labels": [-100, *[1] * (size - 1)], "words": [-1, *range(size - 1)]}
        elif format_ == "span":
            offsets = [-1, -1] + [v for i in range(size - 1) for v in (i, i + 1)]
            row |= {"offsets": offsets, "span": [1, 2], "starts": [1, size]}
        made.append(row)
    return EncodedRows(pa.Table.from_pylist(made))


TABLE = [
    ("xlm_r", "classification", "head", LORA),
    ("xlm_r", "classification", "head", FULL),
    ("xlm_r", "multiple_choice", "head", FULL),
    ("xlm_r", "tagging", "head", FULL),
    ("xlm_r", "span", "head", FULL),
    ("xlm_r", "ranking", "head", FULL),
    ("xlm_r", "classification", "lm", FULL),
    ("llava", "generation", "lm", LORA),
    ("llava", "classification", "head", FULL),
    ("qwen_vl", "generation", "lm", LORA),
    ("qwen_vl", "span", "head", LORA),
]


@pytest.mark.parametrize(("family", "format_", "objective", "tuning"), TABLE)
@pytest.mark.usefixtures("kernel")
def test_an_update_waits_once(
    family: str,
    format_: str,
    objective: str,
    tuning: Any,
    tiny: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case(family, tuning, format_, objective, "bfloat16")
    training = Training(case, tiny(family), Workers(), sharded=False)
    table = annotated(training, format_)
    training.task = type(training.task)("toy", table, objective)
    with counted(monkeypatch, training.backbone, training.heads) as waits:
        losses = training.updates()
    assert len(losses) == UPDATES
    assert len(waits.places) == UPDATES, "\n".join(waits.places)
    assert all("training/loop.py" in place for place in waits.places)


def test_reading_a_number_of_a_batch_counts(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop over segments, without lengths from the host, waits in each layer."""
    training = Training(Case("xlm_r", FULL), tiny("xlm_r"), Workers(), sharded=False)
    backbone = training.backbone
    with counted(monkeypatch, backbone) as waits, torch.no_grad():
        batch = pack_rows(training.task.rows.rows([0, 1]), backbone, None, None).to("cpu")
        backbone(batch)
        assert waits.places == []
        attention.packed_attention(
            backbone, *[torch.randn(1, 2, len(batch.input_ids), 8)] * 3, is_causal=False,
            cu_seq_lens_q=batch.cu_seq_lens,
        )  # fmt: skip
    assert len(waits.places) == 1
