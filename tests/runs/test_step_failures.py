"""A step that cannot start fails with the reason, and its workers stay."""

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from xstilts.errors import DataError, StoreError, XstiltsError
from xstilts.runs.finetune import _count_attempt, finetune
from xstilts.runs.loaded_backbone import LoadedBackbone
from xstilts.step import Step
from xstilts.store.store import Store
from xstilts.training.workers import StepFailed, Workers

STEP = Step("finetune", {"seed": {"value": 0}, "recipe": {}}, {"init": "0" * 64}, {})


@pytest.mark.parametrize(
    "error",
    [StoreError("blobs/12: corrupt: SHA-256 mismatch; delete it"), DataError("no rows")],
    ids=["corrupt blob", "data"],
)
def test_an_error_of_the_store_or_the_data_is_the_step_s_own(error: XstiltsError) -> None:
    def manifest(kind: str, fingerprint: str) -> Any:
        raise error

    loaded = cast("LoadedBackbone", SimpleNamespace(store=SimpleNamespace(manifest=manifest)))
    with pytest.raises(StepFailed, match=str(error)):
        finetune(loaded, STEP, Workers())


class Attempts:
    """A store with the attempts at one step, and a checkpoint at an update."""

    def __init__(self, before: Sequence[tuple[int, int]], update: int) -> None:
        self.files = {
            f"runs/r/attempts/step/{time}.json": {"update": at, "workers": workers}
            for time, (at, workers) in enumerate(before)
        }
        self.update = update

    def latest_checkpoint(self, fingerprint: str) -> tuple[str, dict[str, int]] | None:
        return ("work", {"update": self.update}) if self.update else None

    def list(self, prefix: str) -> list[str]:
        return [key for key in self.files if key.startswith(prefix)]

    def get_json(self, key: str) -> dict[str, int]:
        return self.files[key]

    def put_json(self, key: str, value: dict[str, int]) -> None:
        self.files[key] = value


@pytest.mark.parametrize(
    ("before", "now", "refused"),
    [
        ([], (0, 2), False),
        ([(0, 2)] * 2, (0, 2), False),
        ([(0, 2)] * 3, (0, 2), True),
        ([(5, 2)] * 3, (5, 2), True),
        ([(0, 2), (5, 2), (10, 2)], (15, 2), False),
        ([(0, 3), (0, 2), (0, 3), (0, 2)], (0, 3), False),
        ([(5, 3), (5, 2), (5, 3), (5, 3)], (5, 3), True),
    ],
    ids=[
        "first", "third", "fourth without a checkpoint", "fourth from a checkpoint",
        "each goes further", "nodes leave and come back", "fourth of one size",
    ],
)  # fmt: skip
def test_a_step_that_loses_its_workers_at_one_update_again_and_again_fails(
    before: Sequence[tuple[int, int]], now: tuple[int, int], refused: bool
) -> None:
    update, world = now
    store = Attempts(before, update)
    workers = cast("Workers", SimpleNamespace(rank=0, world=world, from_first=lambda value: value))
    expected = pytest.raises(StepFailed, match="lost 3 times") if refused else nullcontext()
    with expected:
        _count_attempt(cast("Store", store), "runs/r", "step", workers)
    assert len(store.files) == len(before) + 1
