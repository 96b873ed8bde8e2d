"""docs/costs.md is generated, and every shipped plan has an estimate."""

from typing import Any

import pytest

from pipelines.cost_reference import page
from tests.docs.pages import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def views(shipped: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [*shipped.values()]


def test_the_page_is_that_of_the_shipped_plans(views: list[dict[str, Any]]) -> None:
    """If not: python -m pipelines.cost_reference > docs/costs.md"""
    assert (ROOT / "docs" / "costs.md").read_text(encoding="utf-8") == page(views)


def test_every_shipped_plan_has_numbers_in_all_parts(views: list[dict[str, Any]]) -> None:
    assert len(views) == len(list((ROOT / "pipelines" / "plans").glob("*.yaml")))
    for view in views:
        for part in ("intermediate", "target", "score", "total"):
            cost = view["cost"][part]
            assert cost["tokens"] > 0, (view["name"], part)
            assert cost["gpu_hours"] > 0, (view["name"], part)


def test_only_models_in_folders_are_missing(views: list[dict[str, Any]]) -> None:
    missing = {view["name"] for view in views if view["cost"]["total"]["missing"]}
    assert missing == {"modality-geometry"}


def test_sharing_saves_steps_and_hours_in_every_shipped_plan(views: list[dict[str, Any]]) -> None:
    for view in views:
        assert all(row["without_sharing"] >= row["steps"] for row in view["steps"]), view["name"]
        total = view["cost"]["total"]["gpu_hours"]
        unshared = view["gpu_hours_without_sharing"]
        assert unshared >= total * (1 - 1e-9), view["name"]  # sums in another order
        assert view["gpu_hours_padded"] >= unshared, view["name"]


def test_the_matrix_of_modality_is_cheaper_than_a_padded_process_per_cell(
    views: list[dict[str, Any]],
) -> None:
    view = next(view for view in views if view["name"] == "modality")
    assert view["gpu_hours_padded"] / view["cost"]["total"]["gpu_hours"] >= 2.5
