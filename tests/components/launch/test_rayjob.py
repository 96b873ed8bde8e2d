"""The RayJob of a worker group: the golden file of 2 × 8 GPUs, and rules for every group."""

import copy
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.launch.rayjob import (
    KIND,
    LONGEST_NAME,
    RAY_VERSION,
    build,
    entrypoint,
    label,
    name_of,
    owner_of,
)
from components.launch.rules import DNS_1035, problems
from tests.components.launch.conftest import CONFIG, ENVIRONMENT, POD, SETTINGS
from xstilts.errors import InfrastructureError

GOLDEN = Path(__file__).parent / "two-nodes-of-eight.yaml"
Job = dict[str, Any]


def pods(job: Job) -> list[Job]:
    cluster = job["spec"]["rayClusterSpec"]
    return [
        cluster["headGroupSpec"]["template"],
        *(group["template"] for group in cluster["workerGroupSpecs"]),
    ]


def worker(job: Job) -> Job:
    return job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]


def env(pod: Job) -> dict[str, Any]:
    return {
        item["name"]: item.get("value", item.get("valueFrom"))
        for item in pod["spec"]["containers"][0]["env"]
    }


def test_two_nodes_of_eight_gpus(job: Job) -> None:
    """XSTILTS_GOLDEN=write renews the file; read the difference before you commit it."""
    text = yaml.safe_dump(job, sort_keys=False, width=120)
    if os.environ.get("XSTILTS_GOLDEN") == "write":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_the_golden_file_is_valid_for_the_crd_and_the_operator(
    job: Job, matches_crd: Callable[[Job], None]
) -> None:
    matches_crd(job)
    assert problems(job) == []


def test_the_strict_schema_sees_a_misspelt_field(
    job: Job, matches_crd: Callable[[Job], None]
) -> None:
    job["spec"]["shutdownAfterJobFinish"] = True
    with pytest.raises(jsonschema.ValidationError, match="shutdownAfterJobFinish"):
        matches_crd(job)


def test_one_worker_a_gpu_one_pod_a_node(job: Job) -> None:
    group = worker(job)
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert (group["replicas"], limits["nvidia.com/gpu"], limits["cpu"], limits["memory"]) == (
        2,
        "8",
        "96",
        "768Gi",
    )
    [spread] = group["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert (
        spread["labelSelector"]["matchLabels"].items()
        <= group["template"]["metadata"]["labels"].items()
    )
    assert job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_fewer_workers_when_nodes_are_lost(job: Job) -> None:
    settings = copy.deepcopy(SETTINGS)
    settings["cluster"]["min_workers"] = 8
    group = worker(build(settings, ENVIRONMENT, CONFIG))
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (1, 2, 2)


def test_a_plan_without_a_cluster_gets_the_defaults(matches_crd: Callable[[Job], None]) -> None:
    job = build({"workers": 2, "threads": 1, "gpus_per_worker": 0}, ENVIRONMENT, CONFIG)
    matches_crd(job)
    assert problems(job) == []
    assert worker(job)["replicas"] == 2
    assert (
        "nvidia.com/gpu"
        not in worker(job)["template"]["spec"]["containers"][0]["resources"]["limits"]
    )
    assert "NCCL_DEBUG" not in env(worker(job)["template"])


def test_pods_satisfy_the_restricted_standard(job: Job) -> None:
    for pod in pods(job):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all(set(volume) == {"name", "emptyDir"} for volume in spec["volumes"])
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["readOnlyRootFilesystem"] is True
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"]["limits"].keys()


def test_shared_memory_has_the_requested_size(job: Job) -> None:
    [shm] = [v for v in worker(job)["template"]["spec"]["volumes"] if v["name"] == "shm"]
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Gi"}
    assert int(worker(job)["rayStartParams"]["object-store-memory"]) == 32 * 2**30


def test_secrets_are_referred_to_and_never_copied(job: Job) -> None:
    assert "never-by-value" not in yaml.safe_dump(job)
    assert "nor-this" not in yaml.safe_dump(job)
    for pod in pods(job):
        reference = env(pod)["AWS_SECRET_ACCESS_KEY"]["secretKeyRef"]
        assert reference == {"name": "xstilts-s3", "key": "AWS_SECRET_ACCESS_KEY", "optional": True}
        assert env(pod)["AWS_ENDPOINT_URL"] == "http://s3:8333"


def test_network_variables_of_the_site_are_passed_on(job: Job) -> None:
    site = {**ENVIRONMENT, "NCCL_SOCKET_IFNAME": "ib0", "FI_PROVIDER": "efa"}
    variables = env(worker(build(copy.deepcopy(SETTINGS), site, CONFIG))["template"])
    assert (variables["NCCL_SOCKET_IFNAME"], variables["FI_PROVIDER"]) == ("ib0", "efa")
    assert env(worker(job)["template"])["NCCL_SOCKET_IFNAME"] == "^lo,docker"


def test_limits_in_time_and_in_tries(job: Job) -> None:
    spec = job["spec"]
    assert (spec["activeDeadlineSeconds"], spec["preRunningDeadlineSeconds"]) == (12 * 3600, 3600)
    assert spec["backoffLimit"] == 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["submissionMode"] == "HTTPMode"
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_the_plan_s_queue_and_priority_come_before_the_installation_s(job: Job) -> None:
    settings = copy.deepcopy(SETTINGS)
    settings["cluster"] |= {"queue": "mine", "priority_class": "xstilts-high"}
    other = build(settings, ENVIRONMENT, CONFIG)
    queue = "kueue.x-k8s.io/queue-name"
    assert (job["metadata"]["labels"][queue], other["metadata"]["labels"][queue]) == (
        "xstilts",
        "mine",
    )
    assert pods(job)[1]["spec"]["priorityClassName"] == "xstilts-batch"
    assert pods(other)[1]["spec"]["priorityClassName"] == "xstilts-high"
    free = build(SETTINGS, {**ENVIRONMENT, "XSTILTS_QUEUE": ""}, CONFIG)
    assert queue not in free["metadata"]["labels"]
    assert "suspend" not in free["spec"]


def test_kueue_orders_a_queue_by_the_class_that_the_pods_name(job: Job) -> None:
    """The label names a WorkloadPriorityClass with the name of the PriorityClass; without a queue
    there is no label.
    """
    high = copy.deepcopy(SETTINGS)
    high["cluster"] |= {"queue": "mine", "priority_class": "xstilts-high"}
    label = "kueue.x-k8s.io/priority-class"
    assert job["metadata"]["labels"][label] == "xstilts-batch"
    assert build(high, ENVIRONMENT, CONFIG)["metadata"]["labels"][label] == "xstilts-high"
    assert (
        label
        not in build(SETTINGS, {**ENVIRONMENT, "XSTILTS_QUEUE": ""}, CONFIG)["metadata"]["labels"]
    )
    assert (
        label
        not in build(SETTINGS, {**ENVIRONMENT, "XSTILTS_PRIORITY_CLASS": ""}, CONFIG)["metadata"][
            "labels"
        ]
    )


def test_the_steps_workflow_owns_the_job(job: Job) -> None:
    """Without controller and blockOwnerDeletion, which need rights on the workflow."""
    assert job["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "intermediate-to-xtreme-r-x",
            "uid": "2c3d", "controller": False, "blockOwnerDeletion": False,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "owners",
    [
        [],
        [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "9"}],
        [{"apiVersion": "example.org/v1", "kind": "Workflow", "name": "w", "uid": "9"}],
    ],
)
def test_a_pod_without_a_workflow_owns_the_job_itself(owners: list[Job]) -> None:
    metadata = {**POD["metadata"], "ownerReferences": owners}
    owner = owner_of({"metadata": metadata})
    assert (owner["apiVersion"], owner["kind"], owner["name"], owner["uid"]) == (
        "v1", "Pod", "step-pod", "0b1f",
    )  # fmt: skip


def test_missing_variables_are_named() -> None:
    with pytest.raises(
        InfrastructureError, match="XSTILTS_NAMESPACE, XSTILTS_WORKER_IMAGE not set"
    ):
        build(SETTINGS, {}, CONFIG)


def test_the_ray_it_names_is_the_ray_that_is_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert any(
        re.fullmatch(rf"ray(\[[\w,]+\])?=={re.escape(RAY_VERSION)}", need)
        for need in project["dependencies"]
    )


def test_the_entry_point_survives_a_shell() -> None:
    import shlex

    words = shlex.split(entrypoint({**CONFIG, "group": "it's $HOME"}))
    assert words == [
        "python",
        "-m",
        "components.launch.driver",
        CONFIG["run_uri"],
        "it's $HOME",
        "finetune",
    ]


@given(
    st.text(min_size=1, max_size=90),
    st.text(min_size=1, max_size=90),
    st.sampled_from(["finetune", "score"]),
)
def test_a_name_is_always_one_that_the_operator_takes(run: str, group: str, kind: str) -> None:
    name = name_of(run, group, kind)
    assert len(name) <= LONGEST_NAME
    assert DNS_1035.fullmatch(name)
    assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", label(run))


@given(
    st.lists(
        st.tuples(st.text("ab-", min_size=1), st.text("ab-", min_size=1)),
        min_size=2,
        max_size=2,
        unique=True,
    )
)
def test_two_groups_never_share_a_name(pairs: list[tuple[str, str]]) -> None:
    assert name_of(*pairs[0], "finetune") != name_of(*pairs[1], "finetune")


def test_its_labels_find_it(job: Job) -> None:
    assert job["metadata"]["labels"].items() >= {
        "app.kubernetes.io/part-of": "xstilts", "xstilts.dev/run": "captions-7", "xstilts.dev/group": "llava",
        KIND: "finetune",
    }.items()  # fmt: skip
    assert [pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods(job)] == [
        "ray-head",
        "ray-worker",
    ]
