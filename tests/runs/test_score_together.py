"""Models of an incomplete round are scored by all workers together."""

from typing import Any

import pytest

from xstilts.runs.score_together import deal


@pytest.mark.parametrize(
    ("models", "world", "rounds", "together"),
    [
        ("a", 1, "a", ""),
        ("abc", 1, "abc", ""),
        ("a", 2, "", "a"),
        ("abc", 2, "ab", "c"),
        ("abcd", 2, "abcd", ""),
        ("abcde", 8, "", "abcde"),
    ],
)
def test_only_models_beyond_whole_rounds_are_shared(
    models: str, world: int, rounds: str, together: str
) -> None:
    undone: dict[str, list[Any]] = {model: [] for model in models}
    whole, rest = deal(undone, set(models), world)
    assert ("".join(m for m, _ in whole), "".join(m for m, _ in rest)) == (rounds, together)


def test_a_model_that_was_not_trained_is_not_shared_but_a_backbone_is() -> None:
    whole, rest = deal({"lost": [], "": []}, set(), 2)
    assert ([m for m, _ in whole], [m for m, _ in rest]) == (["lost"], [""])
