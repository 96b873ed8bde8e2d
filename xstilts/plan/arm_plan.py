"""The schema of a plan's arms: what is trained before the targets."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xstilts.plan.part import Part
from xstilts.plan.value_types import Count, Name, Positive


class MixtureTask(Part):
    """One task of a mixture.

    translated: languages to train on in place of English. The mirror has the machine translations
    under `translated/<task>/<code>`.
    """

    task: str
    objective: Literal["head", "lm"] | None = None
    weight: Positive | None = None
    translated: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None


class Arm(Part):
    """The intermediate training of an arm. Empty for the arm `none`.

    Attributes:
        images: The image condition.
        sampling: None means proportional.
        cap: With `sampling: temperature`, the maximum number of rows that a task counts for.
    """

    task: str | None = None
    objective: Literal["head", "lm"] | None = None
    labels: Literal["true", "shuffled"] = "true"
    images: Literal["real", "blank", "shuffled", "removed", "caption"] = "real"
    translated: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    mixture: Annotated[tuple[MixtureTask, ...], Field(min_length=2)] | None = None
    sampling: Literal["uniform", "proportional", "temperature", "probabilities"] | None = None
    temperature: Positive | None = None
    cap: Count | None = None

    @model_validator(mode="after")
    def _one_content(self) -> "Arm":
        if self.task is not None and self.mixture is not None:
            raise ValueError("has both task and mixture; remove one")
        if self.mixture is None and (self.sampling is not None or self.temperature is not None):
            raise ValueError("sampling and temperature need a mixture; remove them")
        if self.task is None and (
            self.objective is not None or self.labels != "true" or self.translated
        ):
            raise ValueError(
                "objective, labels and translated need a task; in a mixture, set objective and "
                "translated for each of its tasks"
            )
        if self.cap is not None and self.sampling != "temperature":
            raise ValueError("cap needs sampling: temperature; set it, or remove cap")
        if self.mixture is not None:
            if (self.sampling == "temperature") != (self.temperature is not None):
                raise ValueError(
                    "sampling: temperature needs the key temperature, and the other way round"
                )
            weights = [part.weight is not None for part in self.mixture]
            if self.sampling == "probabilities" and not all(weights):
                raise ValueError(
                    "sampling: probabilities needs a weight for every task of the mixture"
                )
            if self.sampling != "probabilities" and any(weights):
                raise ValueError(
                    "weight needs sampling: probabilities, but this mixture has "
                    f"{self.sampling or 'proportional'}; change sampling, or remove weight"
                )
            names = [(part.task, part.translated) for part in self.mixture]
            if len(set(names)) != len(names):
                raise ValueError(
                    "duplicate task in the mixture; list each task once per set of translations"
                )
        return self

    @property
    def parts(self) -> tuple[MixtureTask, ...]:
        """The tasks of the arm; empty for `none`."""
        if self.mixture is not None:
            return self.mixture
        if self.task is None:
            return ()
        return (MixtureTask(task=self.task, objective=self.objective, translated=self.translated),)
