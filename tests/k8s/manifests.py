"""Kustomize builds, and their validation without a cluster: strict schemas, our own rules,
PodSecurity `restricted`.

Built-in kinds are checked against the strict schemas of kubernetes-validate. Kinds of KubeRay and
Kueue are checked against their CRDs (made strict: an unknown field is an error) where those lie
beside the checkout.
"""

import copy
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from kubernetes_validate.utils import all_versions, schema_contents
from referencing import Registry, Resource

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
CRDS = ROOT.parent / "shared" / "crds"
#: What kind runs and the newest that kubernetes-validate knows.
VERSIONS = ("1.33", "1.37")
Document = dict[str, Any]
Schemas = Mapping[tuple[str, str], Document]

OURS = {"app.kubernetes.io/part-of": "xstilts"}
CLUSTER_WIDE = {
    "PriorityClass", "ResourceFlavor", "ClusterQueue", "WorkloadPriorityClass", "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
}  # fmt: skip

#: The part of a PodMonitor that we use, written down by hand from the Prometheus operator's API
#: (monitoring/v1).
POD_MONITOR: Document = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": "PodMonitor"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["selector", "podMetricsEndpoints"],
            "properties": {
                "jobLabel": {"type": "string"},
                "selector": {"type": "object"},
                "podTargetLabels": {"type": "array", "items": {"type": "string"}},
                "podMetricsEndpoints": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"port": {"type": "string"}, "interval": {"type": "string"}},
                    },
                },
            },
        },
    },
}


def tool(name: str) -> str:
    """The path of an installed tool: beside the interpreter, else on the PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise FileNotFoundError(
            f"{name} is not installed; `make setup` installs it from requirements/"
        )
    return found


def kustomize(folder: Path) -> str:
    """The build of a folder as YAML. CalledProcessError: it cannot be built; its stderr says
    why.
    """
    # No proxy and no git: what needs the network fails instead of fetching.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "GIT_ALLOW_PROTOCOL": "none",
    }
    command = [tool("kubectl"), "kustomize", str(folder)]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment
    ).stdout


def documents(text: str) -> list[Document]:
    return [document for document in yaml.safe_load_all(text) if document]


def named(built: Iterable[Document], kind: str, name: str) -> Document:
    (found,) = [d for d in built if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def where(document: Document) -> str:
    return f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: _strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if (
        schema.get("type") == "object"
        and "properties" in schema
        and "additionalProperties" not in schema
    ):
        schema["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    return schema


def crd_schemas(folder: Path, group: str) -> Schemas:
    """(apiVersion, kind) → the CRD's own schema, made strict, of one API group."""
    found: dict[tuple[str, str], Document] = {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the CRDs are megabytes
    for file in sorted(folder.glob(f"{group}_*.yaml")):
        crd = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
        for version in crd["spec"]["versions"]:
            schema = copy.deepcopy(version["schema"]["openAPIV3Schema"])
            schema["properties"].update(
                apiVersion={"type": "string"}, kind={"type": "string"},
                metadata={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            )  # fmt: skip
            key = (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
            found[key] = _strict(schema)
    return found


@functools.cache
def _built_in(version: str, api_version: str, kind: str) -> jsonschema.Draft202012Validator | None:
    """The strict validator of a built-in kind; None: this Kubernetes has no such kind."""
    (release,) = {known for known in all_versions() if known.startswith(f"{version}.")}
    folder = f"kubernetes-json-schema/v{release}-local-strict"
    group, _, end = api_version.rpartition("/")
    stem = f"{kind.lower()}-{group.split('.')[0]}-{end}" if group else f"{kind.lower()}-{end}"
    try:
        schema = schema_contents(f"{folder}/{stem}.json", version)
    except FileNotFoundError:
        return None
    return jsonschema.Draft202012Validator(
        schema, registry=Resource.from_contents(schema) @ _definitions(folder)
    )


@functools.cache
def _definitions(folder: str) -> Registry[Any]:
    registry: Registry[Any] = Registry()
    return Resource.from_contents(schema_contents(f"{folder}/_definitions.json", folder)) @ registry


def schema_errors(document: Document, schemas: Schemas) -> Iterator[str]:
    """What a strict reading of the API finds wrong in a document. KeyError: no schema is known
    for its kind.
    """
    key = (document["apiVersion"], document["kind"])
    if key == ("monitoring.coreos.com/v1", "PodMonitor"):
        schemas = {**schemas, key: POD_MONITOR}
    if key in schemas:
        yield from _located(document, jsonschema.Draft7Validator(schemas[key]), "")
        return
    if key[0].split("/")[0].endswith((".x-k8s.io", "ray.io")):
        raise KeyError(f"no schema for {key}")
    for version in VERSIONS:
        validator = _built_in(version, *key)
        if validator is None:
            yield f"{where(document)}: Kubernetes {version} has no {key[1]} in {key[0]}"
        else:
            yield from _located(document, validator, f" (Kubernetes {version})")


def _located(document: Document, validator: Any, suffix: str) -> Iterator[str]:
    for error in validator.iter_errors(document):
        yield f"{where(document)}: {error.message} at {'/'.join(map(str, error.path))}{suffix}"


def pod_templates(document: Document) -> Iterator[tuple[str, Document]]:
    """(place, pod template) of everything in a document that becomes pods."""
    kind, spec = document["kind"], document.get("spec", {})
    if kind == "CronJob":
        yield where(document), spec["jobTemplate"]["spec"]["template"]
    elif kind in ("Job", "Deployment", "StatefulSet", "DaemonSet"):
        yield where(document), spec["template"]
    elif kind == "Pod":
        yield where(document), document
    elif kind in ("RayJob", "RayCluster"):
        cluster = spec["rayClusterSpec"] if kind == "RayJob" else spec
        yield f"{where(document)} head", cluster["headGroupSpec"]["template"]
        for group in cluster.get("workerGroupSpecs", ()):
            yield f"{where(document)} worker {group['groupName']}", group["template"]
        if "submitterPodTemplate" in spec:
            yield f"{where(document)} submitter", spec["submitterPodTemplate"]


#: Volumes that the profile `restricted` allows.
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip


def pod_security_errors(place: str, template: Document) -> Iterator[str]:
    """What PodSecurity `restricted` would refuse
    (kubernetes.io/docs/concepts/security/pod-security-standards).
    """
    spec = template["spec"]
    pod = spec.get("securityContext", {})
    yield from (
        f"{place}: {key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)
    )
    for volume in spec.get("volumes", ()):
        yield from (
            f"{place}: volume {volume['name']} is a {kind}"
            for kind in set(volume) - {"name"} - VOLUMES
        )
    if pod.get("sysctls"):
        yield f"{place}: sysctls are set"
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        here, own = f"{place}: container {container['name']}", container.get("securityContext", {})
        if own.get("privileged"):
            yield f"{here} is privileged"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{here} may gain privileges: allowPrivilegeEscalation must be false"
        if "ALL" not in own.get("capabilities", {}).get("drop", ()):
            yield f"{here} keeps capabilities: drop must have ALL"
        if extra := set(own.get("capabilities", {}).get("add", ())) - {"NET_BIND_SERVICE"}:
            yield f"{here} adds capabilities {sorted(extra)}"
        if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
            yield f"{here} may run as root: runAsNonRoot must be true"
        if own.get("runAsUser", pod.get("runAsUser")) == 0:
            yield f"{here} runs as root"
        if own.get("seccompProfile", pod.get("seccompProfile", {})).get("type") not in (
            "RuntimeDefault",
            "Localhost",
        ):
            yield f"{here} has no seccomp profile"
        yield from (
            f"{here}: a host port" for port in container.get("ports", ()) if port.get("hostPort")
        )


def pod_rule_errors(place: str, template: Document) -> Iterator[str]:
    """Our own rules for pods: labels, requests and limits, images that cannot drift."""
    labels = template["metadata"].get("labels", {})
    if OURS.items() - labels.items() or "app.kubernetes.io/component" not in labels:
        yield f"{place}: lacks our labels, so no policy covers it"
    for container in [*template["spec"].get("initContainers", ()), *template["spec"]["containers"]]:
        resources = container.get("resources", {})
        for part in ("requests", "limits"):
            yield from (
                f"{place}: container {container['name']} has no {part} of {name}"
                for name in ("cpu", "memory")
                if name not in resources.get(part, {})
            )
        image = container["image"]
        name, digest = image.rpartition("/")[2], "@sha256:" in image
        if not digest and (":" not in name or name.endswith(":latest")):
            yield f"{place}: image {image} has neither a tag of its own nor a digest"


def rule_errors(built: Iterable[Document], namespace: str | None) -> Iterator[str]:
    """Our own rules for a whole build. namespace: None for a build that must not know one."""
    for document in built:
        kind, metadata, spec = document["kind"], document["metadata"], document.get("spec", {})
        if OURS.items() - metadata.get("labels", {}).items():
            yield f"{where(document)}: lacks the label {OURS}"
        if kind in CLUSTER_WIDE and "namespace" in metadata:
            yield f"{where(document)}: is cluster-wide and has a namespace"
        if kind not in CLUSTER_WIDE and metadata.get("namespace") != namespace:
            yield f"{where(document)}: namespace {metadata.get('namespace')}, expected {namespace}"
        if kind == "Secret":
            yield f"{where(document)}: secrets do not stand in manifests"
        if (
            kind == "NetworkPolicy"
            and OURS.items() - spec.get("podSelector", {}).get("matchLabels", {}).items()
        ):
            yield f"{where(document)}: selects pods that are not ours"
        if kind == "LimitRange" and any(
            set(limit) - {"type", "defaultRequest"} for limit in spec["limits"]
        ):
            yield f"{where(document)}: limits pods that are not ours; only defaultRequest is harmless to them"
        if kind == "ResourceQuota" and not spec.get("scopeSelector", {}).get("matchExpressions"):
            yield f"{where(document)}: counts pods that are not ours"
        if kind in ("Role", "ClusterRole"):
            yield from _role_errors(document)
        for place, template in pod_templates(document):
            yield from pod_security_errors(place, template)
            yield from pod_rule_errors(place, template)


def _role_errors(role: Document) -> Iterator[str]:
    for rule in role["rules"]:
        if "*" in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]:
            yield f"{where(role)}: a star grants what nobody listed"
        if {"secrets", "configmaps"} & set(rule["resources"]) and not rule.get("resourceNames"):
            yield f"{where(role)}: secrets and configmaps are read by name only"
        if "pods/exec" in rule["resources"]:
            yield f"{where(role)}: pods/exec"
