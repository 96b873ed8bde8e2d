"""Models of an incomplete round are scored by all workers together."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from xstilts.models import sharding
from xstilts.runs import score, score_together
from xstilts.runs.score_together import deal
from xstilts.step import Step
from xstilts.training.workers import StepFailed, Workers


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


def test_a_worker_with_an_error_still_joins_the_passes_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a sharded backbone, they wait for it at the end of the context."""
    joined: list[bool] = []

    @contextmanager
    def in_step(*_: Any) -> Iterator[None]:
        yield
        joined.append(True)  # not reached by an exception

    def unreadable(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(sharding, "in_step", in_step)
    monkeypatch.setattr(score_together, "_part_of", unreadable)
    step, loaded = Step("score", {}), SimpleNamespace(backbone=None)
    failed = score_together.score_together(loaded, "m", [step], 100, 0, Workers())  # type: ignore[arg-type]
    assert joined == [True]
    assert str(failed[step.fingerprint]) == "worker 0: OSError: the disk is full"


def test_too_little_memory_is_recorded_for_every_model(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[Step] = []

    def too_little(*_: Any) -> int:
        raise StepFailed("worker 1: too little memory")

    monkeypatch.setattr(score, "least_budget", too_little)
    monkeypatch.setattr(score, "record_failure", lambda _, __, step, ___: recorded.append(step))
    steps = [Step("score", {"evaluation": name}) for name in ("xnli", "xquad")]
    models = [(name, [step]) for name, step in zip("ab", steps, strict=True)]
    loaded: Any = SimpleNamespace(store=None)
    score._score_together(loaded, models, "runs/r", Workers())
    assert recorded == steps
