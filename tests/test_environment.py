"""The numeric environment comes from metadata and imports nothing heavy."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from xstilts import environment
from xstilts.environment import LIBRARIES, numeric_environment, require
from xstilts.errors import InfrastructureError


def test_keys() -> None:
    found = numeric_environment(dtype="bfloat16")
    assert set(found) == {*LIBRARIES, "image_backend", "dtype", "attention"}
    assert found["dtype"] == "bfloat16"
    assert "+" not in found["torch"]


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys, xstilts.plan.expand, xstilts.plan.schema, xstilts.environment as e; e.numeric_environment();"
        "print([m for m in ('torch', 'transformers', 'datasets', 'ray', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the plan component's image."""

    def version(library: str) -> str:
        raise PackageNotFoundError(library)

    monkeypatch.setattr(environment, "version", version)


@pytest.mark.usefixtures("without_libraries")
def test_what_is_not_installed_is_read_from_the_versions_that_the_images_are_built_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "versions.json"
    file.write_text(json.dumps(dict.fromkeys(LIBRARIES, "1.2.3")))
    monkeypatch.setenv("XSTILTS_VERSIONS", str(file))
    assert numeric_environment()["torch"] == "1.2.3"


@pytest.mark.usefixtures("without_libraries")
def test_a_library_of_which_nothing_is_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XSTILTS_VERSIONS", raising=False)
    with pytest.raises(InfrastructureError, match="torch, transformers"):
        numeric_environment()


def test_a_step_of_other_versions_is_not_computed_here() -> None:
    here = numeric_environment()
    require(here)
    require(None)
    with pytest.raises(
        InfrastructureError,
        match=r"transformers .* is installed, the plan has 0\.0\.1; build all images from one lock",
    ):
        require({**here, "transformers": "0.0.1"})
