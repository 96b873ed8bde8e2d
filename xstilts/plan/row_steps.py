"""The steps that read rows: the records of a split in a language."""

from xstilts.errors import DataError
from xstilts.plan.planned_steps import PlannedSteps
from xstilts.tasks.task import Task

ENGLISH = "en"
#: Splits that an arm's image condition applies to.
_TRAINED_ON = ("train", "select")


class RowSteps:
    """The records steps of a plan, and what the mirror lacks for them.

    Attributes:
        lacking: Required data that the mirror lacks → reason.
        skipped: (task, language) that the mirror lacks → reason.
    """

    def __init__(self, steps: PlannedSteps) -> None:
        self.steps, self.tables, self.sources = steps, steps.tables, steps.sources
        self.lacking: dict[str, str] = {}
        self.skipped: dict[tuple[str, str], str] = {}
        shown = (arm for arm in steps.plan.arms.values() if arm.images == "caption")
        self._captioned = {part.task for arm in shown for part in arm.parts}

    def need(
        self,
        task: Task,
        split: str,
        language: str,
        cap: int | None,
        labels: str = "true",
        images: str = "real",
    ) -> str | None:
        """The records step of required rows; None and an entry in `lacking` if they are missing.

        Args: those of `records`.
        """
        found = self.records(task, split, language, cap, labels, images)
        if found is None:
            reason = self.skipped.pop((task.name, language))
            if isinstance(self.sources.find(task, split, language), str):
                what, advice = "rows", f"; set another split at splits.{task.name}.{split}"
            else:
                what, advice = "captions", ""
            self.lacking[f"{task.name} has no {split} {what} in {language}"] = f"{reason}{advice}"
        return found

    def records(
        self,
        task: Task,
        split: str,
        language: str,
        cap: int | None,
        labels: str = "true",
        images: str = "real",
    ) -> str | None:
        """The records step of a split in a language.

        None and an entry in `skipped` if the mirror lacks the rows. If any arm of the plan shows
        the task's captions, the records of all its image conditions include the caption source,
        so that all conditions share the rows that have a caption.

        Args:
            task: The task of the rows.
            split: Split of the task.
            language: Language of the rows; `a+b` for several translations.
            cap: Maximum number of rows. None: all.
            labels: true or shuffled.
            images: The image condition.
        """
        origin = self.sources.find(task, split, language)
        captions = (
            self.sources.captions(task, split)
            if task.name in self._captioned and split in _TRAINED_ON
            else None
        )
        if images != "caption" and isinstance(captions, str):
            captions = None  # no arm can show captions of this split
        if isinstance(origin, str) or isinstance(captions, str):
            self.skipped[(task.name, language)] = (
                origin if isinstance(origin, str) else str(captions)
            )
            return None
        spec = {
            "task": origin.task,
            "split": split,
            "language": language,
            "source": origin.source,
            "rows": cap,
            "labels": labels,
            **({"images": images} if images != "real" else {}),
            **({"captions": captions} if captions else {}),
        }
        marks = [
            text
            for text, on in (
                (", labels shuffled", labels == "shuffled"),
                (f", images {images}", images != "real"),
            )
            if on
        ]
        return self.steps.add(
            "records", f"{task.name} {split} {language}{''.join(marks)}", spec, {}
        )

    def unlicensed(self, task: str) -> str | None:
        """Why a task with a restricted license is unavailable, or None."""
        one = self.tables.tasks[task]
        if not one.licensed or not isinstance(self.sources.find(one, "train", ENGLISH), str):
            return None
        return f"{task} is skipped because of its license: {one.licensed}"

    def raise_lacking(self) -> None:
        """Raises DataError that lists all required data that the mirror lacks."""
        if self.lacking:
            lines = [f"  - {what}: {reason}" for what, reason in self.lacking.items()]
            raise DataError(
                "\n".join(["the mirror lacks required data; nothing was staged", *lines])
            )
