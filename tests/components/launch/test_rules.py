"""Each rule of the operator and of Kueue, with one planted mistake."""

from collections.abc import Callable
from typing import Any

import pytest

from components.launch.rules import checked, problems
from xstilts.errors import InfrastructureError

Job = dict[str, Any]


def cluster(job: Job) -> Job:
    return job["spec"]["rayClusterSpec"]


def group(job: Job) -> Job:
    return cluster(job)["workerGroupSpecs"][0]


def head_env(job: Job) -> list[Job]:
    return cluster(job)["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]


PLANTED: dict[str, tuple[Callable[[Job], Any], str]] = {
    "a long name": (lambda j: j["metadata"].update(name="a" * 48), "has 48 characters; at most 47"),
    "a digit first": (lambda j: j["metadata"].update(name="1a"), "no DNS-1035 label"),
    "a bad label": (lambda j: j["metadata"]["labels"].update(x="a b"), "'a b' is no label value"),
    "suspended for ever": (lambda j: j["spec"].update(shutdownAfterJobFinishes=False), "spec.suspend: only with"),
    "kept without shutdown": (
        lambda j: j["spec"].update(shutdownAfterJobFinishes=False), "ttlSecondsAfterFinished: only with"
    ),
    "deadline 0": (lambda j: j["spec"].update(activeDeadlineSeconds=0), "activeDeadlineSeconds: 0 is not positive"),
    "start 0": (lambda j: j["spec"].update(preRunningDeadlineSeconds=0), "preRunningDeadlineSeconds: 0 is not"),
    "tries -1": (lambda j: j["spec"].update(backoffLimit=-1), "backoffLimit: -1 is negative"),
    "ttl -1": (lambda j: j["spec"].update(ttlSecondsAfterFinished=-1), "ttlSecondsAfterFinished: -1 is negative"),
    "deletion rules": (
        lambda j: j["spec"].update(deletionStrategy={"deletionRules": [{}]}), "deletionRules: not with"
    ),
    "half a strategy": (lambda j: j["spec"].update(deletionStrategy={"onSuccess": {}}), "or both onSuccess"),
    "both strategies": (
        lambda j: j["spec"].update(deletionStrategy={"onSuccess": {}, "onFailure": {}, "deletionRules": [{}]}),
        "exclude each other",
    ),
    "no cluster": (lambda j: j["spec"].pop("rayClusterSpec"), "exactly one of rayClusterSpec and clusterSelector"),
    "two clusters": (lambda j: j["spec"].update(clusterSelector={"a": "b"}), "exactly one of rayClusterSpec"),
    "interactive": (lambda j: j["spec"].update(submissionMode="InteractiveMode", backoffLimit=1), "InteractiveMode"),
    "sidecar": (
        lambda j: j["spec"].update(submissionMode="SidecarMode", submitterPodTemplate={"a": 1}), "not with SidecarMode"
    ),
    "token by the API server": (
        lambda j: cluster(j)["authOptions"].update(enableK8sTokenAuth=True), "not for a RayJob"
    ),
    "token without version": (lambda j: cluster(j).pop("rayVersion"), "2.52.0 or later"),
    "token with old Ray": (lambda j: cluster(j).update(rayVersion="2.51.9"), "2.52.0 or later"),
    "no container": (lambda j: group(j)["template"]["spec"].update(containers=[]), "has no container"),
    "resources twice": (
        lambda j: cluster(j)["headGroupSpec"].update(resources={"CPU": "1"}), "both in rayStartParams and"
    ),
    "labels as a parameter": (lambda j: group(j)["rayStartParams"].update(labels="a=b"), "use the group's labels"),
    "no least": (lambda j: group(j).pop("minReplicas"), "needs minReplicas and maxReplicas"),
    "least over most": (lambda j: group(j).update(minReplicas=3), "minReplicas 3 and maxReplicas 2 are no range"),
    "redis": (lambda j: head_env(j).append({"name": "RAY_REDIS_ADDRESS", "value": "r"}), "RAY_REDIS_ADDRESS: only"),
    "redis user": (lambda j: head_env(j).append({"name": "REDIS_USERNAME", "value": "r"}), "REDIS_USERNAME"),
    "queue, not suspended": (lambda j: j["spec"].pop("suspend"), "must be made suspended"),
    "queue, autoscaled": (lambda j: cluster(j).update(enableInTreeAutoscaling=True), "not with enableInTreeAuto"),
    "priority without queue": (
        lambda j: j["metadata"]["labels"].pop("kueue.x-k8s.io/queue-name"), "priority-class: only with a queue"
    ),
    "queue, 18 groups": (lambda j: cluster(j)["workerGroupSpecs"].extend([group(j)] * 17), "at most 17"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found(job: Job, name: str) -> None:
    plant, said = PLANTED[name]
    assert problems(job) == []
    plant(job)
    assert any(said in problem for problem in problems(job)), problems(job)


def test_every_mistake_is_reported_before_anything_is_posted(job: Job) -> None:
    job["spec"].update(backoffLimit=-1, activeDeadlineSeconds=0)
    with pytest.raises(InfrastructureError, match=r"activeDeadlineSeconds.*backoffLimit"):
        checked(job)
