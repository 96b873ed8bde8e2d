"""The arithmetic of memory against peaks that PyTorch's profiler measures.

A reduced table; `python -m benchmarks.memory` measures larger models (docs/memory.md).
"""

import pytest
import torch

from benchmarks.memory import Case, Size, measured, predicted

SMALL = Size(hidden=128, layers=4, ff=352, heads=4, kv_heads=2, vocabulary=2000, vision=2)
CASES = [
    Case("xlm_r", "full", budget=256, objective="head", dropout=True),
    Case("xlm_r", "full", budget=512, objective="lm", checkpointing=True),
    Case("xlm_r", "lora", budget=512, objective="head", dropout=True),
    Case("llava", "full", budget=256),
    Case("llava", "lora", budget=512, dropout=True),
    Case("llava", "lora", budget=512, objective="head", checkpointing=True),
    Case("qwen_vl", "full", budget=512, objective="head"),
    Case("qwen_vl", "lora", budget=256),
    Case("llava", "lora", budget=512, scoring=True, images=True),
    Case("xlm_r", "full", budget=512, scoring=True),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_arithmetic_is_within_15_percent_of_the_measured_peak(case: Case) -> None:
    torch.set_num_threads(1)
    assert predicted(case, SMALL).total == pytest.approx(measured(case, SMALL), rel=0.15)
