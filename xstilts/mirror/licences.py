"""The licenses of what a mirror contains: as stated in cards and in the task registry."""

from collections.abc import Iterable, Iterator
from typing import Any

from xstilts.input_files import InvalidDocument, parse_yaml
from xstilts.mirror.required_files import with_parts
from xstilts.sources.provenance import Record
from xstilts.tasks.task import Source


def card_licence(card: str) -> str | None:
    """The license in a card's front matter, with its name and link if it is `other`. None if the
    card states none or its front matter is invalid.
    """
    if not card.startswith("---"):
        return None
    try:
        front_matter = parse_yaml(card.split("\n---", 1)[0].removeprefix("---"))
    except InvalidDocument:
        return None
    if not isinstance(front_matter, dict) or not front_matter.get("license"):
        return None
    stated = front_matter["license"]
    names = stated if isinstance(stated, list) else [stated]
    details = [
        front_matter[key] for key in ("license_name", "license_link") if front_matter.get(key)
    ]
    return ", ".join(str(part) for part in (*names, *details)) or None


def licence_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row per data set or model: commits, files, bytes, licenses and restriction."""
    from xstilts.tasks.registry import TASKS

    rows = []
    for record in records:
        stated = dict.fromkeys(
            task.licence
            for task in TASKS.values()
            for source in task.splits.values()
            if task.licence and record.name in {part.path for part in _with_alternatives(source)}
        )
        registry = "; ".join(stated)
        revisions = sorted({file.revision for file in record.files.values() if file.revision})
        rows.append(
            {
                "set": record.name,
                "kind": record.kind,
                "revisions": revisions,
                "files": len(record.files),
                "bytes": sum(file.size for file in record.files.values()),
                "licence": record.licence,
                "registry": registry or None,
                "heed": restriction(f"{record.licence or ''} {registry}"),
            }
        )
    return rows


def _with_alternatives(source: Source) -> Iterator[Source]:
    for part in with_parts(source):
        yield part
        for alternative in part.alternatives:
            yield from _with_alternatives(alternative)


def restriction(licence: str) -> str:
    """`research or non-commercial only`, `own terms`, `unknown`, or empty for a free license."""
    text = licence.lower()
    if any(word in text for word in ("-nc", "non-commercial", "noncommercial", "research")):
        return "research or non-commercial only"
    if not text.strip() or "unknown" in text or "unstated" in text:
        return "unknown"
    has_own_terms = any(word in text for word in ("other", "terms", "its own", "llama", "gemma"))
    return "own terms" if has_own_terms else ""
