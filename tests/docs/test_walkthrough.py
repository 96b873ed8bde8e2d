"""docs/walkthrough.md has the values that the code computes."""

import pytest

from tests.docs.walkthrough import PAGE, blocks, values


@pytest.mark.slow
def test_the_walkthrough_s_values_are_those_of_the_code() -> None:
    """`python -m tests.docs.walkthrough` writes them into the page."""
    assert blocks(PAGE.read_text(encoding="utf-8")) == values()


def test_the_walkthrough_has_ten_stops_with_a_function_each() -> None:
    stops = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    assert [stop.split(".")[0] for stop in stops] == [str(number) for number in range(1, 11)]
    assert all(stop.split("\n")[2].startswith("[`xstilts/") for stop in stops)
