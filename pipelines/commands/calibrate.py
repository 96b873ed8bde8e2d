"""`xstilts calibrate`: the report's intervals on simulated runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import completion, options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts calibrate --trials 5000",
        "xstilts calibrate --plan PLAN",
        note="Exit code 5 if a rate differs from its nominal value by more than expected "
        "(docs/methods.md).",
    ),
)
def calibrate(
    trials: Annotated[int, options.number("Simulated runs for each line.")] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the simulation.")] = 0,
    plan: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PLAN",
            autocompletion=completion.plan_names,
            help="Instead show how often the headline's test rejects zero with a plan's seeds: in "
            "pure noise, and with an effect of 3 points. Repeat for several plans.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> int:
    """Check the report's intervals on simulated runs."""
    from dataclasses import asdict

    from xstilts.analysis.calibrate import markdown, table

    if plan:
        _print_plans(plan, trials, seed, as_json)
        return 0
    results = list(table(trials, seed))
    if as_json:
        say(json.dumps([asdict(result) for result in results], indent=2, ensure_ascii=False))
    else:
        say(markdown(results))
    return 5 if any(result.suspicious for result in results) else 0


def _print_plans(paths: Sequence[Path], trials: int, seed: int, as_json: bool) -> None:
    from xstilts.analysis.simulation import PLANTED

    rows = (_row(path, trials, seed) for path in paths)
    if as_json:
        say(json.dumps(list(rows), indent=2, ensure_ascii=False))
        return
    say(f"| plan | seeds | pure noise | +{PLANTED:g} points |\n| --- | --- | --- | --- |")
    for row in rows:
        noise, planted = 100 * float(row["noise"]), 100 * float(row["planted"])
        seeds = f"{row['seeds']} ({row['label']})" if row["label"] else row["seeds"]
        say(f"| `{row['plan']}` | {seeds} | {noise:.1f}% | {planted:.0f}% |")


def _row(path: Path, trials: int, seed: int) -> dict[str, float | str]:
    from pipelines.plan_file import read_plan
    from xstilts.analysis.calibrate import answered

    plan = read_plan(path)
    name = plan.headline or next(iter(plan.contrasts), "")
    reference = plan.contrasts[name].reference if name in plan.contrasts else "none"
    return answered(plan.name, plan.seeds, reference == "none", trials, seed)
