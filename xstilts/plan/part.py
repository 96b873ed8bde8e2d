"""Base class of all parts of a plan."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of a plan. Unknown keys are errors, as are NaN and infinite numbers, which JSON does
    not have; values are immutable.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )
