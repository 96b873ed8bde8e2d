"""How long Ray Train waits for the placement of a group."""

import pytest

from components.launch.local import start_seconds


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
