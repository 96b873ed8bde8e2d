"""Logs are headed with the step of their pod, and lack the lines that every run has."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.log_noise import NoiseFilter
from pipelines.log_steps import NODE_NAME, StepName, seconds_of, step_of_pod

RECORDINGS = Path(__file__).parents[3] / "shared" / "kfp_recordings"
NODE = "xr-8cv6r(0).root(0).for-loop-1(0).iteration-iterations(0:0)(0).iteration-item(0).{}"


def step(node: str, function: str | None = None, values: dict[str, str] | None = None) -> str:
    """The heading of a pod's log."""
    inputs = json.dumps({"inputs": {"parameterValues": values}})
    words = ["launch", "--executor_input", inputs if values else "{{$}}"]
    words += ["--function_to_execute", function] if function else []
    container = SimpleNamespace(command=words, args=None)
    metadata = SimpleNamespace(annotations={NODE_NAME: node} if node else None, name="pod-1")
    return str(step_of_pod(metadata, SimpleNamespace(containers=[container])))


@pytest.mark.parametrize(
    ("node", "function", "values", "heading"),
    [
        (NODE.format("stage(0).executor(0)"), "stage", {"batch": "sources-00"}, "stage sources-00"),
        (NODE.format("stage-2(0).executor(0)"), "stage", {"batch": "enc-1"}, "stage enc-1"),
        (
            NODE.format("finetune(0).executor(1)"), "finetune", {"group": "tiny", "run": "s3://b"},
            "finetune tiny, attempt 2",
        ),
        (NODE.format("score(1).executor(1)"), "score", {"group": "tiny"}, "score tiny, attempt 3"),
        ("xr(0).root(0).plan(0).executor(0)", "plan", {"run": "s3://b"}, "plan"),
        ("xr(0).root(0).stage-2(0).executor(0)", None, None, "stage"),
        ("", None, None, "pod-1"),
    ],
)  # fmt: skip
def test_a_pod_is_named_by_its_step(
    node: str, function: str | None, values: dict[str, str] | None, heading: str
) -> None:
    assert step(node, function, values) == heading


def test_the_pod_of_a_real_server_is_named_by_its_step() -> None:
    if not RECORDINGS.is_dir():
        pytest.skip(f"{RECORDINGS} is absent: no recordings of a real server")
    pod = json.loads((RECORDINGS / "step_pod.json").read_text())
    from kubernetes.client import ApiClient

    body = SimpleNamespace(data=json.dumps(pod))
    real: Any = ApiClient().deserialize(body, "V1Pod")
    assert step_of_pod(real.metadata, real.spec) == StepName("work", "groups")


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert seconds_of(text, "--since") == seconds


EXECUTOR = "[KFP Executor 2026-11-28 15:18:57,001 INFO]: "
DUMP = json.dumps({"inputs": {"parameterValues": {"run": "s3://b"}}}, indent=4)
#: Lines of a step that has nothing to say of its own.
NOISE = f"""\
I1128 15:18:57.000000      14 launcher_v2.go:151] input ExecutorInput:{{
  "inputs": {{
    "parameterValues": {{}}
  }}
}}
time="2026-11-28T15:18:57.000Z" level=info msg="capturing logs" argo=true
{EXECUTOR}Looking for component `stage` in --component_module_path `/tmp/x/ephemeral_component.py`
{EXECUTOR}Loading KFP component "stage" from /tmp/x/ephemeral_component.py (directory "/tmp/x" ...)
{EXECUTOR}Got executor_input:
{DUMP}
{EXECUTOR}Found credentials in environment variables.
INFO botocore.configprovider: Found endpoint for s3 via: environment_global.
(autoscaler +8s) Tip: use `ray status` to view detailed cluster status.
(RayTrainWorker pid=9) Reporting training result 1: TrainingReport(checkpoint=None, metrics={{}})
2026-11-28 15:20:00,000 INFO context.py:391 -- Reporting training result 1: TrainingReport()
{EXECUTOR}Wrote executor output file to /tmp/kfp/outputs/output_metadata.json.""".splitlines()
#: Those of a local run, without KFP's launcher and Argo.
LOCAL_NOISE = NOISE[6:]
SIGNAL = [
    "epoch 1", "{", '    "a": 1', "}", f"{EXECUTOR}records of xnli",
    "W1128 15:18:57.000000      14 launcher_v2.go:151] cannot publish",
    'time="2026-11-28T15:18:57.000Z" level=error msg="no space"', "Traceback (most recent call last)",
    "(autoscaler +8s) No available node types can fulfill resource request {'CPU': 9}",
]  # fmt: skip


def test_lines_that_every_run_has_are_left_out() -> None:
    mixed = [
        line
        for pair in zip([NOISE, *[NOISE] * 8], SIGNAL, strict=True)
        for line in (*pair[0], pair[1])
    ]
    assert NoiseFilter()(mixed) == SIGNAL
    assert NoiseFilter(off=True)(mixed) == mixed


def test_the_indentation_and_colors_of_local_runs_do_not_matter() -> None:
    def indented(lines: list[str], width: int) -> list[str]:
        return [" " * width + line for line in lines]

    lines = [
        "18:56:05.811 - INFO - Executing task \x1b[96m'plan'\x1b[0m",
        "18:56:05.811 - INFO - Streamed logs:",
        "/x/task_executor.py:100: UserWarning: Task 'stage': settings ['display_name'] have no effect in the current local runner and will be ignored",
        "  _warn_local_only_noops(task_name, task_spec, executor_spec.container)",
        *indented(LOCAL_NOISE, 4),
        *indented(["epoch 1"], 4),
        *indented(LOCAL_NOISE, 8),
        *indented(["Traceback (most recent call last)"], 8),
        "-" * 80,
    ]
    assert NoiseFilter()(lines) == [
        "18:56:05.811 - INFO - Executing task 'plan'",
        "    epoch 1",
        "        Traceback (most recent call last)",
    ]


def test_a_dump_whose_indentation_changes_takes_no_other_line_along() -> None:
    cut = LOCAL_NOISE.index("{") + 2
    lines = [f"        {line}" for line in LOCAL_NOISE[:cut]]
    lines += [f"    {line}" for line in LOCAL_NOISE[cut:]]
    assert NoiseFilter()([*lines, "    epoch 1"]) == ["    epoch 1"]


def test_a_dump_that_comes_in_two_parts_is_left_out() -> None:
    half = NOISE.index("{") + 2
    noise = NoiseFilter()
    assert [*noise(NOISE[:half]), *noise([*NOISE[half:], "epoch 1"])] == ["epoch 1"]


def test_rays_trace_of_its_regular_end_is_left_out_and_that_of_a_crash_is_kept() -> None:
    prefix = "[2026-11-29 19:01:20,323 E 3747 3747] logging.cc:474: "
    frames = ["PC: @     0x7f3e950ed545  (unknown)  clock_nanosleep", "    @ ... and 4 more frames"]
    ended = ["*** SIGTERM received at time=1795978880 on cpu 0 ***", *frames]
    crash = ["*** SIGSEGV received at time=1795978880 on cpu 0 ***", *frames]
    lines = [*ended, *(prefix + line for line in ended), *crash, "epoch 1"]
    assert NoiseFilter()(lines) == [*crash, "epoch 1"]


def test_braces_in_a_text_do_not_prolong_what_is_left_out() -> None:
    lines = ["Got executor_input:", "{", '  "text": "a { b",', "}", '{"loss": 1.0}']
    assert NoiseFilter()(lines) == ['{"loss": 1.0}']
