"""`xstilts grade`: the scores of a submission."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import cell
from xstilts.errors import counted

app = new_app()


@app.command(
    cls=Command,
    epilog=examples("xstilts grade submissions/llava.none.t0/predictions labels/ --json"),
)
def grade(
    predictions: options.Predictions,
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Folder of the labels.")],
    benchmark: options.Benchmark = "xtreme-r",
    as_json: options.Json = False,
) -> int:
    """Score a submission with the official metrics."""
    from xstilts.official.grade import grade as score

    scores = score(predictions, labels, benchmark)
    if as_json:
        print(json.dumps(scores, indent=2), file=sys.__stdout__)
    else:
        _print_scores(scores, f"{benchmark}: {predictions}")
    return 0


def _print_scores(scores: Mapping[str, Any], title: str) -> None:
    from xstilts.terminal_tables import console as new_console
    from xstilts.terminal_tables import table

    shown = table(("task", "metric", "average", "languages"), title=cell(title))
    for name, task in scores["tasks"].items():
        for metric, value in task["averages"].items():
            languages = ", ".join(
                f"{code} {by_metric[metric]:.1f}" for code, by_metric in task["languages"].items()
            )
            shown.add_row(*map(cell, (name, metric, f"{value:.2f}", languages)))
    console = new_console(sys.__stdout__)
    console.print(shown)
    for group, value in scores["groups"].items():
        console.print(f"{group} (official group): {value:.2f}")
    if scores["all_task"] is not None:
        console.print(f"all tasks (official): {scores['all_task']:.2f}")
    if scores["retrieval_with_lareqa"] is not None:
        console.print(f"retrieval with LAReQA: {scores['retrieval_with_lareqa']:.2f}")
    present = scores["present_tasks"]
    mean = f"{scores['mean_of_present_tasks']:.2f}"
    console.print(
        f"mean of the {counted(len(present), 'task')} present ({', '.join(present)}): {mean}"
    )
    missing: dict[str, list[str]] = {}
    for line in scores["missing"]:  # `task language: reason`, or `task: reason`
        task, _, language = line.partition(":")[0].partition(" ")
        missing.setdefault(task, []).append(language)
    for task, codes in missing.items():
        languages = f": {' '.join(codes)}" if any(codes) else ""
        console.print(cell(f"missing: {task}{languages}"))
    if missing:
        console.print("--json lists the missing files", highlight=False)
