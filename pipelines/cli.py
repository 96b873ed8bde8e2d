"""The command line. Nothing heavy is imported before a command needs it."""

import argparse
import importlib
import sys
import traceback

from pipelines.cluster_arguments import cluster_arguments
from xstilts import __version__
from xstilts.errors import XstiltsError

#: command → (module:function, help)
COMMANDS = {
    "run": "pipelines.commands:run",
    "plan": "pipelines.commands:plan",
    "rates": "pipelines.rates:rates",
    "compile": "pipelines.commands:compile_package",
    "submit": "pipelines.cluster_commands:submit",
    "status": "pipelines.cluster_commands:status",
    "logs": "pipelines.logs:logs",
    "cancel": "pipelines.cluster_commands:cancel",
    "report": "pipelines.cluster_commands:report",
    "schedule": "pipelines.schedule_commands:schedule",
    "tasks": "pipelines.commands:tasks",
    "mirror": "pipelines.commands:mirror",
    "store": "pipelines.commands:store",
    "lock": "pipelines.lock:lock",
    "doctor": "pipelines.commands:doctor",
    "export": "pipelines.official:export",
    "validate": "pipelines.official:validate",
    "grade": "pipelines.official:grade",
    "calibrate": "pipelines.commands:calibrate",
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="xstilts", description="Intermediate tasks and zero-shot cross-lingual transfer."
    )
    top.add_argument("--version", action="version", version=__version__)
    top.add_argument("--debug", action="store_true", help="show a traceback with an error")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a plan on this machine")
    _plan_arguments(run)
    run.add_argument(
        "--runner",
        choices=["subprocess", "docker"],
        default="subprocess",
        help="how components run",
    )
    run.add_argument(
        "--out", help="folder for the report and the logs (default: runs/<plan's name>)"
    )

    plan = commands.add_parser("plan", help="what would run, what is shared, what is done")
    _plan_arguments(plan)
    plan.add_argument("--json", action="store_true")
    plan.add_argument("--gpus", type=int, default=8, help="for the estimate of hours")

    rates = commands.add_parser(
        "rates", help="pick a learning rate once, on English dev of the arm none"
    )
    _plan_arguments(rates)
    rates.add_argument(
        "--grid", type=_grid, metavar="R,R,…", help="rates to try (default: the recipe set's grid)"
    )
    rates.add_argument(
        "--backbone", action="append", default=[], help="only this one (may be given several times)"
    )
    rates.add_argument("-o", "--output", metavar="FILE", help="write the overrides there as well")
    rates.add_argument(
        "--runner",
        choices=["subprocess", "docker"],
        default="subprocess",
        help="how components run",
    )
    rates.add_argument(
        "--out",
        help="folder for the trials' plans, reports and logs (default: runs/<plan's name>-rates)",
    )
    how = rates.add_mutually_exclusive_group()
    how.add_argument(
        "--plans", metavar="DIR", help="only write the trials' plans there, to be submitted"
    )
    how.add_argument(
        "--finished", action="store_true", help="run nothing: pick from what the store has"
    )

    compile_ = commands.add_parser("compile", help="write the KFP package")
    compile_.add_argument("-o", "--output", default="pipeline.yaml")
    compile_.add_argument(
        "--settings", metavar="FILE", help="the cluster's settings (docs/kubeflow.md)"
    )

    cluster_arguments(commands)

    tasks = commands.add_parser("tasks", help="what can be trained and scored")
    tasks.add_argument(
        "action", nargs="?", choices=["probe"], help="ask the hub, or a mirror, for every source"
    )
    tasks.add_argument("--json", action="store_true")
    tasks.add_argument(
        "--tasks",
        action="append",
        default=[],
        metavar="FILE",
        help="a private task file (may be given several times)",
    )
    tasks.add_argument("--mirror", default="hub")
    tasks.add_argument(
        "--task",
        action="append",
        default=[],
        help="probe: only this task (may be given several times)",
    )
    tasks.add_argument(
        "--rows", type=int, default=20, help="probe: how many rows of each source are looked at"
    )
    tasks.add_argument(
        "--lock",
        nargs="?",
        const="",
        metavar="FILE",
        help="probe: write what was seen to hub.lock, or FILE",
    )

    mirror = commands.add_parser("mirror", help="make a mirror, or check one")
    mirror.add_argument("what", choices=["miniature", "pull", "verify"])
    mirror.add_argument("dir", help="a folder; pull and verify also take s3://bucket/prefix")
    mirror.add_argument("--plan", help="pull: the plan whose data and models are copied")
    mirror.add_argument(
        "--from", dest="origin", default="hub", help="pull: hub, a folder, or s3://bucket/prefix"
    )
    mirror.add_argument(
        "--forget",
        action="store_true",
        help="verify: strike spoilt files, so that pull fetches them",
    )
    mirror.add_argument(
        "--seed", type=int, default=0, help="another seed gives other rows of the same world"
    )

    store = commands.add_parser("store", help="the embedded S3 server, integrity, garbage")
    store.add_argument("action", choices=["serve", "verify", "gc"])
    store.add_argument("--days", type=float, default=7, help="gc: what is younger stays")
    store.add_argument("--dry-run", action="store_true", help="gc: say what would go, and keep it")
    store.add_argument("--store", help="s3://bucket/prefix (default: the embedded one)")
    store.add_argument("--home", default=".xstilts")
    store.add_argument("--port", type=int, default=0)

    lock = commands.add_parser("lock", help="the images and their digests: images/images.lock")
    lock.add_argument(
        "image", nargs="*", metavar="IMAGE", help="only these (default: all, `base` among them)"
    )
    lock.add_argument(
        "--registry", metavar="R", help="our images under this registry: R/plan-python, …"
    )
    lock.add_argument("--tag", metavar="T")
    lock.add_argument(
        "--resolve",
        action="store_true",
        help="ask the registries for the digests, and write the lock",
    )

    calibrate = commands.add_parser(
        "calibrate", help="check the report's intervals on simulated runs (docs/methods.md)"
    )
    calibrate.add_argument(
        "--trials", type=_trials, default=1000, metavar="N", help="of each line (default: 1000)"
    )
    calibrate.add_argument("--seed", type=int, default=0, help="of the simulation")
    calibrate.add_argument(
        "--plan",
        action="append",
        default=[],
        metavar="FILE",
        help="instead: what a plan's seeds can tell",
    )
    calibrate.add_argument("--json", action="store_true")

    doctor = commands.add_parser("doctor", help="what is missing on this machine, or on a cluster")
    doctor.add_argument(
        "--cluster", action="store_true", help="look at the cluster of this pod, or of KUBECONFIG"
    )
    doctor.add_argument(
        "--namespace", help="where runs live on it (default: XSTILTS_NAMESPACE, or kubeflow)"
    )

    export = commands.add_parser("export", help="a report's predictions as XTREME-R submissions")
    export.add_argument("report", help="the report folder of a run")
    export.add_argument("dir")
    export.add_argument(
        "--unofficial",
        action="store_true",
        help="also UD-POS on words that are not the official ones",
    )
    validate = commands.add_parser("validate", help="what is wrong with a submission")
    validate.add_argument("predictions")
    validate.add_argument("labels", nargs="?")
    grade = commands.add_parser("grade", help="score a folder in the official layout")
    grade.add_argument("predictions")
    grade.add_argument("labels")
    grade.add_argument("--json", action="store_true")
    for command in (export, validate, grade):
        command.add_argument("--benchmark", choices=["xtreme", "xtreme-r"], default="xtreme-r")
    return top


def _grid(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of rates; write 1e-5,2e-5"
        ) from error


def _trials(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of trials; write 1 or more")
    return int(text)


def _plan_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("plan", help="the plan's YAML file")
    command.add_argument(
        "--tasks",
        action="append",
        default=[],
        metavar="FILE",
        help="a private task file, besides those of the plan (may be given several times)",
    )
    command.add_argument("--mirror", help="hub, miniature, a folder, or s3://bucket/prefix")
    command.add_argument(
        "--store", help="s3://bucket/prefix (default: an embedded server over HOME/store)"
    )
    command.add_argument(
        "--home", default=".xstilts", help="folder that runs share: store, cache, miniature"
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs a command. 0 done, 1 unexpected, 2 usage or plan, 3 infrastructure, 4 finished with
    failed cells.
    """
    given = parser().parse_args(arguments)
    module, _, name = COMMANDS[given.command].partition(":")
    try:
        return int(getattr(importlib.import_module(module), name)(given))
    except XstiltsError as error:
        if given.debug:
            traceback.print_exc()
        print(f"xstilts: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("xstilts: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
