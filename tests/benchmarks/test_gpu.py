"""The GPU check: its parts exist, and together they end within eight minutes."""

import importlib

import pytest

from benchmarks.gpu.plan import PARTS


def test_all_parts_together_take_less_than_eight_minutes() -> None:
    assert sum(part.seconds for part in PARTS.values()) <= 8 * 60 - 5


@pytest.mark.parametrize("name", PARTS)
def test_each_part_is_a_function(name: str) -> None:
    module, function = PARTS[name].function.split(":")
    assert callable(getattr(importlib.import_module(module), function))
