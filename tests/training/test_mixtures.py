"""The updates of a mixture, and how often it draws each task."""

from typing import Any

import pyarrow as pa
import pytest

from xstilts.data.encoded import EncodedRows
from xstilts.runs.finetune import _settings
from xstilts.training.loop import TrainingSettings, TrainTask


def settings(
    held: list[int],
    source: list[int],
    recipe: dict[str, Any],
    weights: list[float] | None = None,
    **sampling: Any,
) -> TrainingSettings:
    """Tasks with these numbers of encoded rows, from sources with these numbers of rows."""
    tasks = [
        TrainTask(
            f"t{n}", EncodedRows(pa.table({"length": [4] * rows, "supervised": [1] * rows})), "lm"
        )
        for n, rows in enumerate(held)
    ]
    spec = {
        "recipe": {"lr": 1e-3, "examples_per_step": 10, **recipe}, "sampling": sampling,
        "tasks": [{"weight": weight} for weight in weights or [1.0] * len(held)],
    }  # fmt: skip
    return _settings(spec, tasks, {}, 0, "intermediate", source)


def test_a_budget_that_cuts_all_tasks_to_one_size_leaves_proportional_draws_proportional() -> None:
    """Three hundred rows of each are held; MNLI is still drawn ten times as often as a set of a
    tenth of its size.
    """
    found = settings([300, 300, 300], [40_000, 4_000, 36_000], {"updates": 5}, kind="proportional")
    assert found.weights == pytest.approx((0.5, 0.05, 0.45))


def test_a_cap_counts_rows_of_the_source() -> None:
    found = settings(
        [50, 50], [900, 100], {"updates": 5}, kind="temperature", temperature=2.0, cap=400
    )
    assert found.weights == pytest.approx((2 / 3, 1 / 3))


def test_text_that_is_mixed_in_does_not_multiply_the_tasks_epochs() -> None:
    """Phang et al.'s +MLM: half of the updates are text, however much text there is, so
    HellaSwag's three epochs are twice as many updates as alone.
    """
    alone = settings([400], [400], {"epochs": 3}).updates
    mixed = settings(
        [400, 100_000], [400, 100_000], {"epochs": 3}, [0.5, 0.5], kind="probabilities"
    ).updates
    assert (alone, mixed) == (120, 240)


def test_proportional_draws_see_every_task_for_the_epochs() -> None:
    assert (
        settings([400, 100], [400, 100], {"epochs": 2}, kind="proportional").updates
        == 2 * 500 // 10
    )
