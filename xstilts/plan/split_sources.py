"""Which rows each split is read from: the task's own source, the plan's `splits`, the mirror's
alternatives.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xstilts.errors import PlanError
from xstilts.plan.schema import Plan, SplitChoice
from xstilts.plan.tables import Tables
from xstilts.tasks.task import Source, Task

#: What a tokenizer and a tiny backbone may be taught with, the first that a task has. An
#: evaluation's own text is the last resort: it is seen without labels.
TEXT_SPLITS = ("text", "train", "test")

#: Text of many languages is drawn by their sizes to this power, as XLM-R's pre-training did
#: (Conneau et al. 2020, §3.1).
SMOOTHING = 0.3


@dataclass(frozen=True)
class Origin:
    """The rows of one split in one language: the task that reads them, and the source with its
    identity.
    """

    task: str
    source: Mapping[str, Any]


def choice(plan: Plan, tables: Tables, task: str, split: str) -> SplitChoice | None:
    """What the plan's `splits` say of a task's split. An evaluation's train and select are those
    of its last trained target. Raises PlanError when two entries disagree.
    """
    found: dict[str, SplitChoice] = {}
    for name in (
        task,
        *(e for e in plan.evaluations if split != "test" and _last_target(tables, e) == task),
    ):
        given = getattr(plan.splits[name], split, None) if name in plan.splits else None
        if given is not None:
            found[name] = given
    if len(set(found.values())) > 1:
        raise PlanError(
            f"splits: {' and '.join(sorted(found))} name different {split} splits for {task}; keep one"
        )
    return next(iter(found.values()), None)


def _last_target(tables: Tables, evaluation: str) -> str | None:
    task = tables.tasks.get(evaluation)
    return task.trained_target[-1] if task and task.trained_target else None


def sources_of(plan: Plan, tables: Tables, task: Task, split: str) -> tuple[Task, Source] | None:
    """(the task that reads the rows, their source) of a split, the plan's choice applied; None
    when it has none.
    """
    if split == "text":
        own = next((name for name in TEXT_SPLITS if name in task.splits), None)
        if own is None or own == "text":
            return (task, task.splits[own]) if own else None
        split = own
    chosen = choice(plan, tables, task.name, split)
    if chosen is None:
        return (task, task.splits[split]) if split in task.splits else None
    reader = tables.tasks[chosen.task] if chosen.task else task
    base = reader.splits.get(split) or next(iter(reader.splits.values()))
    return reader, _other_split(base, chosen.split)


def _other_split(source: Source, split: str) -> Source:
    return replace(
        source, split=split, alternatives=tuple(_other_split(s, split) for s in source.alternatives)
    )


def _in_turn(source: Source) -> Iterator[Source]:
    yield replace(source, alternatives=())
    for other in source.alternatives:
        yield from _in_turn(other)


class Sources:
    """Looks sources up in a mirror, each once. `identities` collects what was found."""

    def __init__(self, plan: Plan, tables: Tables, mirror: Any) -> None:
        self.plan, self.tables, self.mirror = plan, tables, mirror
        self._found: dict[tuple[str, str, str], Origin | str] = {}
        self._missing: dict[tuple[str, str | None, str, str], str | None] = {}
        self._identities: dict[tuple[str, str | None, str], Mapping[str, Any]] = {}

    @property
    def identities(self) -> list[dict[str, Any]]:
        return [
            {"path": path, "config": config, "split": split, "identity": dict(identity)}
            for (path, config, split), identity in sorted(
                self._identities.items(), key=lambda item: str(item[0])
            )
        ]

    def languages(self, task: Task, split: str) -> list[str]:
        """The languages that a split may have: the task's, and the invented ones where each
        language has its own files or rows, so that the mirror can say which it has.
        """
        given = sources_of(self.plan, self.tables, task, split)
        apart = given is not None and any(source.by_language for source in _in_turn(given[1]))
        return list(dict.fromkeys([*task.languages, *(self.tables.invented if apart else ())]))

    def find(self, task: Task, split: str, language: str) -> Origin | str:
        """Where the rows are, or why the mirror lacks them."""
        key = (task.name, split, language)
        if key not in self._found:
            self._found[key] = self._look_up(task, split, language)
        return self._found[key]

    def captions(self, task: Task, split: str) -> dict[str, Any] | str | None:
        """Where the words are that stand for a split's pictures; None where its rows have their
        own; or why there are none.
        """
        if task.captioned:
            return None
        found = self._one(Source(f"captions/{task.name}", None, split), "en")
        if isinstance(found, str):
            return f"its rows have no captions of their own, and {found} (docs/data.md, Data of your own)"
        return found

    def _look_up(self, task: Task, split: str, language: str) -> Origin | str:
        given = sources_of(self.plan, self.tables, task, split)
        if given is None:
            return f"{task.name} has no {split} split; name one under splits.{task.name}.{split}"
        reader, source = given
        if source.each:
            return self._every_language(reader, source)
        if split == "train" and language != "en":  # the user's translations of an English task
            sources = [
                Source(f"translated/{task.name}", code, "train") for code in language.split("+")
            ]
            return self._chain(reader, sources, language)
        reasons = []
        for one in _in_turn(source):
            found = self._one(one, language)
            if not isinstance(found, str):
                return Origin(reader.name, found)
            reasons.append(found)
        return "; ".join(dict.fromkeys(reasons))

    def _one(self, source: Source, language: str) -> dict[str, Any] | str:
        """A source as a records spec names it, or why the mirror lacks it. Parts that must be
        there as well: all or none.
        """
        key = (source.path, source.config_for(language), source.split_for(language))
        asked = (
            *key,
            language if source.id_prefixes else "",
        )  # one file of many languages may lack some of them
        alone = replace(
            source, plus=()
        )  # further sources are looked up below, each with what may stand for it
        if asked not in self._missing:
            self._missing[asked] = self.tables.missing(self.mirror, alone, language)
        reason = self._missing[asked]
        if reason is not None:
            return reason
        if key not in self._identities:
            self._identities[key] = self.tables.identity(self.mirror, alone, language)
        path, config, split = key
        found: dict[str, Any] = {
            "path": path, "config": config, "split": split, "identity": dict(self._identities[key]),
        }  # fmt: skip
        if source.files:
            found["files"] = list(source.files_for(language))
        if source.field:
            found["field"] = source.field
        if source.pictures:
            found |= {
                "pictures": self._one(source.pictures, language),
                "pictures_key": source.pictures_key,
            }
        if source.plus:
            further = [
                next(
                    (f for o in _in_turn(s) if not isinstance(f := self._one(o, language), str)),
                    None,
                )
                for s in source.plus
            ]
            if None in further:
                lost = source.plus[further.index(None)]
                return f"{lost.path} ({lost.config}, {lost.split}): the mirror lacks it, and all parts are needed"
            found["plus"] = further
        return found

    def _every_language(self, reader: Task, source: Source) -> Origin | str:
        """The rows of all the languages that the mirror has, the invented ones among them."""
        there = []
        for code in dict.fromkeys((*reader.languages, *self.tables.invented)):
            one = next(
                (o for o in _in_turn(source) if not isinstance(self._one(o, code), str)), None
            )
            if one is not None:
                there.append(replace(one, config=one.config_for(code), split=one.split_for(code)))
        chained = (
            self._chain(reader, there, "en") if there else "the mirror has no text in any language"
        )
        return (
            chained
            if isinstance(chained, str)
            else replace(chained, source={**chained.source, "each": True, "smoothing": SMOOTHING})
        )

    def _chain(self, reader: Task, sources: Sequence[Source], language: str) -> Origin | str:
        found = [self._one(one, language) for one in sources]
        if lost := [one for one in found if isinstance(one, str)]:
            return "; ".join(lost)
        first, *further = (one for one in found if not isinstance(one, str))
        return Origin(reader.name, {**first, **({"plus": further} if further else {})})
