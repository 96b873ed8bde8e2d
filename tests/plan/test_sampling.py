"""How often each task of a mixture is drawn."""

import pytest

from xstilts.plan.sampling import sampling_weights, weights_in


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [("uniform", [0.5, 0.5]), ("proportional", [0.1, 0.9]), ("temperature", [0.25, 0.75])],
)
def test_sampling_weights(sampling: str, expected: list[float]) -> None:
    assert sampling_weights([100, 900], sampling, temperature=2.0) == pytest.approx(expected)


def test_unknown_sampling_is_refused() -> None:
    with pytest.raises(ValueError, match="uniform, proportional"):
        sampling_weights([1, 2], "fair")


def test_the_weights_of_a_step_are_those_that_its_spec_asks_for() -> None:
    tasks = [{"weight": 3.0}, {"weight": 1.0}]
    capped = {"kind": "temperature", "temperature": 1.0, "cap": 300}
    for sampling, expected in (
        (None, [0.1, 0.9]),
        ("uniform", [0.5, 0.5]),
        ({"kind": "probabilities"}, [0.75, 0.25]),
        (capped, [0.25, 0.75]),
    ):
        spec = {"tasks": tasks, "sampling": sampling}
        assert weights_in(spec, [100, 900]) == pytest.approx(expected)
