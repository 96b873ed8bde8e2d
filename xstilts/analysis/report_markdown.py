"""The report as Markdown, `report.md`, for a run's page."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xstilts.analysis.estimands import NON_ENGLISH
from xstilts.analysis.result_texts import control_text, p_text
from xstilts.official.forms import HUB_FORM

#: Title, the summary's list, and the keys of an entry: names, and last the reason.
_LISTS = (
    ("Missing", "missing", ("what", "reason")),
    ("Not applicable", "not_applicable", ("backbone", "arm", "reason")),
    ("Trained on a part of the tasks", "trained_in_part", ("backbone", "arm", "reason")),
    ("Languages not scored", "skipped_languages", ("evaluation", "language", "reason")),
    ("Left out of a contrast", "left_out", ("contrast", "backbone", "evaluation", "left_out")),
)


def markdown(summary: Mapping[str, Any]) -> str:
    """The answer, the effects, the controls, and lists of what is missing."""
    lines = [f"# {escaped(summary['title'])}", ""]
    if summary["banner"]:
        lines += [f"> {escaped(summary['banner'])}", ""]
    lines += [escaped(summary["answer"]), "", *_effects(summary)]
    if summary["controls"]:
        lines += ["", "## Controls", ""]
        lines += [f"- {escaped(control_text(control))}" for control in summary["controls"]]
    if summary["cut_contexts"]:
        lines += ["", "## Truncated contexts", ""]
        lines += _table(
            ("backbone", "arm", "use", "task", "language", "rows truncated", "rows"),
            (
                (
                    row["backbone"],
                    row["arm"],
                    row["use"],
                    row["task"],
                    row["language"],
                    f"{100 * row['share']:.1f}%",
                    row["rows"],
                )
                for row in summary["cut_contexts"]
            ),
        )
    intermediates = [row for row in summary["intermediates"] if "value" in row]
    if intermediates:
        lines += ["", "## Scores on the intermediate tasks, English dev", ""]
        columns = ("backbone", "arm", "seed", "task", "metric")
        lines += _table(
            (*columns, "score"),
            (
                (*(_named(row, key) for key in columns), f"{row['value']:.1f}")
                for row in intermediates
            ),
        )
    if summary.get("forgetting"):
        lines += ["", "## Forgetting: the same scores after a target", ""]
        names = ("backbone", "arm", "task", "metric", "target")
        lines += _table(
            (*names, "before", "after", "change", "seeds"),
            (
                (
                    *(_named(row, key) for key in names),
                    f"{row['before']:.1f}",
                    f"{row['after']:.1f}",
                    f"{row['change']:+.1f}",
                    row["seeds"],
                )
                for row in summary["forgetting"]
            ),
        )
    hub_languages = [row["language"] for row in summary["forms"] if row["form"] == HUB_FORM]
    if hub_languages:
        lines += ["", hub_form_note(hub_languages)]
    for title, name, (*keys, reason) in _LISTS:
        if summary[name]:
            lines += ["", f"## {title}", ""]
            lines += [
                f"- {', '.join(escaped(entry[key]) for key in keys)}: {escaped(entry[reason])}"
                for entry in summary[name]
            ]
    return "\n".join(lines) + "\n"


#: Characters that Markdown could read as markup; underscores inside words are none.
_MARKUP = re.compile(r"[\\`*\[\]<>|~&$]|(?<!\w)_|_(?!\w)|^[#+-](?=\s)")


def escaped(value: Any) -> str:
    """A text as Markdown shows it unchanged: no markup, no HTML, on one line."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(str(value).split()))


def hub_form_note(languages: Sequence[str]) -> str:
    """What a reader must know about UD-POS in these languages."""
    return (
        "UD-POS uses the words of the hub's copy, which differ from the official ones, in "
        f"{', '.join(map(escaped, languages))}."
    )


def _effects(summary: Mapping[str, Any]) -> list[str]:
    primary = summary["primary"]
    means = [
        row for row in summary["pooled"] if row["language"] == NON_ENGLISH and row not in primary
    ]
    non_english = [
        {**row, "evaluation": f"{row['evaluation']}, non-English"} for row in [*primary, *means]
    ]
    interval = f"{100 * summary['confidence']:g}% interval"
    return _table(
        ("contrast", "backbone", "evaluation", "effect", interval, "adjusted p", "MDE", "seeds"),
        (
            (
                row["contrast"],
                row["backbone"],
                row["evaluation"],
                f"{row['effect']:+.1f}",
                f"{row['ci_low']:+.1f} … {row['ci_high']:+.1f}",
                p_text(row["p_adjusted"]),
                "" if row["mde"] is None else f"{row['mde']:.1f}",
                row["seeds"],
            )
            for row in [*non_english, *summary["effects"]]
        ),
    )


def _named(row: Mapping[str, Any], key: str) -> Any:
    """A value of a score on an intermediate task; the task with the languages of its translations,
    if it was trained in them.
    """
    translated = row.get("translated") if key == "task" else None
    return f"{row[key]} ({translated})" if translated else row[key]


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    return [
        f"| {' | '.join(map(escaped, columns))} |",
        "|" + "---|" * len(columns),
        *(f"| {' | '.join(escaped(value) for value in row)} |" for row in rows),
    ]
