"""docs/memory.md states what the arithmetic says at real size. XSTILTS_GOLDEN=write renews it."""

import os
import re

import pytest

from tests.docs.pages import ROOT
from xstilts.models.published import PUBLISHED
from xstilts.plan.memory import GIB, Setup, host, training
from xstilts.plan.memory_choice import Rows, choose, refusal
from xstilts.plan.model_shape import shape_of

PAGE = ROOT / "docs" / "memory.md"
LLAVA, QWEN = "llava-hf/llava-1.5-7b-hf", "Qwen/Qwen2.5-VL-7B-Instruct"
XLM_R = "FacebookAI/xlm-roberta-large"
CASES = [
    (LLAVA, "lora", "bfloat16", 1),
    (LLAVA, "full", "bfloat16", 1),
    (LLAVA, "full", "bfloat16", 8),
    (QWEN, "lora", "bfloat16", 1),
    (QWEN, "full", "bfloat16", 8),
    ("Qwen/Qwen3-VL-30B-A3B-Instruct", "lora", "bfloat16", 1),
    (XLM_R, "full", "float32", 1),
    (XLM_R, "full", "bfloat16", 1),
]
ROWS = Rows(1088, supervised=0.05, images=True)
COLUMNS = (
    "model", "tuning", "shards", "weights, gradients, moments", "activations and others", "total",
    "with checkpointing", "host",
)  # fmt: skip
HELD = ("weights", "gathered weights", "adapters", "gradients", "optimizer moments")


def setup(tuning: str, dtype: str, shards: int, on: bool = False) -> Setup:
    lora = tuning == "lora"
    rank = 16 if lora else 0
    return Setup(tuning, rank, dtype, shards, on, cuda=True, adapter_dropout=lora)  # type: ignore[arg-type]


def table() -> str:
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for model, tuning, dtype, shards in CASES:
        shape = shape_of(PUBLISHED[model].config)
        rows = ROWS if shape.vision else Rows(512, 0.15)
        plain, again = (
            training(shape, setup(tuning, dtype, shards, on), rows.batch(shape, 8192))
            for on in (False, True)
        )
        held = sum(plain.parts.get(part, 0) for part in HELD)
        sizes = (held, plain.total - held, plain.total, again.total)
        sizes = (*sizes, host(shape, setup(tuning, dtype, shards)).total)
        cells = [f"`{model}`", f"{tuning}, {dtype}", str(shards)]
        lines.append(f"| {' | '.join([*cells, *(f'{size / GIB:.1f}' for size in sizes)])} |")
    return "\n".join(lines)


def refused() -> str:
    shape, limit = shape_of(PUBLISHED[LLAVA].config), 80 * GIB
    choice = choose(
        shape, setup("full", "bfloat16", 1), ROWS, {"tokens_per_micro_batch": 8192}, limit
    )
    of = "a GPU (resources.gpu_memory_gib)"
    problem = refusal("backbones.llava-1.5-7b", shape, choice, ROWS, limit, of)
    return f"the plan does not fit into memory\n  - {problem}"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (r"(## At real size\n\n[^|]*)\|[^#]*?(?=\n\n## )", table),
        (r"(```text\n)[^`]*?(?=\n```)", refused),
    ],
    ids=["table", "refusal"],
)
def test_the_page_states_the_arithmetic(place: str, text) -> None:
    page = PAGE.read_text(encoding="utf-8")
    renewed, count = re.subn(place, lambda match: match[1] + text(), page, count=1)
    assert count == 1
    if os.environ.get("XSTILTS_GOLDEN") == "write":
        PAGE.write_text(renewed, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == renewed
