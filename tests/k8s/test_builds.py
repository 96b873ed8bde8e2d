"""Every build is what the golden files say, valid to the letter of the API, and within our own
rules.
"""

import os
import re
from pathlib import Path

import pytest

from pipelines.cluster_settings import LABELS
from tests.k8s.conftest import BUILDS, COMPONENTS
from tests.k8s.manifests import Document, Schemas, named, pod_templates, rule_errors, schema_errors

NAMESPACES: dict[str, str | None] = {
    "base": None,
    "gpu": None,
    "queue": None,
    "step-priority": None,
    "kind": "kubeflow",
} | dict.fromkeys(COMPONENTS, "team-a")
#: Of Ray pods, in the quota and in Kueue's queue; lowest first.
RAY_CLASSES = ["xstilts-batch", "xstilts-high"]
GOLDEN = Path(__file__).parent / "golden"
Builds = dict[str, list[Document]]


@pytest.mark.parametrize("name", BUILDS)
def test_a_build_is_its_golden_file(built: dict[str, str], name: str) -> None:
    """After a change that is meant: XSTILTS_GOLDEN=write pytest tests/k8s, and read the
    difference.
    """
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("XSTILTS_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(built[name], encoding="utf-8")
    assert built[name] == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMESPACES)
def test_builds_follow_the_rules(builds: Builds, name: str) -> None:
    assert list(rule_errors(builds[name], NAMESPACES[name])) == []


@pytest.mark.parametrize("name", ["base", "kind", "irsa", "static-keys", "prometheus"])
def test_built_in_kinds_are_valid(builds: Builds, name: str) -> None:
    assert [error for document in builds[name] for error in schema_errors(document, {})] == []


def test_the_step_priority_is_valid_where_kubernetes_has_its_kinds(builds: Builds) -> None:
    errors = [e for document in builds["step-priority"] for e in schema_errors(document, {})]
    assert [error for error in errors if "Kubernetes 1.33 has no Mutating" not in error] == []


@pytest.mark.parametrize("name", ["gpu", "all", "queue"])
def test_builds_with_a_queue_are_valid(builds: Builds, kueue_crds: Schemas, name: str) -> None:
    assert [
        error for document in builds[name] for error in schema_errors(document, kueue_crds)
    ] == []


@pytest.mark.parametrize("name", NAMESPACES)
def test_bindings_name_accounts_of_their_own_namespace(builds: Builds, name: str) -> None:
    documents = builds[name]
    accounts = {d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount"}
    roles = {d["metadata"]["name"] for d in documents if d["kind"] == "Role"}
    for binding in (d for d in documents if d["kind"] == "RoleBinding"):
        assert binding["roleRef"]["name"] in roles
        for subject in binding["subjects"]:
            assert subject["name"] in accounts
            assert subject.get("namespace") == NAMESPACES[name]


@pytest.mark.parametrize("name", sorted(NAMESPACES.keys() - {"queue", "step-priority"}))
def test_pods_use_accounts_and_priorities_that_are_there(builds: Builds, name: str) -> None:
    documents = builds[name]
    there = {(d["kind"], d["metadata"]["name"]) for d in documents}
    templates = [template for d in documents for _, template in pod_templates(d)]
    assert templates
    for template in templates:
        assert ("ServiceAccount", template["spec"]["serviceAccountName"]) in there
        assert ("PriorityClass", template["spec"]["priorityClassName"]) in there


def test_ray_pods_have_no_rights_in_the_api(builds: Builds) -> None:
    account = named(builds["base"], "ServiceAccount", "xstilts-ray")
    assert account["automountServiceAccountToken"] is False
    bindings = [d for d in builds["base"] if d["kind"] == "RoleBinding"]
    assert "xstilts-ray" not in {subject["name"] for d in bindings for subject in d["subjects"]}


def test_the_quota_counts_our_priority_classes_and_no_other(builds: Builds) -> None:
    (selector,) = named(builds["base"], "ResourceQuota", "xstilts")["spec"]["scopeSelector"][
        "matchExpressions"
    ]
    assert selector == {"scopeName": "PriorityClass", "operator": "In", "values": RAY_CLASSES}


def test_the_clean_up_runs_when_the_quota_is_full(builds: Builds) -> None:
    """It has a class outside the quota, above the Ray pods, and requests next to nothing."""
    spec = _gc(builds["base"])
    assert spec["priorityClassName"] not in RAY_CLASSES
    values = {d["metadata"]["name"]: d["value"] for d in _classes(builds)}
    assert values[spec["priorityClassName"]] > max(values[name] for name in RAY_CLASSES)
    assert spec["containers"][0]["resources"]["requests"] == {"cpu": "10m", "memory": "64Mi"}


def test_steps_get_a_class_above_the_ray_pods_and_the_default(builds: Builds) -> None:
    policy = named(builds["step-priority"], "MutatingAdmissionPolicy", "xstilts-step-priority")[
        "spec"
    ]
    assert policy["matchConstraints"]["objectSelector"]["matchLabels"] == LABELS
    [name] = re.findall(
        r'"/spec/priorityClassName", value: "([^"]+)"',
        policy["mutations"][0]["jsonPatch"]["expression"],
    )
    values = {d["metadata"]["name"]: d["value"] for d in _classes(builds)}
    assert name not in RAY_CLASSES
    assert values[name] > max(0, *(values[ray] for ray in RAY_CLASSES))


def test_each_priority_class_has_a_place_in_the_queue_of_its_name_and_order(builds: Builds) -> None:
    """Kueue never admits a job that names a WorkloadPriorityClass which is not there."""
    order = {
        kind: [
            d["metadata"]["name"]
            for d in sorted((d for d in builds[b] if d["kind"] == kind), key=lambda d: d["value"])
            if kind == "WorkloadPriorityClass" or d["metadata"]["name"] in RAY_CLASSES
        ]
        for b, kind in (("base", "PriorityClass"), ("queue", "WorkloadPriorityClass"))
    }
    assert order["WorkloadPriorityClass"] == order["PriorityClass"] == RAY_CLASSES


def test_no_priority_class_of_ours_evicts_or_is_the_default(builds: Builds) -> None:
    for priority in _classes(builds):
        assert priority["preemptionPolicy"] == "Never"
        assert not priority.get("globalDefault")
        assert priority["value"] <= 0 or priority["metadata"]["name"] not in RAY_CLASSES


def _classes(builds: Builds) -> list[Document]:
    return [d for d in builds["base"] if d["kind"] == "PriorityClass"]


def test_roles_with_irsa_reach_every_account_and_no_key_stands_beside_them(builds: Builds) -> None:
    accounts = [d for d in builds["irsa"] if d["kind"] == "ServiceAccount"]
    assert len(accounts) == 3
    assert all("eks.amazonaws.com/role-arn" in d["metadata"]["annotations"] for d in accounts)
    (container,) = _gc(builds["irsa"])["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": "xstilts-config"}}]


def test_with_static_keys_the_secret_is_required(builds: Builds) -> None:
    (container,) = _gc(builds["static-keys"])["containers"]
    assert {"secretRef": {"name": "xstilts-s3", "optional": False}} in container["envFrom"]


def test_the_queue_covers_what_pods_ask_for(builds: Builds) -> None:
    (group,) = named(builds["queue"], "ClusterQueue", "xstilts")["spec"]["resourceGroups"]
    assert set(group["coveredResources"]) == {
        "cpu",
        "memory",
        "ephemeral-storage",
        "nvidia.com/gpu",
    }
    flavors = {d["metadata"]["name"] for d in builds["queue"] if d["kind"] == "ResourceFlavor"}
    assert {flavor["name"] for flavor in group["flavors"]} == flavors
    for flavor in group["flavors"]:
        assert [resource["name"] for resource in flavor["resources"]] == group["coveredResources"]


def test_with_a_queue_the_configuration_names_it(builds: Builds) -> None:
    queue = named(builds["gpu"], "LocalQueue", "xstilts")["spec"]["clusterQueue"]
    assert named(builds["queue"], "ClusterQueue", queue)
    assert named(builds["gpu"], "ConfigMap", "xstilts-config")["data"]["XSTILTS_QUEUE"] == "xstilts"
    assert named(builds["kind"], "ConfigMap", "xstilts-config")["data"]["XSTILTS_QUEUE"] == ""


def _gc(documents: list[Document]) -> Document:
    spec: Document = named(documents, "CronJob", "xstilts-gc")["spec"]["jobTemplate"]["spec"][
        "template"
    ]["spec"]
    return spec
