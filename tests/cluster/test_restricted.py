"""A namespace that enforces PodSecurity `restricted` runs our Ray pods and the clean-up."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.images import reference
from components.launch.lease import cancel
from components.launch.rayjob import build
from tests.cluster.install import dns_policy, namespace_of, overlay, secret
from tests.cluster.kube import Cluster, until
from tests.cluster.runs import Run
from tests.cluster.test_clean_up import collect
from xstilts.runs.folder import spec_of

RESTRICTED = {
    f"pod-security.kubernetes.io/{key}": value
    for key, value in {"enforce": "restricted", "enforce-version": "latest"}.items()
}


@pytest.fixture
def restricted(idle: Run, tmp_path: Path) -> Iterator[str]:
    name = f"xstilts-test-{uuid.uuid4().hex[:6]}"
    cluster = idle.cluster
    cluster.apply([namespace_of(name, RESTRICTED)])
    documents = overlay(tmp_path / "site", name, idle.store.uri)
    cluster.apply([secret(name), *documents, *dns_policy(cluster, name)])
    yield name
    cluster.delete("namespace", name)


def test_the_clean_up_runs(idle: Run, restricted: str) -> None:
    assert "0 of 0 RayJobs removed" in collect(idle.cluster, restricted, idle.store.uri)


def test_a_pod_that_may_more_is_refused(cluster: Cluster, restricted: str) -> None:
    command = ("run", "any", f"--image={reference('finetune')}", "--dry-run=server")
    done = cluster.run("-n", restricted, *command, check=False)
    assert 'violates PodSecurity "restricted' in done.stderr


@pytest.mark.slow
def test_ray_pods_run(idle: Run, restricted: str) -> None:
    cancel(idle.store, idle.folder)  # the job then ends as soon as it runs
    _, steps = spec_of(idle.store, idle.folder, idle.group)
    environment = {
        "XSTILTS_NAMESPACE": restricted,
        "XSTILTS_WORKER_IMAGE": reference("finetune", "worker"),
        "XSTILTS_PRIORITY_CLASS": "xstilts-batch",
        **{key: os.environ[key] for key in ("AWS_ENDPOINT_URL", "AWS_REGION")},
    }
    config = {"run_uri": idle.uri, "group": idle.group, "kind": "finetune"}
    job = build(next(iter(steps.values())).settings, environment, config)
    idle.cluster.apply([job])
    elsewhere = idle.in_namespace(restricted)
    until(lambda: len(elsewhere.ready()) == 3, "the Ray pods are not ready", 120)
