"""The numeric environment is read from metadata, without importing the libraries."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from xstilts import environment
from xstilts.environment import LIBRARIES, numeric_environment, require
from xstilts.errors import InfrastructureError


def test_the_environment_has_library_versions_and_arithmetic() -> None:
    values = numeric_environment(dtype="bfloat16")
    assert set(values) == {*LIBRARIES, "image_backend", "dtype", "attention"}
    assert values["dtype"] == "bfloat16"
    assert "+" not in values["torch"]


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
def test_versions_of_libraries_that_are_not_installed_come_from_xstilts_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "versions.json"
    file.write_text(json.dumps(dict.fromkeys(LIBRARIES, "1.2.3")))
    monkeypatch.setenv("XSTILTS_VERSIONS", str(file))
    assert numeric_environment()["torch"] == "1.2.3"


@pytest.mark.usefixtures("without_libraries")
def test_a_library_without_a_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XSTILTS_VERSIONS", raising=False)
    with pytest.raises(InfrastructureError, match="torch, transformers"):
        numeric_environment()


def test_a_step_planned_for_other_library_versions_is_refused() -> None:
    here = numeric_environment()
    require(here)
    require(None)
    with pytest.raises(
        InfrastructureError,
        match=r"transformers .* is installed, the plan has 0\.0\.1; build all images from one lock",
    ):
        require({**here, "transformers": "0.0.1"})
