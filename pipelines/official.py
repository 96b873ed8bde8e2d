"""The commands on submissions: export, validate, grade."""

import argparse
import json
import sys
from pathlib import Path

from xstilts.errors import DataError


def export(given: argparse.Namespace) -> int:
    """xstilts export REPORT DIR"""
    from xstilts.official.export import export as write
    from xstilts.official.export import left_out

    for folder in write(Path(given.report), Path(given.dir), given.benchmark, given.unofficial):
        print(folder, file=sys.__stdout__)
    for reason in [] if given.unofficial else left_out(Path(given.report), given.benchmark):
        print(f"left out: {reason}", file=sys.__stderr__)
    return 0


def validate(given: argparse.Namespace) -> int:
    """xstilts validate PREDICTIONS [LABELS]"""
    from xstilts.official.validate import validate as look

    problems = look(
        Path(given.predictions), given.benchmark, Path(given.labels) if given.labels else None
    )
    if problems:
        raise DataError(
            "\n".join(
                [f"{given.predictions}: {len(problems)} problems", *(f"  - {p}" for p in problems)]
            )
        )
    print(f"{given.predictions}: can be sent in", file=sys.__stdout__)
    return 0


def grade(given: argparse.Namespace) -> int:
    """xstilts grade PREDICTIONS LABELS"""
    from xstilts.official.grade import grade as score

    found = score(Path(given.predictions), Path(given.labels), given.benchmark)
    if given.json:
        print(json.dumps(found, indent=2), file=sys.__stdout__)
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "task", "metric", "average", "languages", title=f"{given.benchmark}: {given.predictions}"
    )
    for name, task in found["tasks"].items():
        for metric, value in task["averages"].items():
            each = ", ".join(
                f"{code} {scores[metric]:.1f}" for code, scores in task["languages"].items()
            )
            table.add_row(name, metric, f"{value:.2f}", each)
    console = Console(file=sys.__stdout__)
    console.print(table)
    for group, value in found["groups"].items():
        console.print(f"{group} (official group): {value:.2f}")
    if found["all_task"] is not None:
        console.print(f"all tasks (official): {found['all_task']:.2f}")
    if found["retrieval_with_lareqa"] is not None:
        console.print(f"retrieval with LAReQA: {found['retrieval_with_lareqa']:.2f}")
    present = found["present_tasks"]
    console.print(
        f"mean of the {len(present)} tasks present ({', '.join(present)}): {found['mean_of_present_tasks']:.2f}"
    )
    by_task: dict[str, list[str]] = {}
    for line in found["missing"]:  # `task language: why`, or `task: why`
        task, _, language = line.partition(":")[0].partition(" ")
        by_task.setdefault(task, []).append(language)
    for task, languages in by_task.items():
        console.print(
            f"missing: {task}{': ' if any(languages) else ''}{' '.join(languages)}", highlight=False
        )
    if by_task:
        console.print("which files these are: --json", highlight=False)
    return 0
