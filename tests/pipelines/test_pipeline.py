"""The KFP package: deterministic, and the one that is checked in."""

from pathlib import Path

import pytest
import yaml
from kfp import compiler

from pipelines.intermediate_to_xtreme_r import intermediate_to_xtreme_r

GOLDEN = Path(__file__).parents[2] / "pipelines" / "compiled" / "intermediate_to_xtreme_r.yaml"


def compiled(path: Path) -> str:
    compiler.Compiler().compile(intermediate_to_xtreme_r, str(path))
    return path.read_text()


def test_compiling_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    assert compiled(tmp_path / "one.yaml") == compiled(tmp_path / "two.yaml")


def test_the_package_is_the_one_checked_in(tmp_path: Path) -> None:
    """After a change on purpose: xstilts compile -o pipelines/compiled/intermediate_to_xtreme_r.yaml"""
    assert compiled(tmp_path / "now.yaml") == GOLDEN.read_text()


@pytest.fixture(scope="module")
def package() -> dict[str, object]:
    return yaml.safe_load(GOLDEN.read_text())


def test_kfps_own_cache_is_off_everywhere(package: dict[str, object]) -> None:
    text = GOLDEN.read_text()
    assert text.count("cachingOptions: {}") == text.count("cachingOptions:")


def test_nothing_is_installed_when_a_component_starts() -> None:
    assert "pip install" not in GOLDEN.read_text()


def test_only_strings_and_lists_of_strings_pass_between_components(package: dict[str, object]) -> None:
    components = package["components"]
    assert isinstance(components, dict)
    kinds = {
        parameter["parameterType"]
        for component in components.values()
        for side in ("inputDefinitions", "outputDefinitions")
        for parameter in component.get(side, {}).get("parameters", {}).values()
    }
    assert kinds <= {"STRING", "LIST"}
