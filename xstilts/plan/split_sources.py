"""Where the rows of a split come from: the task's source, the plan's `splits`, or alternatives."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xstilts.errors import PlanError
from xstilts.plan.schema import Plan, SplitChoice
from xstilts.plan.tables import Tables
from xstilts.tasks.task import Source, Task

#: Splits to train tokenizers and tiny backbones on; the first that a task has is used. The test
#: split of an evaluation is the last resort; only its text is read, without labels.
TEXT_SPLITS = ("text", "train", "test")

#: Exponent of a language's size when sampling text of many languages, as in the pre-training of
#: XLM-R (Conneau et al. 2020, §3.1).
SMOOTHING = 0.3


@dataclass(frozen=True)
class Origin:
    """The origin of one split in one language: the task that reads it, and the source as JSON."""

    task: str
    source: Mapping[str, Any]


def choice(plan: Plan, tables: Tables, task: str, split: str) -> SplitChoice | None:
    """The plan's replacement for a split of a task, or None.

    The train and select splits of an evaluation are those of its last trained target. Raises
    PlanError if two entries contradict each other.
    """
    choices: dict[str, SplitChoice] = {}
    for name in (
        task,
        *(e for e in plan.evaluations if split != "test" and _last_target(tables, e) == task),
    ):
        entry = getattr(plan.splits[name], split, None) if name in plan.splits else None
        if entry is not None:
            choices[name] = entry
    if len(set(choices.values())) > 1:
        raise PlanError(
            f"splits: {' and '.join(sorted(choices))} set different {split} splits for {task}; "
            "keep one"
        )
    return next(iter(choices.values()), None)


def _last_target(tables: Tables, evaluation: str) -> str | None:
    task = tables.tasks.get(evaluation)
    return task.trained_target[-1] if task and task.trained_target else None


def sources_of(plan: Plan, tables: Tables, task: Task, split: str) -> tuple[Task, Source] | None:
    """(task that reads the rows, source) of a split, with the plan's `splits` applied, or None."""
    if split == "text":
        available = next((name for name in TEXT_SPLITS if name in task.splits), None)
        if available is None:
            return None
        if available == "text":
            return task, task.splits["text"]
        split = available
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


def _with_alternatives(source: Source) -> Iterator[Source]:
    yield replace(source, alternatives=())
    for alternative in source.alternatives:
        yield from _with_alternatives(alternative)


class Sources:
    """Looks up sources in a mirror, each once. `identities` lists those that were found."""

    def __init__(self, plan: Plan, tables: Tables, mirror: Any) -> None:
        self.plan, self.tables, self.mirror = plan, tables, mirror
        self._origins: dict[tuple[str, str, str], Origin | str] = {}
        self._missing: dict[tuple[str, str | None, str, str], str | None] = {}
        self._identities: dict[tuple[str, str | None, str], Mapping[str, Any]] = {}

    @property
    def identities(self) -> list[dict[str, Any]]:
        """The identity of every source that was found, sorted."""
        return [
            {"path": path, "config": config, "split": split, "identity": dict(identity)}
            for (path, config, split), identity in sorted(
                self._identities.items(), key=lambda item: str(item[0])
            )
        ]

    def languages(self, task: Task, split: str) -> list[str]:
        """The possible languages of a split.

        These are the task's languages and, if every language has its own files or rows, the
        invented ones: the mirror then tells which of them it has.
        """
        reading = sources_of(self.plan, self.tables, task, split)
        by_language = reading is not None and any(
            source.by_language for source in _with_alternatives(reading[1])
        )
        invented = self.tables.invented if by_language else ()
        return list(dict.fromkeys([*task.languages, *invented]))

    def find(self, task: Task, split: str, language: str) -> Origin | str:
        """The origin of a split in a language, or why the mirror lacks it."""
        key = (task.name, split, language)
        if key not in self._origins:
            self._origins[key] = self._look_up(task, split, language)
        return self._origins[key]

    def captions(self, task: Task, split: str) -> dict[str, Any] | str | None:
        """The source of the captions that replace a split's images, or why there is none.

        None: the rows have captions of their own.
        """
        if task.captioned:
            return None
        source = self._resolve(Source(f"captions/{task.name}", None, split), "en")
        if isinstance(source, str):
            return (
                f"its rows have no captions of their own, and {source} (docs/data.md, Data of your "
                "own)"
            )
        return source

    def _look_up(self, task: Task, split: str, language: str) -> Origin | str:
        reading = sources_of(self.plan, self.tables, task, split)
        if reading is None:
            return f"{task.name} has no {split} split; set one at splits.{task.name}.{split}"
        reader, source = reading
        if source.each:
            return self._all_languages(reader, source)
        if split == "train" and language != "en":  # the user's translations of an English task
            sources = [
                Source(f"translated/{task.name}", code, "train") for code in language.split("+")
            ]
            return self._concatenated(reader, sources, language)
        reasons = []
        for alternative in _with_alternatives(source):
            resolved = self._resolve(alternative, language)
            if not isinstance(resolved, str):
                return Origin(reader.name, resolved)
            reasons.append(resolved)
        return "; ".join(dict.fromkeys(reasons))

    def _resolve(self, source: Source, language: str) -> dict[str, Any] | str:
        """A source as JSON for the spec of a records step, or why the mirror lacks it.

        A source with further parts (`plus`) needs all of them.
        """
        key = (source.path, source.config_for(language), source.split_for(language))
        # A single file with many languages may lack some of them.
        lookup = (*key, language if source.id_prefixes else "")
        # Further parts are resolved below, each with its alternatives.
        single = replace(source, plus=())
        if lookup not in self._missing:
            self._missing[lookup] = self.tables.missing(self.mirror, single, language)
        reason = self._missing[lookup]
        if reason is not None:
            return reason
        if key not in self._identities:
            self._identities[key] = self.tables.identity(self.mirror, single, language)
        path, config, split = key
        resolved: dict[str, Any] = {
            "path": path, "config": config, "split": split, "identity": dict(self._identities[key]),
        }  # fmt: skip
        if source.files:
            resolved["files"] = list(source.files_for(language))
        if source.field:
            resolved["field"] = source.field
        if source.pictures:
            resolved |= {
                "pictures": self._resolve(source.pictures, language),
                "pictures_key": source.pictures_key,
            }
        if source.plus:
            parts = [self._first_resolved(part, language) for part in source.plus]
            if None in parts:
                missing = source.plus[parts.index(None)]
                return (
                    f"the mirror lacks {missing.path} ({missing.config}, {missing.split}), and all "
                    "parts are needed"
                )
            resolved["plus"] = parts
        return resolved

    def _first_resolved(self, source: Source, language: str) -> dict[str, Any] | None:
        """The first of a source and its alternatives that the mirror has."""
        for alternative in _with_alternatives(source):
            resolved = self._resolve(alternative, language)
            if not isinstance(resolved, str):
                return resolved
        return None

    def _all_languages(self, reader: Task, source: Source) -> Origin | str:
        """The rows of all languages that the mirror has, including invented ones."""
        sources = []
        for code in dict.fromkeys((*reader.languages, *self.tables.invented)):
            for alternative in _with_alternatives(source):
                if not isinstance(self._resolve(alternative, code), str):
                    config, split = alternative.config_for(code), alternative.split_for(code)
                    sources.append(replace(alternative, config=config, split=split))
                    break
        if not sources:
            return "the mirror has no text in any language"
        origin = self._concatenated(reader, sources, "en")
        if isinstance(origin, str):
            return origin
        return replace(origin, source={**origin.source, "each": True, "smoothing": SMOOTHING})

    def _concatenated(self, reader: Task, sources: Sequence[Source], language: str) -> Origin | str:
        """The rows of several sources, one after the other; all of them are needed."""
        resolved = [self._resolve(source, language) for source in sources]
        if reasons := [reason for reason in resolved if isinstance(reason, str)]:
            return "; ".join(reasons)
        first, *rest = (source for source in resolved if not isinstance(source, str))
        return Origin(reader.name, {**first, **({"plus": rest} if rest else {})})
