"""How long Ray Train waits for the placement of a group, and other times in the environment."""

import pytest

from components.launch.local import ray_start_seconds, start_seconds
from xstilts.errors import PlanError


@pytest.mark.parametrize(
    ("minimum", "workers", "configured", "seconds"),
    [
        (4, 4, "600", 600),  # the autoscaler may have to add nodes
        (2, 4, "600", 30),
        (2, 4, "10", 10),
    ],
)
def test_a_group_that_can_shrink_waits_briefly(
    minimum: int, workers: int, configured: str, seconds: float
) -> None:
    assert float(start_seconds(minimum, workers, configured)) == seconds


@pytest.mark.parametrize("text", ["soon", "-1", "0", "nan", "inf", "1e300"])
def test_a_setting_that_is_no_time_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSTILTS_RAY_START_SECONDS", text)
    with pytest.raises(PlanError, match=f"XSTILTS_RAY_START_SECONDS='{text}': not a number"):
        ray_start_seconds()


def test_a_setting_that_is_empty_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSTILTS_RAY_START_SECONDS", "")
    assert ray_start_seconds() >= 120
