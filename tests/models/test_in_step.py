"""Workers that share weights do not continue after a forward pass that failed on one of them: its
collectives would be those of other layers.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xstilts.models.sharding import OutOfStep, in_step


class Toy(nn.Module):
    """In place of a sharded backbone."""

    sharded = True

    def forward(self, fails: bool) -> Tensor:
        if fails:
            raise RuntimeError("out of memory")
        return torch.zeros(1)


def alone(announced: list[bool]) -> Callable[[bool], bool]:
    """The flags of a worker without others."""

    def any_worker(flag: bool) -> bool:
        announced.append(flag)
        return flag

    return any_worker


def scored(toy: Any, announced: list[bool], *passes: bool) -> None:
    """Runs forward passes as scoring does, which records an error and takes the next model."""
    with in_step(toy, alone(announced)):
        for fails in passes:
            try:
                toy(fails)
            except RuntimeError:
                continue
        raise KeyError("the end")  # before the worker joins the others


@pytest.mark.parametrize(("passes", "announced"), [((False, True, False), 2), ((True, True), 1)])
def test_the_pass_after_a_failed_one_is_refused(passes: tuple[bool, ...], announced: int) -> None:
    flags: list[bool] = []
    with pytest.raises(OutOfStep, match=r"resources\.sharding: none"):
        scored(Toy(), flags, *passes)
    assert flags == [True] * announced


def test_a_failed_last_pass_is_refused_before_the_worker_joins_the_others() -> None:
    flags: list[bool] = []
    toy: Any = Toy()
    with (
        pytest.raises(OutOfStep),
        in_step(toy, alone(flags)),
        pytest.raises(RuntimeError, match="out of memory"),
    ):
        toy(True)
    assert flags == [True]


def test_passes_that_succeed_are_announced() -> None:
    flags: list[bool] = []
    with pytest.raises(KeyError):
        scored(Toy(), flags, False, False)
    assert flags == [True, True]
