"""Every rendered manifest is accepted by the API server, and applying one twice changes nothing."""

import shutil
from pathlib import Path

import pytest

from tests.cluster.conftest import need
from tests.cluster.install import namespace_of, overlay
from tests.cluster.kube import Cluster
from tests.k8s.conftest import BUILDS, COMPONENTS
from tests.k8s.manifests import CLUSTER_WIDE, K8S, Document, documents, kustomize

#: API groups of which a cluster may have none.
OPTIONAL = {"kueue.x-k8s.io": "Kueue", "monitoring.coreos.com": "the Prometheus operator"}


def _in(built: list[Document], namespace: str) -> list[Document]:
    return [
        document
        if document["kind"] in CLUSTER_WIDE
        else {**document, "metadata": {**document["metadata"], "namespace": namespace}}
        for document in built
    ]


@pytest.mark.parametrize("name", sorted({*BUILDS, *COMPONENTS}))
def test_the_api_server_accepts_a_build(
    cluster: Cluster, new_namespace: str, tmp_path: Path, name: str
) -> None:
    if name in BUILDS:
        text = kustomize(BUILDS[name])
    else:
        for part in ("base", "components"):
            shutil.copytree(K8S / part, tmp_path / part)
        (tmp_path / name).mkdir()
        lines = [f"- ../components/{component}" for component in COMPONENTS[name]]
        (tmp_path / name / "kustomization.yaml").write_text(
            "\n".join(["resources: [../base]", "components:", *lines])
        )
        text = kustomize(tmp_path / name)
    built = _in(documents(text), new_namespace)
    served = cluster.run("api-versions").stdout
    for document in built:
        group = document["apiVersion"].partition("/")[0]
        if group in OPTIONAL and group not in served:
            need(OPTIONAL[group].lower(), f"{OPTIONAL[group]} is not installed")
    output = cluster.apply(built, "--dry-run=server", "--validate=strict")
    assert len(output.splitlines()) == len(built)


def test_an_overlay_applied_twice_has_no_diff(
    cluster: Cluster, new_namespace: str, tmp_path: Path
) -> None:
    built = overlay(tmp_path / "site", new_namespace, "s3://bench/store")
    cluster.apply([namespace_of(new_namespace), *built])
    versions = _versions(cluster, new_namespace)
    cluster.apply(built)
    assert _versions(cluster, new_namespace) == versions
    file = tmp_path / "built.yaml"
    file.write_text(kustomize(tmp_path / "site"))
    diff = cluster.run("diff", "--server-side", "--force-conflicts", "-f", str(file), check=False)
    assert (diff.returncode, diff.stdout) == (0, "")


def _versions(cluster: Cluster, namespace: str) -> dict[str, int]:
    kinds = "configmaps,serviceaccounts,roles,rolebindings,networkpolicies,limitranges,cronjobs"
    found = cluster.items("-n", namespace, kinds, "-l", "app.kubernetes.io/part-of=xstilts")
    assert found
    return {
        f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["resourceVersion"]
        for one in found
    }
