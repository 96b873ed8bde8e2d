"""Each account may do what the code does, and nothing else."""

import json
import re
from collections.abc import Iterable

import pytest

from tests.cluster.kube import Cluster
from tests.k8s.manifests import Document

#: What components/launch does with the account of a step.
LAUNCHER = {
    *((verb, "rayjobs.ray.io") for verb in ("create", "get", "patch", "delete")),
    ("get", "pods"), ("list", "pods"), ("list", "events"), ("list", "workloads.kueue.x-k8s.io"),
}  # fmt: skip
#: What KFP's launcher and Argo's executor do in the same pod.
KFP = {
    ("create", "workflowtaskresults.argoproj.io"), ("patch", "workflowtaskresults.argoproj.io"),
    ("get", "pods"),
    ("get", "configmaps/kfp-launcher"), ("get", "configmaps/xstilts-config"),
    ("get", "secrets/mlpipeline-minio-artifact"), ("get", "secrets/xstilts-s3"),
}  # fmt: skip
RIGHTS = {
    "xstilts-step": LAUNCHER | KFP,
    "xstilts-gc": {("list", "rayjobs.ray.io"), ("delete", "rayjobs.ray.io")},
    "xstilts-ray": set(),
}
SUBRESOURCES = ("exec", "status")
DENIED = [
    ("create", "pods"), ("delete", "pods"), ("create", "pods/exec"), ("list", "secrets"), ("get", "secrets/other"),
    ("watch", "rayjobs.ray.io"), ("update", "rayjobs.ray.io"), ("get", "rayclusters.ray.io"), ("list", "nodes"),
    ("create", "rolebindings.rbac.authorization.k8s.io"), ("impersonate", "serviceaccounts"),
]  # fmt: skip


def _allowed(
    cluster: Cluster, namespace: str, account: str, rights: Iterable[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Those of the rights that the API server grants, for kinds that it serves or not."""
    rights = sorted(rights)
    if not rights:
        return set()
    reviews = [_review(namespace, account, *right) for right in rights]
    text = "\n---\n".join(json.dumps(review) for review in reviews)
    path = r'{.status.allowed}{"\n"}'
    answers = cluster.run("create", "-f", "-", "-o", f"jsonpath={path}", stdin=text).stdout.split()
    return {right for right, answer in zip(rights, answers, strict=True) if answer == "true"}


def _review(namespace: str, account: str, verb: str, what: str) -> Document:
    kind, _, name = what.partition("/")
    resource, _, group = kind.partition(".")
    attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
    attributes |= {"subresource": name} if name in SUBRESOURCES else {"name": name}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{namespace}:{account}",
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": attributes,
        },
    }


@pytest.mark.parametrize("account", RIGHTS)
def test_an_account_may_do_what_its_code_does(cluster: Cluster, home: str, account: str) -> None:
    assert _allowed(cluster, home, account, RIGHTS[account]) == RIGHTS[account]


@pytest.mark.parametrize("account", RIGHTS)
def test_an_account_may_do_nothing_else(cluster: Cluster, home: str, account: str) -> None:
    """The API server's own list of the account's rules, without those of every account."""
    user = f"system:serviceaccount:{home}:{account}"
    listed = cluster.run("-n", home, "auth", "can-i", "--list", "--as", user).stdout
    granted = set()
    for line in listed.splitlines()[1:]:
        resource, verbs = line.partition(" ")[0], line.rpartition("[")[2].rstrip("]").split()
        names = re.findall(r"\[([^\]]*)\]", line)[1].split()
        if not resource or resource.startswith("["):
            continue  # paths that are no resources, such as /healthz
        granted |= {
            (verb, f"{resource}/{name}" if name else resource)
            for verb in verbs
            for name in names or [""]
        }
    granted = {right for right in granted if "authentication" not in right[1]}
    granted = {right for right in granted if "authorization.k8s.io" not in right[1]}
    assert granted == RIGHTS[account]


@pytest.mark.parametrize("account", RIGHTS)
def test_an_account_is_denied_what_would_give_it_more(
    cluster: Cluster, home: str, account: str
) -> None:
    assert _allowed(cluster, home, account, DENIED) == set()
