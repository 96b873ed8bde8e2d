"""`xstilts check`: the mistakes in a plan, without data or network."""

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say
from xstilts.errors import counted

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts check my-plan.yaml",
        "xstilts check demo --set seeds=5",
        note="Exit code 2 if the plan has mistakes; all of them are listed.",
    ),
)
def check(
    plan: options.PlanFile,
    overrides: options.Overrides = None,
    limit: options.Limit = None,
    tasks: options.TaskFiles = None,
) -> int:
    """Check a plan for mistakes. Reads no data, no models and no network.

    `xstilts plan` shows whether the mirror has the plan's data.
    """
    from pipelines.plan_file import open_plan
    from xstilts.plan.expand import expand_offline

    loaded = open_plan(plan, tasks or [], overrides or [], limit)
    expansion = expand_offline(loaded.plan)
    say(
        f"{loaded.file}: valid; {counted(len(loaded.plan.backbones), 'backbone')}, "
        f"{counted(len(loaded.plan.arms), 'arm')}, "
        f"{counted(len(loaded.plan.evaluations), 'evaluation')}, "
        f"{counted(len(expansion.cells), 'cell')}"
    )
    return 0
