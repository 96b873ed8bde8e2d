"""The checks of test_builds find what they are for: one mistake is planted at a time, and must
be named.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.k8s.manifests import Document, Schemas, named, rule_errors, schema_errors

Plant = Callable[[list[Document]], Any]


def _container(documents: list[Document]) -> Document:
    pod = _pod(documents)
    container: Document = pod["spec"]["containers"][0]
    return container


def _pod(documents: list[Document]) -> Document:
    template: Document = named(documents, "CronJob", "xstilts-gc")["spec"]["jobTemplate"]["spec"][
        "template"
    ]
    return template


def _spec(kind: str, name: str) -> Callable[[list[Document]], Document]:
    def get(documents: list[Document]) -> Document:
        spec: Document = named(documents, kind, name)["spec"]
        return spec

    return get


QUOTA, LIMITS = _spec("ResourceQuota", "xstilts"), _spec("LimitRange", "xstilts-default-requests")
DENY, RAY = _spec("NetworkPolicy", "xstilts-default-deny"), _spec("NetworkPolicy", "xstilts-ray")
QUEUE, FLAVOR = _spec("ClusterQueue", "xstilts"), _spec("ResourceFlavor", "xstilts-gpu")

AGAINST_THE_API: dict[str, tuple[Plant, str]] = {
    "a misspelt field": (lambda d: _container(d).update(resource={}), "'resource' was unexpected"),
    "a wrong type": (
        lambda d: named(d, "CronJob", "xstilts-gc")["spec"].update(failedJobsHistoryLimit="3"),
        "integer",
    ),
    "a nested typo": (
        lambda d: DENY(d)["podSelector"].update(matchLabel={}),
        "'matchLabel' was unexpected",
    ),
    "an unknown port key": (
        lambda d: RAY(d)["ingress"][0].update(port=[1]),
        "'port' was unexpected",
    ),
    "a missing required field": (
        lambda d: named(d, "RoleBinding", "xstilts-gc").pop("roleRef"),
        "'roleRef'",
    ),
    "a kind that is gone": (
        lambda d: d[0].update(apiVersion="batch/v1beta1", kind="CronJob"),
        "has no CronJob",
    ),
    "a number as a config value": (
        lambda d: named(d, "ConfigMap", "xstilts-config")["data"].update(PORT=1),
        "1 is not of type 'string'",
    ),
}
AGAINST_THE_CRDS: dict[str, tuple[Plant, str]] = {
    "a quota of a wrong type": (
        lambda d: QUEUE(d)["resourceGroups"][0]["flavors"][0]["resources"][0].update(
            nominalQuota=[1]
        ),
        "is not valid under any of the given schemas",
    ),
    "a misspelt field of a queue": (
        lambda d: QUEUE(d).update(namespaceselector={}),
        "'namespaceselector' was unexp",
    ),
    "a nested typo of a flavor": (
        lambda d: FLAVOR(d)["tolerations"][0].update(effects=""),
        "'effects' was unexpected",
    ),
    "a value outside the enumeration": (
        lambda d: QUEUE(d)["preemption"].update(withinClusterQueue="No"),
        "'No' is not",
    ),
}
AGAINST_THE_RULES: dict[str, tuple[Plant, str]] = {
    "a namespace in the base": (
        lambda d: d[0]["metadata"].update(namespace="kubeflow"),
        "namespace kubeflow",
    ),
    "a missing label": (lambda d: d[0]["metadata"]["labels"].clear(), "lacks the label"),
    "a namespace on what has none": (
        lambda d: named(d, "PriorityClass", "xstilts-high")["metadata"].update(namespace="x"),
        "is cluster-wide",
    ),
    "a secret": (
        lambda d: d.append({**copy.deepcopy(d[0]), "kind": "Secret"}),
        "secrets do not stand",
    ),
    "a policy on every pod": (
        lambda d: DENY(d).update(podSelector={}),
        "selects pods that are not ours",
    ),
    "a limit on every pod": (
        lambda d: LIMITS(d)["limits"][0].update(default={"memory": "1Gi"}),
        "limits pods that",
    ),
    "a quota on every pod": (
        lambda d: QUOTA(d).pop("scopeSelector"),
        "counts pods that are not ours",
    ),
    "a star in a role": (
        lambda d: named(d, "Role", "xstilts-gc")["rules"][0].update(verbs=["*"]),
        "a star grants",
    ),
    "every secret": (
        lambda d: named(d, "Role", "xstilts-kfp-run")["rules"][3].pop("resourceNames"),
        "by name only",
    ),
    "root": (lambda d: _pod(d)["spec"]["securityContext"].update(runAsUser=0), "runs as root"),
    "no word on root": (
        lambda d: _pod(d)["spec"]["securityContext"].pop("runAsNonRoot"),
        "may run as root",
    ),
    "no seccomp": (
        lambda d: _pod(d)["spec"]["securityContext"].pop("seccompProfile"),
        "no seccomp profile",
    ),
    "privilege": (
        lambda d: _container(d)["securityContext"].update(privileged=True),
        "is privileged",
    ),
    "escalation": (
        lambda d: _container(d)["securityContext"].pop("allowPrivilegeEscalation"),
        "may gain privileges",
    ),
    "capabilities": (
        lambda d: _container(d)["securityContext"].pop("capabilities"),
        "keeps capabilities",
    ),
    "an added capability": (
        lambda d: _container(d)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
        "adds capabilities ['SYS_ADMIN']",
    ),
    "the host's network": (
        lambda d: _pod(d)["spec"].update(hostNetwork=True),
        "hostNetwork is set",
    ),
    "a folder of the host": (
        lambda d: _pod(d)["spec"]["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        "volume x is a hostPath",
    ),
    "a host port": (
        lambda d: _container(d).update(ports=[{"containerPort": 1, "hostPort": 1}]),
        "a host port",
    ),
    "no limits": (lambda d: _container(d)["resources"].pop("limits"), "has no limits of memory"),
    "no request": (
        lambda d: _container(d)["resources"]["requests"].pop("cpu"),
        "has no requests of cpu",
    ),
    "an image that drifts": (
        lambda d: _container(d).update(image="xstilts/finetune:latest"),
        "neither a tag",
    ),
    "a pod that no policy covers": (
        lambda d: _pod(d)["metadata"]["labels"].clear(),
        "no policy covers it",
    ),
}


def _planted(documents: list[Document], plant: Plant) -> list[Document]:
    """The documents that the mistake changed."""
    mutated = copy.deepcopy(documents)
    plant(mutated)
    return [after for after, before in zip(mutated, documents, strict=True) if after != before]


@pytest.mark.parametrize("mistake", AGAINST_THE_API)
def test_a_mistake_against_the_api_is_found(
    builds: dict[str, list[Document]], mistake: str
) -> None:
    plant, message = AGAINST_THE_API[mistake]
    assert message in "\n".join(
        e for changed in _planted(builds["base"], plant) for e in schema_errors(changed, {})
    )


@pytest.mark.parametrize("mistake", AGAINST_THE_CRDS)
def test_a_mistake_against_a_crd_is_found(
    builds: dict[str, list[Document]], kueue_crds: Schemas, mistake: str
) -> None:
    plant, message = AGAINST_THE_CRDS[mistake]
    changed = _planted(builds["queue"], plant)
    assert message in "\n".join(
        error for document in changed for error in schema_errors(document, kueue_crds)
    )


@pytest.mark.parametrize("mistake", AGAINST_THE_RULES)
def test_a_mistake_against_our_rules_is_found(
    builds: dict[str, list[Document]], mistake: str
) -> None:
    plant, message = AGAINST_THE_RULES[mistake]
    documents = copy.deepcopy(builds["base"])
    plant(documents)
    assert message in "\n".join(rule_errors(documents, None))
