"""The scripts behind `make kind-up`, `kind-test` and `kind-down`, on a machine of stand-ins that
records every command.
"""

import os
from pathlib import Path

import pytest

from tests.k8s.manifests import K8S
from tests.k8s.recorder import Recorder

GOLDEN = Path(__file__).parent / "golden"
KIND = K8S / "kind"
ID, KEY = "identity-of-the-test", "never-to-be-shown"
LOCK = {
    "to": r"^xstilts lock$",
    "says": "base python:3.11-slim-bookworm null\nstage-python xstilts/stage-python:dev null\n"
    "finetune-step xstilts/finetune-step:dev null\nfinetune-worker xstilts/finetune-worker:dev null\n",
}
MACHINE = [{"to": "^docker info", "says": "/\n"}, LOCK]
LISTED = {"to": "weed shell", "input": "s3.bucket.list"}
BUCKETS = {**LISTED, "says": "  mlpipeline\tsize:0\n  xstilts\tsize:0\n"}
#: A server that has no such bucket when it is asked first.
NEW_BUCKET = [{**LISTED, "says": "  mlpipeline\tsize:0\n", "times": 1}, BUCKETS]
NO_CLUSTER = {"to": "^kind get clusters", "says": "kind\n"}
CLUSTER = {"to": "^kind get clusters", "says": "kind\nxstilts\n"}
NO_SECRET = {"to": "get secret xstilts-s3", "status": 1, "complains": "not found"}
SECRET = [
    {"to": "get secret xstilts-s3.*AWS_ACCESS_KEY_ID", "says": ID},
    {"to": "get secret xstilts-s3.*AWS_SECRET_ACCESS_KEY", "says": KEY},
]
FORWARD = {"to": "port-forward", "seconds": 60}
SUBMITTED = {
    "to": "^xstilts submit",
    "says": "kind-20260101-000000: submitted\nkind-20260101-000000: succeeded\n",
}
#: Its images are those of `xstilts lock`, which a dry run does not call.
LOAD = "kind load docker-image"
#: Reads that scripts make to see what is there.
READS = ("docker info", "kind get clusters", "get secret", "xstilts lock", "s3.bucket.list")


@pytest.fixture
def machine(tmp_path: Path) -> Recorder:
    recorder = Recorder(tmp_path)
    # The processors and the disk are the real machine's: stand-ins say what the test needs.
    for name, says in {"nproc": "8", "df": "Avail\n 100G"}.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\nprintf '{says}\\n'\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return recorder


def _is_golden(name: str, lines: list[str]) -> bool:
    file, text = GOLDEN / name, "\n".join(lines) + "\n"
    if os.environ.get("XSTILTS_GOLDEN") == "write":
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
    return True


def test_kind_up_from_nothing_runs_these_commands(machine: Recorder) -> None:
    machine.answers = [*NEW_BUCKET, NO_CLUSTER, NO_SECRET, *MACHINE]
    done = machine.run(KIND / "up.sh")
    assert done.status == 0, done.errors
    assert _is_golden("kind-up.txt", done.lines)


def test_kind_up_again_makes_no_cluster_and_no_keys(machine: Recorder) -> None:
    machine.answers = [BUCKETS, CLUSTER, *SECRET, *MACHINE]
    done = machine.run(KIND / "up.sh")
    assert done.status == 0, done.errors
    assert not [line for line in done.lines if line.startswith("kind create")]
    assert "kubectl apply --server-side -f -" not in done.lines
    (configured,) = [call["input"] for call in done.calls if "s3.configure" in call["input"]]
    assert (
        f"-access_key {ID} -secret_key {KEY} -buckets xstilts -actions Read,Write,List "
        in configured
    )
    assert "s3.bucket.create" not in configured


def test_a_new_bucket_takes_no_more_volumes_than_the_server_has(machine: Recorder) -> None:
    machine.answers = [*NEW_BUCKET, CLUSTER, *SECRET, *MACHINE]
    done = machine.run(KIND / "s3.sh")
    assert done.status == 0, done.errors
    (configured,) = [call["input"] for call in done.calls if "s3.configure" in call["input"]]
    growth, create = configured.splitlines()[:2]
    assert growth == "fs.configure -locationPrefix=/buckets/ -volumeGrowthCount=1 -apply"
    assert create == "s3.bucket.create --name xstilts"


def test_a_dry_run_says_what_a_run_does_and_does_none_of_it(machine: Recorder) -> None:
    machine.answers = [*NEW_BUCKET, NO_CLUSTER, NO_SECRET, *MACHINE]
    real = machine.run(KIND / "up.sh")
    dry = machine.run(KIND / "up.sh", DRY_RUN="1")
    assert dry.status == 0, dry.errors
    assert dry.lines == []
    assert [line for line in dry.announced if not line.startswith(LOAD)] == [
        line for line in real.announced if not line.startswith(LOAD)
    ]
    assert f"{LOAD} --name xstilts xstilts/IMAGE:dev" in dry.announced
    changes = {line for line in real.lines if not any(read in line for read in READS)}
    assert changes
    assert changes <= set(real.announced)


def test_keys_pass_through_standard_input_only(machine: Recorder) -> None:
    machine.answers = [BUCKETS, CLUSTER, *SECRET, FORWARD, SUBMITTED, *MACHINE]
    up, test = machine.run(KIND / "up.sh"), machine.run(KIND / "test.sh")
    assert test.status == 0, test.errors
    for done in (up, test):
        assert KEY not in done.output + done.errors
        assert KEY not in "\n".join(call["line"] for call in done.calls)


def test_new_keys_are_drawn_and_the_same_in_secret_and_server(machine: Recorder) -> None:
    machine.answers = [BUCKETS, CLUSTER, NO_SECRET, *MACHINE]
    first, second = machine.run(KIND / "s3.sh"), machine.run(KIND / "s3.sh")
    drawn = []
    for done in (first, second):
        (secret,) = [call["input"] for call in done.calls if '"kind": "Secret"' in call["input"]]
        (user,) = [call["input"] for call in done.calls if "s3.configure" in call["input"]]
        key = user.split("-secret_key ")[1].split()[0]
        assert len(key) == 40
        assert f'"AWS_SECRET_ACCESS_KEY": "{key}"' in secret
        drawn.append(key)
    assert drawn[0] != drawn[1]


def test_a_bucket_that_was_not_made_is_said(machine: Recorder) -> None:
    machine.answers = [CLUSTER, *SECRET, *MACHINE]
    done = machine.run(KIND / "s3.sh")
    assert done.status == 1
    assert "SeaweedFS has no bucket xstilts" in done.errors


def test_only_our_images_go_into_the_nodes(machine: Recorder) -> None:
    machine.answers = [CLUSTER, *MACHINE]
    done = machine.run(KIND / "images.sh")
    (loaded,) = [line for line in done.lines if line.startswith("kind load")]
    assert loaded.split()[5:] == [
        "xstilts/stage-python:dev", "xstilts/finetune-step:dev", "xstilts/finetune-worker:dev",
    ]  # fmt: skip


def test_no_image_to_load_is_an_error(machine: Recorder) -> None:
    done = machine.run(KIND / "images.sh")
    assert done.status == 1
    assert "lists no image xstilts/" in done.errors


def test_kind_test_runs_these_commands(machine: Recorder) -> None:
    machine.answers = [CLUSTER, *SECRET, FORWARD, SUBMITTED, *MACHINE]
    done = machine.run(KIND / "test.sh")
    assert done.status == 0, done.errors
    forwards = sorted(line for line in done.lines if "port-forward" in line)
    assert forwards == [
        "kubectl -n kubeflow port-forward svc/ml-pipeline 8888:8888",
        "kubectl -n kubeflow port-forward svc/seaweedfs 8333:8333",
    ]
    assert _is_golden("kind-test.txt", [line for line in done.lines if "port-forward" not in line])


def test_a_run_that_fails_is_no_success_and_gives_no_report(machine: Recorder) -> None:
    machine.answers = [
        CLUSTER, *SECRET, FORWARD, {"to": "^xstilts submit", "says": "kind-1: submitted\n", "status": 4}, *MACHINE,
    ]  # fmt: skip
    done = machine.run(KIND / "test.sh")
    assert done.status == 4
    assert not [line for line in done.lines if line.startswith("xstilts report")]


def test_a_submit_that_names_no_run_is_an_error(machine: Recorder) -> None:
    machine.answers = [
        CLUSTER,
        *SECRET,
        FORWARD,
        {"to": "^xstilts submit", "says": "hello\n"},
        *MACHINE,
    ]
    done = machine.run(KIND / "test.sh")
    assert done.status == 1
    assert "no line 'NAME: submitted'" in done.errors


def test_a_report_with_something_missing_fails_the_test(machine: Recorder) -> None:
    machine.answers = [
        CLUSTER,
        *SECRET,
        FORWARD,
        SUBMITTED,
        {"to": "check_report.py", "status": 1},
        *MACHINE,
    ]
    assert machine.run(KIND / "test.sh").status == 1


def test_kind_test_without_a_cluster_says_what_to_do(machine: Recorder) -> None:
    machine.answers = [NO_CLUSTER, *MACHINE]
    done = machine.run(KIND / "test.sh")
    assert done.status == 1
    assert "make kind-up" in done.errors


def test_kind_down_deletes_the_cluster_and_nothing_twice(machine: Recorder) -> None:
    machine.answers = [CLUSTER]
    assert (
        "kind delete cluster --name xstilts --kubeconfig WORK/kubeconfig"
        in machine.run(KIND / "down.sh").lines
    )
    machine.answers = [NO_CLUSTER]
    done = machine.run(KIND / "down.sh")
    assert done.status == 0
    assert done.lines == ["kind get clusters"]


def test_every_command_names_the_cluster_s_own_kubeconfig(machine: Recorder) -> None:
    """Another cluster cannot be meant: the scripts set KUBECONFIG before anything else."""
    place = (KIND / "place.sh").read_text()
    assert "export KUBECONFIG=$WORK/kubeconfig" in place
    for script in sorted(KIND.glob("*.sh")):
        if script.name != "place.sh":
            assert '. "$K8S/kind/place.sh"' in script.read_text(), script.name


# What must hold first


@pytest.mark.parametrize("tool", ["docker", "kind", "kubectl", "curl", "git"])
def test_a_missing_tool_is_named_with_where_to_get_it(machine: Recorder, tool: str) -> None:
    machine.answers, machine.without = MACHINE, [tool]
    done = machine.run(KIND / "check.sh")
    assert done.status == 1
    assert f"missing: {tool} is not installed\n   do: install {tool}" in done.errors.replace(
        "Docker", "docker"
    )


def test_the_kubectl_of_make_setup_will_do(machine: Recorder) -> None:
    machine.answers, machine.without = MACHINE, ["kubectl"]
    environment = machine.folder / "venv"
    environment.mkdir()
    (environment / "kubectl").symlink_to("/bin/true")
    done = machine.run(KIND / "check.sh", XSTILTS=str(environment / "xstilts"))
    assert done.status == 0, done.errors


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            (128, 655360, 20),
            "missing: inotify instances: 128, needed 1280\n   do: sudo sysctl fs.inotify.max_user_inst",
        ),
        (
            (1280, 8192, 20),
            "missing: inotify watches: 8192, needed 655360\n   do: sudo sysctl fs.inotify.max_user_wat",
        ),
        ((1280, 655360, 6), "missing: free memory: 6 GiB, needed 14 GiB\n   do: close programs"),
    ],
)
def test_a_limit_that_is_too_low_is_named(
    machine: Recorder, limits: tuple[int, int, int], message: str
) -> None:
    machine.answers = MACHINE
    machine.set_limits(*limits)
    done = machine.run(KIND / "check.sh")
    assert done.status == 1
    assert message in done.errors


@pytest.mark.parametrize(
    ("tool", "says", "word"), [("nproc", "2", "processors: 2"), ("df", "Avail\n 12G", "free disk")]
)
def test_too_small_a_machine_is_named(machine: Recorder, tool: str, says: str, word: str) -> None:
    machine.answers = MACHINE
    (machine.folder / "bin" / tool).write_text(f"#!/bin/sh\nprintf '{says}\\n'\n")
    done = machine.run(KIND / "check.sh")
    assert done.status == 1
    assert f"missing: {word}" in done.errors


def test_an_engine_that_does_not_answer_is_named(machine: Recorder) -> None:
    machine.answers = [{"to": "^docker info", "status": 1}]
    done = machine.run(KIND / "check.sh")
    assert "missing: Docker's engine does not answer\n   do: start it" in done.errors


def test_everything_that_is_missing_is_said_at_once(machine: Recorder) -> None:
    machine.answers, machine.without = [{"to": "^docker info", "status": 1}], ["kind", "git"]
    machine.set_limits(1, 1, 1)
    assert machine.run(KIND / "check.sh").errors.count("missing: ") == 6


def test_nothing_is_made_on_a_machine_that_cannot_run_it(machine: Recorder) -> None:
    machine.answers, machine.without = MACHINE, ["git"]
    done = machine.run(KIND / "up.sh")
    assert done.status == 1
    assert done.lines == ["docker info --format {{.DockerRootDir}}"]
