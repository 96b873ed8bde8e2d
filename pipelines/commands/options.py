"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipelines.commands import completion

Runner = Literal["subprocess", "docker"]

PlanFile = Annotated[
    Path,
    typer.Argument(
        metavar="PLAN",
        help="YAML file of a plan, or the name of a shipped one (`xstilts plans`).",
        autocompletion=completion.plan_names,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key of the plan, such as seeds=1 or arms.squad.objective=lm; the value is "
        "YAML. Repeat for several.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        min=1,
        help="Smoke run: at most N rows of each split and N updates of each training. Tiny "
        "backbones are built in full. Its results are marked and never used by a full run.",
        show_default="no limit",
    ),
]


def number(text: str, metavar: str = "N") -> Any:
    """An option with a number of rows, lines or GPUs, for `Annotated`. text: its help."""
    return typer.Option(metavar=metavar, min=1, max=1_000_000, help=text)


def interval(text: str) -> Any:
    """An option with a polling interval of at most a day, for `Annotated`. text: its help."""
    return typer.Option(metavar="SECONDS", min=0.01, max=86_400, help=text)


Interval = Annotated[float, interval("Polling interval.")]
Mirror = Annotated[
    str | None,
    typer.Option(
        metavar="MIRROR",
        help="Where data and models come from: hub, miniature, a folder or s3://bucket/prefix.",
        autocompletion=completion.mirror_names,
        show_default="the plan's mirror",
    ),
]
ClusterMirror = Annotated[
    str | None,
    typer.Option(
        metavar="MIRROR",
        help="Where data and models come from: hub or s3://bucket/prefix.",
        show_default="the plan's mirror",
    ),
]
LocalStore = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="Store of all outputs, s3://bucket/prefix.",
        show_default="an embedded S3 server over HOME/store",
    ),
]
Home = Annotated[
    Path,
    typer.Option(
        metavar="HOME", help="Folder that local runs share: store, cache, generated miniature."
    ),
]
RunnerOption = Annotated[
    Runner,
    typer.Option(help="Run each component as a subprocess, or in its own Docker image."),
]
TaskFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--tasks",
        metavar="FILE",
        help="File of a private task, besides those of the plan; repeat for several.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# ---- clusters ----

#: Ends the help of every command that talks to a cluster.
CREDENTIALS = (
    "Credentials come from the environment only: AWS_* for the store (AWS_ENDPOINT_URL for a "
    "server other than AWS), XSTILTS_KFP_TOKEN or XSTILTS_KFP_COOKIE for Kubeflow Pipelines."
)

RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Name of the run (see `xstilts runs`), or of a plan, which means its newest run.",
        autocompletion=completion.run_names,
    ),
]
RunStore = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URI",
        help="Store of a cluster, s3://bucket/prefix.",
        show_default="the local runs of HOME",
    ),
]
ClusterStore = Annotated[
    str, typer.Option("--store", metavar="URI", help="Store of the cluster, s3://bucket/prefix.")
]
_HOST = "Root URL of the KFP API, for example http://localhost:8888."
Host = Annotated[str, typer.Option(metavar="URL", help=_HOST)]
OptionalHost = Annotated[str | None, typer.Option(metavar="URL", help=_HOST)]
RecordedHost = Annotated[
    str | None, typer.Option(metavar="URL", help=_HOST, show_default="that of the submission")
]
Namespace = Annotated[
    str | None, typer.Option(metavar="NAME", help="Namespace of a multi-user KFP.")
]
CaCertificate = Annotated[
    Path | None,
    typer.Option(
        "--ca-cert", metavar="FILE", help="CA certificate that signed the server's certificate."
    ),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Cluster settings, a YAML file (docs/kubeflow.md)."),
]
AllowUnlocked = Annotated[
    bool,
    typer.Option(
        "--allow-unlocked",
        help="Run images that have no digest in images.lock (test clusters only).",
    ),
]

# ---- submissions ----

Benchmark = Annotated[
    Literal["xtreme", "xtreme-r"], typer.Option(help="Layout and metrics of the submission.")
]
Predictions = Annotated[
    Path, typer.Argument(metavar="PREDICTIONS", help="Folder in the official layout.")
]
