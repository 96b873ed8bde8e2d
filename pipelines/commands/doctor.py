"""`xstilts doctor`: missing requirements of this machine, or of a cluster."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import completion
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say
from xstilts.errors import PlanError

app = new_app()

#: Free disk space that the demo needs.
DEMO_GIB = 2.0
PACKAGES = ("torch", "transformers", "datasets", "ray", "kfp", "peft", "boto3", "pillow")


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts doctor",
        "xstilts doctor --cluster --namespace kubeflow",
        "xstilts doctor --cluster --plan PLAN",
        note="One line for each check; exit code 3 if something is missing.",
    ),
)
def doctor(
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Check the cluster of KUBECONFIG or of this pod.")
    ] = False,
    namespace: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Namespace of the runs on the cluster.",
            show_default="XSTILTS_NAMESPACE, or kubeflow",
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="PLAN",
            help="Also check whether the plan's groups fit.",
            autocompletion=completion.plan_names,
        ),
    ] = None,
) -> int:
    """Check this machine or a cluster for missing requirements."""
    if plan is not None and not cluster:
        raise PlanError("--plan checks the groups of a plan on a cluster; add --cluster")
    if cluster:
        from components.launch.doctor import report
        from pipelines.plan_file import read_plan

        resources = None if plan is None else read_plan(plan).resources.model_dump(mode="json")
        return 3 if report(say, namespace, resources) else 0
    results = list(_local_checks())
    for passed, text in results:
        say(f"{'ok     ' if passed else 'MISSING'} {text}")
    return 0 if all(passed for passed, _ in results) else 3


def _local_checks() -> Iterator[tuple[bool, str]]:
    from importlib.metadata import PackageNotFoundError, version

    from xstilts.errors import XstiltsError
    from xstilts.store.server import rclone_binary

    python = f"Python {sys.version.split()[0]} (3.11, 3.12 or 3.13)"
    yield (3, 11) <= sys.version_info < (3, 14), python
    for package in PACKAGES:
        try:
            yield True, f"{package} {version(package)}"
        except PackageNotFoundError:
            yield False, f"{package}: install xstilts with its dependencies (make setup)"
    try:
        yield True, f"rclone at {rclone_binary()}"
    except XstiltsError as error:
        yield False, str(error)
    free = shutil.disk_usage(".").free / 2**30
    yield free > DEMO_GIB, f"{free:.1f} GiB free on this disk (the demo needs {DEMO_GIB:g})"
    cpus = os.cpu_count() or 1
    yield cpus >= 2, f"{cpus} CPUs (the demo needs 2)"
