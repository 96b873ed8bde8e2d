"""What the KubeRay operator (1.7) and Kueue (0.19) reject in a RayJob although the CRD's schema
accepts it.

Sources: KubeRay ray-operator/controllers/ray/utils/validation.go and the CEL rules of its CRD;
Kueue's page on RayJobs. The operator reports such mistakes only in the status of the created
object; these checks run before. Feature gates of the operator are not taken into account.
rules_cluster.py has the rules of the Ray cluster.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import yaml

from components.launch import rules_cluster
from components.launch.rules_cluster import DNS_1035, Job, bad_labels, head_pod
from xstilts.errors import InfrastructureError

MANAGERS = ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")
#: A deletion rule waits for one of these.
CONDITIONS = ("jobStatus", "jobDeploymentStatus")
#: In the order of deletion: none may have a shorter TTL than one before it.
DELETIONS = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
#: Label by which a RayJob selects an existing cluster.
SELECTED = "ray.io/cluster"


def _metadata(job: Job) -> Iterator[str]:
    name = job["metadata"].get("name", "")
    if len(name) > 47:
        yield f"metadata.name: {name!r} has {len(name)} characters; at most 47"
    if not DNS_1035.fullmatch(name):
        yield (
            f"metadata.name: {name!r} is not a DNS-1035 label: lowercase letters, digits and '-', "
            "starting with a letter"
        )
    yield from bad_labels("metadata.labels", job["metadata"].get("labels", {}))


def _managed(job: Job) -> Iterator[str]:
    spec = job["spec"]
    for where, holder in (("spec", spec), ("spec.rayClusterSpec", spec.get("rayClusterSpec", {}))):
        if "managedBy" in holder and holder["managedBy"] not in MANAGERS:
            yield f"{where}.managedBy: {holder['managedBy']!r}; allowed: {', '.join(MANAGERS)}"


def _suspend(job: Job) -> Iterator[str]:
    spec = job["spec"]
    if spec.get("suspend") and not spec.get("shutdownAfterJobFinishes"):
        yield "spec.suspend: only with shutdownAfterJobFinishes: true"
    if spec.get("suspend") and spec.get("clusterSelector"):
        yield "spec.suspend: not with clusterSelector"


def _numbers(job: Job) -> Iterator[str]:
    spec = job["spec"]
    for key in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if key in spec and spec[key] <= 0:
            yield f"spec.{key}: {spec[key]} is not positive"
    for key in ("backoffLimit", "ttlSecondsAfterFinished"):
        if spec.get(key, 0) < 0:
            yield f"spec.{key}: {spec[key]} is negative"


def _deletion(job: Job) -> Iterator[str]:
    spec = job["spec"]
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not spec.get("shutdownAfterJobFinishes"):
        yield "spec.ttlSecondsAfterFinished: only with shutdownAfterJobFinishes: true"
    strategy = spec.get("deletionStrategy")
    if strategy is None:
        return
    at = "spec.deletionStrategy"
    rules, old = (
        strategy.get("deletionRules"),
        [key for key in ("onSuccess", "onFailure") if key in strategy],
    )
    if "deletionRules" in strategy and old:
        yield f"{at}: deletionRules and onSuccess/onFailure exclude each other"
    if not rules and len(old) < 2:
        yield f"{at}: needs deletionRules, or both onSuccess and onFailure"
    if rules and (spec.get("shutdownAfterJobFinishes") or spec.get("ttlSecondsAfterFinished")):
        yield f"{at}.deletionRules: not with shutdownAfterJobFinishes or ttlSecondsAfterFinished"
    yield from _deletion_rules(spec, f"{at}.deletionRules", rules or [])
    for key in old:
        policy = strategy[key].get("policy")
        if policy is None:
            yield f"{at}.{key}.policy: is required"
        if policy == "DeleteNone" and spec.get("shutdownAfterJobFinishes"):
            yield f"{at}.{key}.policy: DeleteNone not with shutdownAfterJobFinishes"
        yield from _policy(spec, f"{at}.{key}", policy)


def _deletion_rules(spec: Job, at: str, rules: list[Job]) -> Iterator[str]:
    seconds: dict[str, dict[str, int]] = {}
    for index, rule in enumerate(rules):
        where, condition, policy = f"{at}[{index}]", rule.get("condition", {}), rule.get("policy")
        keys = [key for key in CONDITIONS if key in condition]
        if len(keys) != 1:
            yield f"{where}.condition: exactly one of {' and '.join(CONDITIONS)}"
            continue
        yield from _policy(spec, where, policy)
        ttl, event = condition.get("ttlSeconds", 0), f"{keys[0]} {condition[keys[0]]}"
        if ttl < 0:
            yield f"{where}.condition.ttlSeconds: {ttl} is negative"
        if policy in seconds.setdefault(event, {}):
            yield f"{where}: duplicate {policy} for {event}"
        seconds[event].setdefault(str(policy), ttl)
    for event, times in seconds.items():
        for first, then in pairwise(policy for policy in DELETIONS if policy in times):
            if times[then] < times[first]:
                yield (
                    f"{at}: for {event}, {then} ({times[then]} s) comes before {first} "
                    f"({times[first]} s)"
                )


def _policy(spec: Job, where: str, policy: str | None) -> Iterator[str]:
    if policy in ("DeleteCluster", "DeleteWorkers") and spec.get("clusterSelector"):
        yield f"{where}.policy: {policy} not with clusterSelector"
    if policy == "DeleteWorkers" and spec.get("rayClusterSpec", {}).get("enableInTreeAutoscaling"):
        yield f"{where}.policy: DeleteWorkers not with enableInTreeAutoscaling"


def _submission(job: Job) -> Iterator[str]:
    spec, mode = job["spec"], job["spec"].get("submissionMode", "K8sJobMode")
    if ("rayClusterSpec" in spec) == bool(spec.get("clusterSelector")):
        yield "spec: exactly one of rayClusterSpec and clusterSelector"
    if spec.get("clusterSelector") and not spec["clusterSelector"].get(SELECTED):
        yield f"spec.clusterSelector: {SELECTED} is missing"
    if spec.get("clusterSelector") and spec.get("backoffLimit", 0) > 0:
        yield "spec.backoffLimit: not with clusterSelector"
    if mode == "InteractiveMode" and spec.get("backoffLimit", 0) > 0:
        yield "spec.backoffLimit: not with InteractiveMode"
    if mode == "SidecarMode":
        if forbidden := [
            key
            for key in ("submitterPodTemplate", "submitterConfig", "clusterSelector")
            if spec.get(key)
        ]:
            yield f"spec.{forbidden[0]}: not with SidecarMode"
        if head_pod(job).get("restartPolicy", "Never") != "Never":
            yield "spec.rayClusterSpec.headGroupSpec: restartPolicy must be Never with SidecarMode"


def _runtime_environment(job: Job) -> Iterator[str]:
    """It must be a YAML mapping; Ray checks the content."""
    try:
        node = yaml.compose(job["spec"].get("runtimeEnvYAML", ""), yaml.SafeLoader)
    except yaml.YAMLError as error:
        yield f"spec.runtimeEnvYAML: not valid YAML: {' '.join(str(error).split())}"
        return
    if not (
        node is None or isinstance(node, yaml.MappingNode) or node.tag == "tag:yaml.org,2002:null"
    ):
        yield "spec.runtimeEnvYAML: not a mapping"


def _kueue(job: Job) -> Iterator[str]:
    labels = job["metadata"].get("labels", {})
    if "kueue.x-k8s.io/queue-name" not in labels:
        if "kueue.x-k8s.io/priority-class" in labels:
            yield (
                "metadata.labels.kueue.x-k8s.io/priority-class: only with a queue; Kueue ignores "
                "it otherwise"
            )
        return
    spec, cluster = job["spec"], job["spec"].get("rayClusterSpec", {})
    if spec.get("clusterSelector"):
        yield "a queue: not with clusterSelector"
    if not spec.get("shutdownAfterJobFinishes"):
        yield "a queue: only with shutdownAfterJobFinishes: true"
    if not spec.get("suspend"):
        yield (
            "a queue: needs suspend: true, or the job starts before it is admitted while Kueue is "
            "down"
        )
    if cluster.get("enableInTreeAutoscaling"):
        yield "a queue: not with enableInTreeAutoscaling"
    if len(cluster.get("workerGroupSpecs", [])) > 17:
        yield "a queue: at most 17 worker groups"


RULES: tuple[Callable[[Job], Iterator[str]], ...] = (
    _metadata,
    _managed,
    _suspend,
    _numbers,
    _deletion,
    _submission,
    _runtime_environment,
    *rules_cluster.RULES,
    _kueue,
)


def problems(job: Job) -> list[str]:
    """Everything that the operator would reject; empty for a valid RayJob."""
    return [problem for rule in RULES for problem in rule(job)]


def checked(job: dict[str, Any]) -> dict[str, Any]:
    """Returns the RayJob. Raises InfrastructureError with all its mistakes."""
    if mistakes := problems(job):
        raise InfrastructureError(f"RayJob {job['metadata'].get('name')}: " + "; ".join(mistakes))
    return job
