"""Checks cron lines of Kubeflow Pipelines: six fields, seconds first. KFP silently reads five
fields differently.
"""

import calendar
from collections.abc import Mapping

from xstilts.errors import counted

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {name: number for number, name in enumerate("sun mon tue wed thu fri sat".split())}
#: field → (first value, last value, names)
FIELDS: Mapping[str, tuple[int, int, Mapping[str, int]]] = {
    "second": (0, 59, {}),
    "minute": (0, 59, {}),
    "hour": (0, 23, {}),
    "day of the month": (1, 31, {}),
    "month": (1, 12, _MONTHS),
    "day of the week": (0, 6, _DAYS),
}
_LONGEST = {
    month: 29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31 for month in range(1, 13)
}


def problems(line: str) -> list[str]:
    """The mistakes in a cron line; empty for a valid one."""
    texts = line.split()
    if len(texts) != len(FIELDS):
        hint = f"; put the second before five-field cron: `0 {line}`" if len(texts) == 5 else ""
        return [
            f"{line!r} has {counted(len(texts), 'field')}; KFP needs six: {', '.join(FIELDS)}{hint}"
        ]
    mistakes: list[str] = []
    values: dict[str, set[int]] = {}
    for (field, limits), text in zip(FIELDS.items(), texts, strict=True):
        try:
            values[field] = _values(text, *limits)
        except ValueError as error:
            mistakes.append(f"the {field} {text!r} {error}")
    if mistakes:
        return mistakes
    if len(values["second"]) > 1:
        mistakes.append(
            f"the second {texts[0]!r} fires {counted(len(values['second']), 'time')} a minute; the "
            "first field is seconds"
        )
    days, months = values["day of the month"], values["month"]
    if texts[5] in ("*", "?") and min(days) > max(_LONGEST[month] for month in months):
        mistakes.append(f"month {texts[4]} has no day {texts[3]}")
    return mistakes


def _values(text: str, first: int, last: int, names: Mapping[str, int]) -> set[int]:
    """The values of a field. Raises ValueError with the mistake."""
    return {value for part in text.split(",") for value in _part(part, first, last, names)}


def _part(text: str, first: int, last: int, names: Mapping[str, int]) -> range:
    spread, slash, step_text = text.partition("/")
    if slash and not (step_text.isdigit() and int(step_text)):
        raise ValueError(f"has an invalid step {step_text!r}; it must be a number above 0")
    step = int(step_text) if slash else 1
    if spread in ("*", "?"):
        return range(first, last + 1, step)
    start_text, dash, end_text = spread.partition("-")
    start = _number(start_text, first, last, names)
    end = _number(end_text, first, last, names) if dash else last if slash else start
    if end < start:
        raise ValueError(f"has an empty range {start_text}-{end_text}")
    return range(start, end + 1, step)


def _number(text: str, first: int, last: int, names: Mapping[str, int]) -> int:
    value = names.get(text.lower(), int(text) if text.isdigit() else -1)
    if not first <= value <= last:
        raise ValueError(
            f"has {text!r}; allowed: {first} to {last}{', or a name' if names else ''}"
        )
    return value
