"""The numeric environment comes from metadata and imports nothing heavy."""

import subprocess
import sys

from xstilts.plan.environment import LIBRARIES, numeric_environment


def test_keys() -> None:
    found = numeric_environment(dtype="bfloat16")
    assert set(found) == {*LIBRARIES, "image_backend", "dtype", "attention"}
    assert found["dtype"] == "bfloat16"
    assert "+" not in found["torch"]


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys, xstilts.plan.expand, xstilts.plan.schema, xstilts.plan.environment as e; e.numeric_environment();"
        "print([m for m in ('torch', 'transformers', 'datasets', 'ray', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
