"""What the manifests grant, name and open is what the code that runs there uses: names are read
from its constants.
"""

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from components.images import reference
from components.launch import rayjob
from components.launch.doctor import RIGHTS
from components.launch.rules import problems as operator_problems
from pipelines import cluster_settings
from tests.k8s.manifests import (
    K8S,
    ROOT,
    Document,
    Schemas,
    named,
    pod_rule_errors,
    pod_security_errors,
    pod_templates,
    schema_errors,
)
from tests.k8s.reach import End, reaches
from xstilts.plan.load import load_plan

Builds = dict[str, list[Document]]
PLAN = load_plan((ROOT / "pipelines" / "plans" / "kind.yaml").read_text())
CONFIG = {"run_uri": "s3://xstilts/store/runs/kind-1", "group": "tiny-llava", "kind": "finetune"}


def _job(documents: list[Document], resources: Document | None = None) -> Document:
    """The RayJob that the launcher makes in a step that is set up for this build: kind's, or
    one of these resources.
    """
    environment = {
        **named(documents, "ConfigMap", "xstilts-config")["data"],
        "XSTILTS_NAMESPACE": "kubeflow", "XSTILTS_POD_NAME": "step", "XSTILTS_POD_UID": "1",
        "XSTILTS_WORKER_IMAGE": reference("finetune", "worker"),
    }  # fmt: skip
    return rayjob.build(resources or PLAN.resources.model_dump(mode="json"), environment, CONFIG)


@pytest.mark.parametrize("name", ["base", "kind", "gpu"])
def test_the_configuration_s_keys_are_those_that_steps_read(builds: Builds, name: str) -> None:
    assert set(named(builds[name], "ConfigMap", "xstilts-config")["data"]) <= set(
        cluster_settings.CONFIGURATION
    )


def test_names_are_those_of_the_pipeline_s_settings(builds: Builds) -> None:
    settings = cluster_settings.ClusterSettings()
    assert named(builds["base"], "ConfigMap", settings.config_map)
    assert named(builds["base"], "ServiceAccount", settings.service_account)
    container = _gc(builds["base"])["containers"][0]
    assert {"secretRef": {"name": settings.secret, "optional": True}} in container["envFrom"]
    for script in (K8S / "kind" / "s3.sh", K8S / "guide" / "keys.sh"):
        text = script.read_text()
        assert settings.secret in text
        assert all(key in text for key in cluster_settings.CREDENTIALS)


def test_steps_carry_the_labels_that_policies_select() -> None:
    assert cluster_settings.LABELS == {
        "app.kubernetes.io/part-of": "xstilts",
        "app.kubernetes.io/component": "step",
    }


def test_the_clean_up_knows_of_itself_what_a_step_does(builds: Builds) -> None:
    env = {
        e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"]
        for e in _gc(builds["base"])["containers"][0]["env"]
    }
    assert env.items() <= cluster_settings.FIELDS.items()
    assert {"XSTILTS_NAMESPACE", "XSTILTS_POD_NAME", "XSTILTS_POD_UID"} == set(env)


def test_the_clean_up_runs_a_module_that_is_there(builds: Builds) -> None:
    container = _gc(builds["base"])["containers"][0]
    assert container["command"] == ["python", "-m", "components.launch.gc"]
    assert "__main__" in (ROOT / "components" / "launch" / "gc.py").read_text()


def test_the_clean_up_runs_in_finetune_s_image(builds: Builds) -> None:
    image = _gc(builds["base"])["containers"][0]["image"]
    assert image.partition(":")[0].rpartition("/")[2] == "finetune-step"


@pytest.mark.parametrize("name", ["kind", "gpu"])
def test_ray_pods_are_restricted_labelled_and_bounded(builds: Builds, name: str) -> None:
    templates = dict(pod_templates(_job(builds[name])))
    assert len(templates) == 2
    for place, template in templates.items():
        assert list(pod_security_errors(place, template)) == []
        assert list(pod_rule_errors(place, template)) == []


def test_the_rayjob_of_the_kind_plan_is_valid(builds: Builds, ray_crds: Schemas) -> None:
    assert list(schema_errors(_job(builds["kind"]), ray_crds)) == []
    assert list(operator_problems(_job(builds["kind"]))) == []


def test_a_mistake_in_a_rayjob_is_found(builds: Builds, ray_crds: Schemas) -> None:
    job = _job(builds["kind"])
    job["spec"]["shutdownAfterJobFinish"] = True
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["minReplicas"] = "one"
    found = "\n".join(schema_errors(job, ray_crds))
    assert "'shutdownAfterJobFinish' was unexpected" in found
    assert "'one' is not of type 'integer'" in found


def test_ray_pods_use_the_account_and_priority_of_the_base(builds: Builds) -> None:
    for _, template in pod_templates(_job(builds["kind"])):
        assert named(builds["kind"], "ServiceAccount", template["spec"]["serviceAccountName"])
        assert named(builds["kind"], "PriorityClass", template["spec"]["priorityClassName"])


def test_ray_pods_of_the_kind_plan_find_nodes_there(builds: Builds) -> None:
    nodes = yaml.safe_load((K8S / "kind" / "cluster.yaml").read_text())["nodes"]
    assert [node["role"] for node in nodes] == ["control-plane", "worker", "worker"]
    for _, template in pod_templates(_job(builds["kind"])):
        wanted = template["spec"].get("nodeSelector", {}).items()
        assert sum(wanted <= node.get("labels", {}).items() for node in nodes) >= min(
            2, PLAN.resources.workers
        )


def test_the_quota_of_kind_holds_the_plan_s_group_and_the_clean_up(builds: Builds) -> None:
    hard = named(builds["kind"], "ResourceQuota", "xstilts")["spec"]["hard"]
    job = _job(builds["kind"])["spec"]["rayClusterSpec"]
    (group,) = job["workerGroupSpecs"]
    pods = [
        job["headGroupSpec"]["template"],
        *[group["template"]] * group["replicas"],
        {"spec": _gc(builds["kind"])},
    ]
    requests = [pod["spec"]["containers"][0]["resources"]["requests"] for pod in pods]
    assert len(pods) <= int(hard["pods"])
    assert sum(_amount(r["cpu"]) for r in requests) <= _amount(hard["requests.cpu"])
    assert sum(_amount(r["memory"]) for r in requests) <= _amount(hard["requests.memory"])


def test_the_queue_covers_every_resource_of_a_rayjob(builds: Builds) -> None:
    job = _job(builds["gpu"])
    assert job["metadata"]["labels"][rayjob.QUEUE] == "xstilts"
    (group,) = named(builds["queue"], "ClusterQueue", "xstilts")["spec"]["resourceGroups"]
    for _, template in pod_templates(job):
        asked = template["spec"]["containers"][0]["resources"]["requests"]
        assert set(asked) <= set(group["coveredResources"])


@pytest.mark.parametrize("plan", ["gpu", "modality", "phang-2020"])
def test_a_plan_of_the_guide_fits_the_queue_the_quota_and_the_pool(
    builds: Builds, plan: str
) -> None:
    resources = load_plan((ROOT / "pipelines" / "plans" / f"{plan}.yaml").read_text()).resources
    job = _job(builds["gpu"], resources.model_dump(mode="json"))["spec"]["rayClusterSpec"]
    (group,) = job["workerGroupSpecs"]
    pods = [job["headGroupSpec"]["template"], *[group["template"]] * group["replicas"]]
    requests = [pod["spec"]["containers"][0]["resources"]["requests"] for pod in pods]
    assert group["template"]["spec"]["nodeSelector"] == {"xstilts.dev/pool": "gpu"}
    assert sum(_amount(r.get("nvidia.com/gpu", "0")) for r in requests) == resources.workers
    (covered,) = named(builds["queue"], "ClusterQueue", "xstilts")["spec"]["resourceGroups"]
    (gpus,) = [flavor for flavor in covered["flavors"] if flavor["name"] == "xstilts-gpu"]
    nominal = {one["name"]: _amount(str(one["nominalQuota"])) for one in gpus["resources"]}
    hard = named(builds["gpu"], "ResourceQuota", "xstilts")["spec"]["hard"]
    for name, most in nominal.items():
        asked = sum(_amount(r.get(name, "0")) for r in requests)
        assert asked <= most
        assert asked <= _amount(hard.get(f"requests.{name}", "1000Ti"))


def test_policies_let_the_launcher_s_pods_work(builds: Builds) -> None:
    """Labels as the launcher sets them; KubeRay adds its own."""
    templates = dict(pod_templates(_job(builds["kind"])))
    head, worker = (End(t["metadata"]["labels"]) for t in templates.values())
    policies = [d for d in builds["kind"] if d["kind"] == "NetworkPolicy"]
    operator = End({"app.kubernetes.io/component": "kuberay-operator"}, "default")
    assert reaches(policies, operator, head, 8265)
    assert reaches(policies, worker, head, 6379)
    assert reaches(policies, head, worker, 30000)
    assert reaches(policies, worker, End({"app": "seaweedfs"}), 8333)
    assert not reaches(policies, worker, End(None, address="10.0.0.1"), 6443)


def test_kind_s_settings_are_settings_of_the_pipeline() -> None:
    settings = cluster_settings.load_settings(K8S / "kind" / "settings.yaml")
    assert set(settings.tasks) == set(cluster_settings.NEEDS)
    most = max(_amount(needs.memory) for needs in settings.tasks.values())
    assert most <= _amount("2Gi")


#: What a method of the S3 client needs (Amazon S3: Actions, resources, and condition keys).
ACTIONS = {
    "list_objects_v2": {"s3:ListBucket"},
    "head_object": {"s3:GetObject"},
    "get_object": {"s3:GetObject"},
    "download_file": {"s3:GetObject"},
    "put_object": {"s3:PutObject"},
    "upload_file": {"s3:PutObject", "s3:AbortMultipartUpload"},
    "delete_object": {"s3:DeleteObject"},
}


def _methods() -> Iterator[str]:
    """Methods of the S3 client that the store calls."""
    for file in sorted((ROOT / "xstilts" / "store").glob("*.py")):
        if file.name == "server.py":  # the embedded server's own client
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
                if name == "client":
                    paginated = node.func.attr == "get_paginator"
                    yield str(ast.literal_eval(node.args[0])) if paginated else node.func.attr


def test_the_s3_policy_grants_what_the_store_calls_and_no_more() -> None:
    policy = yaml.safe_load((K8S / "s3" / "policy.json").read_text())
    granted = {action for statement in policy["Statement"] for action in statement["Action"]}
    called = set(_methods())
    assert called
    assert granted == {action for method in called for action in ACTIONS[method]}


def test_the_s3_policy_reaches_one_bucket_s_two_prefixes() -> None:
    policy = yaml.safe_load((K8S / "s3" / "policy.json").read_text())
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        for resource in statement["Resource"]:
            if statement["Action"] == ["s3:ListBucket"]:
                assert resource == "arn:aws:s3:::BUCKET"
                assert statement["Condition"]["StringLike"]["s3:prefix"] == ["PREFIX/*", "MIRROR/*"]
            else:
                assert re.fullmatch(r"arn:aws:s3:::BUCKET/(PREFIX|MIRROR)/\*", resource)
            if "MIRROR" in resource:
                assert statement["Action"] == ["s3:GetObject"]


#: What the launcher and the clean-up do (components/launch), and no more. KFP's own containers: Role xstilts-kfp-run.
STEP = {
    *(("rayjobs", verb) for verb in ("create", "get", "patch", "delete")),
    ("pods", "get"), ("pods", "list"), ("events", "list"), ("workloads", "list"),
}  # fmt: skip
GC = {("rayjobs", "list"), ("rayjobs", "delete")}


def test_roles_grant_what_the_code_does_and_nothing_else(builds: Builds) -> None:
    assert _granted(builds["base"], "xstilts-step", ["xstilts-step"]) == STEP
    assert _granted(builds["base"], "xstilts-gc") == GC


def test_doctor_checks_the_rights_that_the_roles_grant() -> None:
    checked = {
        account: {(resource, verb) for _, resource, verbs in rights for verb in verbs}
        for account, rights in RIGHTS.items()
    }
    assert checked == {"xstilts-step": STEP, "xstilts-gc": GC}


def _granted(
    documents: list[Document], account: str, roles: list[str] | None = None
) -> set[tuple[str, str]]:
    bound = [
        d["roleRef"]["name"]
        for d in documents
        if d["kind"] == "RoleBinding" and account in {subject["name"] for subject in d["subjects"]}
    ]
    bound = [name for name in bound if roles is None or name in roles]
    rules = [rule for name in bound for rule in named(documents, "Role", name)["rules"]]
    return {
        (resource, verb)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _gc(documents: list[Document]) -> Any:
    return named(documents, "CronJob", "xstilts-gc")["spec"]["jobTemplate"]["spec"]["template"][
        "spec"
    ]


def _amount(quantity: str) -> float:
    for suffix, factor in {"Ti": 2**40, "Gi": 2**30, "Mi": 2**20, "m": 1e-3}.items():
        if quantity.endswith(suffix):
            return float(quantity.removesuffix(suffix)) * factor
    return float(quantity)
