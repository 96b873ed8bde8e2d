"""A task of the pipeline in a cluster: the pods that KFP would start for it, from the compiled
package, with retries.
"""

import functools
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from pipelines.cluster_settings import load_settings
from pipelines.kfp.package import compiled
from tests.cluster.kube import Cluster, until
from tests.k8s.manifests import K8S, Document

#: The part of Argo's kind that the owner of a run's pods needs, where Argo is not installed.
WORKFLOWS: Document = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "workflows.argoproj.io", "labels": {"xstilts.dev/test": "cluster"}},
    "spec": {
        "group": "argoproj.io",
        "names": {"kind": "Workflow", "plural": "workflows", "singular": "workflow"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


def workflow(name: str, namespace: str) -> Document:
    """A workflow that does nothing, with and without Argo's controller."""
    template = {"name": "wait", "suspend": {}}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"entrypoint": "wait", "templates": [template]},
    }


@functools.cache
def package() -> tuple[Document, Document]:
    """The compiled pipeline and its settings for Kubernetes, with the small requests of kind."""
    text, _ = compiled(load_settings(K8S / "kind" / "settings.yaml"))
    pipeline, platform = yaml.safe_load_all(text)
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def _executor_input(component: Document, inputs: Mapping[str, Any]) -> Document:
    outputs = component.get("outputDefinitions", {})
    artifacts = {
        name: {
            "artifacts": [
                {
                    "name": name,
                    "uri": f"/tmp/outputs/{name}",
                    "type": {"schemaTitle": definition["artifactType"]["schemaTitle"]},
                    "metadata": {},
                }
            ]
        }
        for name, definition in outputs.get("artifacts", {}).items()
    }
    parameters = {
        name: {"outputFile": f"/tmp/outputs/{name}"} for name in outputs.get("parameters", {})
    }
    return {
        "inputs": {"parameterValues": dict(inputs)},
        "outputs": {
            "parameters": parameters,
            "artifacts": artifacts,
            "outputFile": "/tmp/outputs/executor_output.json",
        },
    }


def pod(
    component: str,
    inputs: Mapping[str, Any],
    name: str,
    namespace: str,
    owner: Document | None = None,
    settings_of_test: Mapping[str, str] | None = None,
) -> Document:
    """The pod that KFP starts for a component with these inputs.

    Args:
        component: name of the component.
        inputs: its parameters.
        name: of the pod.
        namespace: of the pod.
        owner: the workflow.
        settings_of_test: variable → value, in place of the installation's.
    """
    pipeline, platform = package()
    definition = pipeline["components"][f"comp-{component}"]
    label = definition["executorLabel"]
    container = pipeline["deploymentSpec"]["executors"][label]["container"]
    settings = platform[label]
    given = json.dumps(_executor_input(definition, inputs))
    env = [dict(variable) for variable in container.get("env", ())]
    env += [
        {"name": item["name"], "valueFrom": {"fieldRef": {"fieldPath": item["fieldPath"]}}}
        for item in settings["fieldPathAsEnv"]
    ]
    for kind, reference, field_name in (
        ("configMap", "configMapKeyRef", "configMapName"),
        ("secret", "secretKeyRef", "secretName"),
    ):
        for source in settings[f"{kind}AsEnv"]:
            env += [
                {
                    "name": item["envVar"],
                    "valueFrom": {
                        reference: {"name": source[field_name], "key": item[f"{kind}Key"], "optional": True}
                    },
                }
                for item in source["keyToEnv"]
            ]  # fmt: skip
    changed = dict(settings_of_test or {})
    env = [variable for variable in env if variable["name"] not in changed]
    env += [{"name": key, "value": value} for key, value in changed.items()]
    resources = container["resources"]
    metadata: Document = {
        "name": name,
        "namespace": namespace,
        "labels": {**settings["podMetadata"]["labels"], "pipeline/runid": str(uuid.uuid4())},
        "annotations": {"workflows.argoproj.io/node-name": f"{owner['name'] if owner else name}.{component}"},
    }  # fmt: skip
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    context = settings["securityContext"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "serviceAccountName": "xstilts-step",
            "restartPolicy": "Never",
            **_priority(settings),
            "containers": [
                {
                    "name": "main",
                    "image": container["image"],
                    "imagePullPolicy": settings.get("imagePullPolicy", "IfNotPresent"),
                    "command": container["command"],
                    "args": [a.replace("{{$}}", given) for a in container["args"]],
                    "env": env,
                    "resources": {
                        "requests": {
                            "cpu": resources["resourceCpuRequest"],
                            "memory": resources["resourceMemoryRequest"],
                        },
                        "limits": {
                            "cpu": resources["resourceCpuLimit"],
                            "memory": resources["resourceMemoryLimit"],
                        },
                    },
                    "securityContext": {
                        "runAsUser": int(context["runAsUser"]),
                        "runAsGroup": int(context["runAsGroup"]),
                        "runAsNonRoot": context["runAsNonRoot"],
                    },
                }
            ],
        },
    }


def _priority(settings: Document) -> Document:
    name = settings.get("priorityClassName")
    return {"priorityClassName": name} if name else {}


@dataclass
class Task:
    """A task of a run: pods until one succeeds, a new one after each that failed or was deleted."""

    cluster: Cluster
    namespace: str
    component: str
    inputs: Mapping[str, Any]
    owner: Document | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    most: int = 4
    names: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)

    def begin(self) -> "Task":
        """Starts the first attempt, or another one."""
        assert len(self.names) < self.most, (
            f"{self.component}: failed {self.most} times:\n" + (self.log()[-3000:])
        )
        name = f"{self.component}-{uuid.uuid4().hex[:8]}"
        document = pod(self.component, self.inputs, name, self.namespace, self.owner, self.settings)
        self.cluster.apply([document])
        self.names.append(name)
        return self

    def kill(self) -> None:
        """Deletes the current attempt's pod at once, as the loss of its node does."""
        now = ("--grace-period=0", "--force")
        self.cluster.run("-n", self.namespace, "delete", "pod", self.names[-1], *now)

    def log(self) -> str:
        """Logs of all attempts whose pods exist."""
        return "\n".join(
            self.cluster.run("-n", self.namespace, "logs", name, check=False).stdout
            for name in self.names
        )

    def phase(self) -> str:
        """Phase of the current attempt's pod; `Gone` if it was deleted; `` if nobody answers."""
        done = self.cluster.run(
            "-n", self.namespace, "get", "pod", self.names[-1], "-o", "jsonpath={.status.phase}",
            check=False,
        )  # fmt: skip
        if done.returncode and "NotFound" in done.stderr:
            return "Gone"
        return done.stdout if done.returncode == 0 else ""

    def succeeded(self) -> bool:
        """Whether an attempt succeeded; begins the next one where needed."""
        phase = self.phase()
        if phase in ("Gone", "Failed"):
            self.begin()
        return phase == "Succeeded"

    def wait_for_failure(self, seconds: float = 60.0) -> None:
        """Waits until the current attempt has failed; begins no other."""
        until(lambda: self.phase() == "Failed", f"{self.component} does not end", seconds)

    def wait(self, seconds: float = 300.0) -> "Task":
        deadline = time.monotonic() + seconds
        while not self.succeeded():
            assert time.monotonic() < deadline, (
                f"{self.component} does not end within {seconds:g} s:\n{self.log()[-3000:]}"
            )
            time.sleep(0.5)
        return self
