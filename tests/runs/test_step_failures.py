"""A step that cannot start fails with the reason, and its workers stay."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from xstilts.errors import DataError, StoreError, XstiltsError
from xstilts.runs.finetune import finetune
from xstilts.runs.loaded_backbone import LoadedBackbone
from xstilts.step import Step
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
