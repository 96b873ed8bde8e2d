"""What everything in a plan is made of."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Base of everything in a plan: unknown keys are mistakes, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
