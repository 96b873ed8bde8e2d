"""What the commands on a cluster are given. Credentials come from the environment, never from
here.
"""

import argparse
from typing import Any

CREDENTIALS = (
    "Credentials are read from the environment only: AWS_* for the store (AWS_ENDPOINT_URL names a server that is not "
    "AWS), XSTILTS_KFP_TOKEN or XSTILTS_KFP_COOKIE for KFP."
)


def cluster_arguments(commands: Any) -> None:
    """Adds submit, status, logs, cancel, report and schedule."""
    submit = _command(commands, "submit", "run a plan on a cluster")
    submit.add_argument(
        "plan", help="the plan's YAML file; all its mistakes are told before anything is submitted"
    )
    submit.add_argument("--mirror", help="hub, or s3://bucket/prefix (default: the plan's)")
    _server(submit, required=True)
    _store(submit)
    _package(submit)
    submit.add_argument(
        "--experiment", default="xstilts", help="KFP's experiment (default: xstilts)"
    )
    submit.add_argument(
        "--wait", action="store_true", help="wait for the end, and return the run's exit code"
    )
    submit.add_argument(
        "--every", type=float, default=10.0, metavar="SECONDS", help="how often --wait looks"
    )

    status = _command(commands, "status", "how a run is doing")
    _run(status)
    _server(status)
    status.add_argument("--json", action="store_true")

    logs = _command(commands, "logs", "the logs of a run's pods and Ray jobs, and its failures")
    _run(logs)
    _server(logs)
    logs.add_argument(
        "--tail", type=int, default=200, metavar="LINES", help="of each log (default: 200)"
    )
    logs.add_argument(
        "-f", "--follow", action="store_true", help="show what comes, until the run ends"
    )
    logs.add_argument(
        "--every", type=float, default=5.0, metavar="SECONDS", help="how often --follow looks"
    )

    cancel = _command(commands, "cancel", "end a run; what it finished is kept")
    _run(cancel)
    _server(cancel, required=True)

    report = _command(commands, "report", "copy a run's report")
    _run(report)
    report.add_argument("--out", default=".", help="its folder becomes OUT/report (default: here)")

    schedule = _command(commands, "schedule", "recurring benchmarks from files (docs/schedules.md)")
    schedule.add_argument(
        "action",
        choices=["apply", "diff", "list", "delete"],
        help="apply: make the server as the files say; diff: say what apply would change; list: what is there; "
        "delete: the schedules of the files",
    )
    schedule.add_argument("file", nargs="?", help="a schedule's YAML file, or a folder of them")
    _server(schedule, required=True)
    _store(schedule)
    _package(schedule)
    schedule.add_argument("--mirror", help="in place of the mirror of the files and plans")
    schedule.add_argument(
        "--prune", action="store_true", help="delete the recurring runs of this store in no file"
    )


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=CREDENTIALS
    )
    return made


def _run(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help="the run's name, as submit printed it")
    _store(command)


def _store(command: argparse.ArgumentParser) -> None:
    command.add_argument("--store", required=True, help="s3://bucket/prefix, the cluster's store")


def _server(command: argparse.ArgumentParser, required: bool = False) -> None:
    command.add_argument(
        "--host", required=required, help="root of the KFP API, e.g. http://localhost:8888"
    )
    command.add_argument(
        "--namespace", help="of a KFP with several users; for logs, where the pods are"
    )
    command.add_argument(
        "--ca-cert", metavar="FILE", help="the authority that signed the server's certificate"
    )


def _package(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--settings", metavar="FILE", help="the cluster's settings (docs/kubeflow.md)"
    )
    command.add_argument(
        "--allow-unlocked",
        action="store_true",
        help="run images without a digest in images.lock (test clusters only)",
    )
