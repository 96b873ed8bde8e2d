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


def autoscaled(job: Job, **options: Any) -> None:
    cluster(job).update(enableInTreeAutoscaling=True, autoscalerOptions=options)


def deleted_by(job: Job, *rules: tuple[str, Job]) -> None:
    """A RayJob with deletion rules (policy, condition)."""
    made = [{"policy": policy, "condition": condition} for policy, condition in rules]
    job["spec"].update(deletionStrategy={"deletionRules": made})


def old(policy: str) -> Job:
    """A deletion strategy of the time before deletion rules."""
    return {"onSuccess": {"policy": policy}, "onFailure": {"policy": policy}}


PLANTED: dict[str, tuple[Callable[[Job], Any], str]] = {
    "a long name": (lambda j: j["metadata"].update(name="a" * 48), "has 48 characters; at most 47"),
    "a digit first": (lambda j: j["metadata"].update(name="1a"), "not a DNS-1035 label"),
    "a bad label": (lambda j: j["metadata"]["labels"].update(x="a b"), "'a b' is not a label value"),
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
    "a condition of neither status": (
        lambda j: deleted_by(j, ("DeleteSelf", {"ttlSeconds": 1})), "exactly one of jobStatus and jobDeploymentStatus"
    ),
    "a condition of both statuses": (
        lambda j: deleted_by(j, ("DeleteSelf", {"jobStatus": "FAILED", "jobDeploymentStatus": "Failed"})),
        "deletionRules[0].condition: exactly one of",
    ),
    "a rule twice": (
        lambda j: deleted_by(j, *[("DeleteSelf", {"jobStatus": "FAILED"})] * 2), "[1]: duplicate DeleteSelf for jobStatus"
    ),
    "a rule of the past": (
        lambda j: deleted_by(j, ("DeleteSelf", {"jobStatus": "FAILED", "ttlSeconds": -1})), "ttlSeconds: -1 is negative"
    ),
    "the cluster before its workers": (
        lambda j: deleted_by(
            j, ("DeleteCluster", {"jobStatus": "FAILED"}), ("DeleteWorkers", {"jobStatus": "FAILED", "ttlSeconds": 9})
        ),
        "for jobStatus FAILED, DeleteCluster (0 s) comes before DeleteWorkers (9 s)",
    ),
    "workers of an autoscaler deleted": (
        lambda j: (cluster(j).update(enableInTreeAutoscaling=True), deleted_by(j, ("DeleteWorkers", {"jobStatus": "FAILED"}))),
        "DeleteWorkers not with enableInTreeAutoscaling",
    ),
    "another's cluster deleted": (
        lambda j: j["spec"].update(clusterSelector={}, deletionStrategy=old("DeleteCluster"))
        or j["spec"]["clusterSelector"].update({"ray.io/cluster": "x"}),
        "onSuccess.policy: DeleteCluster not with clusterSelector",
    ),
    "nothing deleted, and shut down": (
        lambda j: j["spec"].update(deletionStrategy=old("DeleteNone")), "onFailure.policy: DeleteNone not with shutdown"
    ),
    "a strategy without policy": (
        lambda j: j["spec"].update(deletionStrategy={"onSuccess": {}, "onFailure": {}}), "onSuccess.policy: is required"
    ),
    "no rules beside a policy": (
        lambda j: j["spec"].update(deletionStrategy={**old("DeleteSelf"), "deletionRules": []}), "exclude each other"
    ),
    "half a strategy": (lambda j: j["spec"].update(deletionStrategy={"onSuccess": {}}), "or both onSuccess"),
    "both strategies": (
        lambda j: j["spec"].update(deletionStrategy={"onSuccess": {}, "onFailure": {}, "deletionRules": [{}]}),
        "exclude each other",
    ),
    "no cluster": (lambda j: j["spec"].pop("rayClusterSpec"), "exactly one of rayClusterSpec and clusterSelector"),
    "two clusters": (lambda j: j["spec"].update(clusterSelector={"a": "b"}), "exactly one of rayClusterSpec"),
    "a cluster without name": (lambda j: j["spec"].update(clusterSelector={"a": "b"}), "clusterSelector: ray.io/cluster is missing"),
    "managed by somebody": (lambda j: j["spec"].update(managedBy="me"), "spec.managedBy: 'me'; allowed: ray.io/kuberay"),
    "its cluster managed by somebody": (lambda j: cluster(j).update(managedBy="me"), "spec.rayClusterSpec.managedBy: 'me'"),
    "no YAML": (lambda j: j["spec"].update(runtimeEnvYAML="a: [1"), "spec.runtimeEnvYAML: not valid YAML"),
    "a list of packages": (lambda j: j["spec"].update(runtimeEnvYAML="- torch"), "spec.runtimeEnvYAML: not a mapping"),
    "a path": (lambda j: j["spec"].update(runtimeEnvYAML="env.yaml"), "spec.runtimeEnvYAML: not a mapping"),
    "interactive": (lambda j: j["spec"].update(submissionMode="InteractiveMode", backoffLimit=1), "InteractiveMode"),
    "sidecar": (
        lambda j: j["spec"].update(submissionMode="SidecarMode", submitterPodTemplate={"a": 1}), "not with SidecarMode"
    ),
    "token by the API server": (
        lambda j: cluster(j)["authOptions"].update(enableK8sTokenAuth=True), "not for a RayJob"
    ),
    "token without version": (lambda j: cluster(j).pop("rayVersion"), "2.52.0 or later"),
    "token with old Ray": (lambda j: cluster(j).update(rayVersion="2.51.9"), "2.52.0 or later"),
    "no container": (lambda j: group(j)["template"]["spec"].update(containers=[]), "no containers"),
    "resources twice": (
        lambda j: cluster(j)["headGroupSpec"].update(resources={"CPU": "1"}), "in rayStartParams or in resources, not in both"
    ),
    "labels as a parameter": (lambda j: group(j)["rayStartParams"].update(labels="a=b"), "use the group's labels"),
    "a bad key of a label": (lambda j: j["metadata"]["labels"].update({"a/b/c": "x"}), "'a/b/c' is not a label key"),
    "a bad label of the head": (
        lambda j: cluster(j)["headGroupSpec"].update(labels={"ray.io/zone": "a b"}), "headGroupSpec.labels.ray.io/zone: 'a b'"
    ),
    "a bad key of a group": (lambda j: group(j).update(labels={"-zone": "a"}), "[0].labels: '-zone' is not a label key"),
    "upgraded": (lambda j: cluster(j).update(upgradeStrategy={"type": "Recreate"}), "upgradeStrategy: not for a RayJob"),
    "autoscaler by the head": (
        lambda j: head_env(j).append({"name": "RAY_enable_autoscaler_v2", "value": "1"}),
        "RAY_enable_autoscaler_v2: only with enableInTreeAutoscaling: true",
    ),
    "autoscaler by two": (
        lambda j: (autoscaled(j, version="v2"), head_env(j).append({"name": "RAY_enable_autoscaler_v2", "value": "0"})),
        "RAY_enable_autoscaler_v2: not together with autoscalerOptions.version",
    ),
    "an idle time of the past": (lambda j: autoscaled(j, idleTimeoutSeconds=-1), "idleTimeoutSeconds: -1 is negative"),
    "the operator's command": (
        lambda j: autoscaled(j, env=[{"name": "KUBERAY_GEN_AUTOSCALER_START_CMD"}]), "autoscalerOptions.env: KUBERAY_GEN"
    ),
    "autoscaled pods that start again": (
        lambda j: (autoscaled(j, version="v2"), group(j)["template"]["spec"].update(restartPolicy="Always")),
        "workerGroupSpecs[0]: restartPolicy must be Never with autoscaler v2",
    ),
    "a suspended group": (lambda j: (autoscaled(j), group(j).update(suspend=True)), "[0].suspend: not with enableInTree"),
    "a group's idle time": (lambda j: group(j).update(idleTimeoutSeconds=5), "idleTimeoutSeconds: only with autoscaler"),
    "a group's priority": (lambda j: group(j).update(priority=5), "priority: only with autoscalerOptions.version: v2"),
    "a priority with old Ray": (lambda j: (cluster(j).update(rayVersion="2.55.9"), group(j).update(priority=5)), "2.56.0"),
    "less than none": (lambda j: (autoscaled(j), group(j).pop("maxReplicas"), group(j).update(minReplicas=-1)), "not a valid range"),
    "no least": (lambda j: group(j).pop("minReplicas"), "needs minReplicas and maxReplicas"),
    "least over most": (lambda j: group(j).update(minReplicas=3), "minReplicas 3 and maxReplicas 2 are not a valid range"),
    "redis": (lambda j: head_env(j).append({"name": "RAY_REDIS_ADDRESS", "value": "r"}), "RAY_REDIS_ADDRESS: belongs"),
    "redis twice": (
        lambda j: (cluster(j).update(gcsFaultToleranceOptions={}), head_env(j).append({"name": "RAY_REDIS_ADDRESS"})),
        "RAY_REDIS_ADDRESS: not together with gcsFaultToleranceOptions",
    ),
    "redis by an annotation as well": (
        lambda j: (
            cluster(j).update(gcsFaultToleranceOptions={}), j["metadata"]["annotations"].update({"ray.io/ft-enabled": "true"})
        ),
        "ray.io/ft-enabled: not together with",
    ),
    "a disk for redis": (
        lambda j: cluster(j).update(gcsFaultToleranceOptions={"storage": {"size": "1Gi"}}), "storage: not with the backend redis"
    ),
    "redis user": (lambda j: head_env(j).append({"name": "REDIS_USERNAME", "value": "r"}), "REDIS_USERNAME"),
    "queue, not suspended": (lambda j: j["spec"].pop("suspend"), "needs suspend: true"),
    "queue, autoscaled": (lambda j: cluster(j).update(enableInTreeAutoscaling=True), "not with enableInTreeAuto"),
    "priority without queue": (
        lambda j: j["metadata"]["labels"].pop("kueue.x-k8s.io/queue-name"), "priority-class: only with a queue"
    ),
    "queue, 18 groups": (lambda j: cluster(j)["workerGroupSpecs"].extend([group(j)] * 17), "at most 17"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found(job: Job, name: str) -> None:
    plant, message = PLANTED[name]
    assert problems(job) == []
    plant(job)
    assert any(message in problem for problem in problems(job)), problems(job)


ALLOWED: dict[str, Callable[[Job], Any]] = {
    "no runtime environment": lambda j: j["spec"].update(runtimeEnvYAML=""),
    "an empty one": lambda j: j["spec"].update(runtimeEnvYAML="null  # nothing"),
    "a runtime environment": lambda j: j["spec"].update(runtimeEnvYAML="env_vars: {A: b}\npip: [torch]"),
    "the operator's own name": lambda j: j["spec"].update(managedBy="ray.io/kuberay-operator"),
    "managed by a farther Kueue": lambda j: cluster(j).update(managedBy="kueue.x-k8s.io/multikueue"),
    "the first autoscaler": lambda j: head_env(j).append({"name": "RAY_enable_autoscaler_v2", "value": "0"}),
    "labels": lambda j: group(j).update(labels={"ray.io/zone": "eu-1", "empty": ""}),
    "rules in their order": lambda j: (
        j["metadata"].update(labels={}), [j["spec"].pop(key) for key in ("shutdownAfterJobFinishes", "suspend")],
        j["spec"].pop("ttlSecondsAfterFinished"),
        deleted_by(
            j, ("DeleteWorkers", {"jobStatus": "FAILED"}), ("DeleteCluster", {"jobStatus": "FAILED", "ttlSeconds": 9}),
            ("DeleteSelf", {"jobDeploymentStatus": "Failed", "ttlSeconds": 1}),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ALLOWED)
def test_a_valid_job_is_accepted(job: Job, name: str) -> None:
    ALLOWED[name](job)
    assert problems(job) == []


def test_every_mistake_is_reported_before_anything_is_posted(job: Job) -> None:
    job["spec"].update(backoffLimit=-1, activeDeadlineSeconds=0)
    with pytest.raises(InfrastructureError, match=r"activeDeadlineSeconds.*backoffLimit"):
        checked(job)
