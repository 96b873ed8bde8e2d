"""Builds of k8s/, made once: kustomize is a process each time."""

import shutil

import pytest

from tests.k8s.manifests import CRDS, K8S, Document, Schemas, crd_schemas, documents, kustomize

BUILDS = {
    "base": K8S / "base",
    "kind": K8S / "overlays" / "kind",
    "gpu": K8S / "overlays" / "gpu",
    "queue": K8S / "components" / "kueue" / "cluster",
    "step-priority": K8S / "components" / "step-priority",
}
#: Each component on the base, in the combinations that overlays use.
COMPONENTS = {
    "irsa": ("https", "irsa"),
    "static-keys": ("static-keys",),
    "prometheus": ("prometheus",),
    "all": ("kueue", "https", "irsa", "prometheus"),
}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Name → text of the build of the base, of each overlay, and of components on the base in a
    profile's namespace.
    """
    texts = {name: kustomize(folder) for name, folder in BUILDS.items()}
    tree = tmp_path_factory.mktemp("k8s")
    for part in ("base", "components"):
        shutil.copytree(K8S / part, tree / part)
    for name, components in COMPONENTS.items():
        folder = tree / name
        folder.mkdir()
        lines = [f"- ../components/{component}" for component in components]
        folder.joinpath("kustomization.yaml").write_text(
            "\n".join(["namespace: team-a", "resources: [../base]", "components:", *lines])
        )
        texts[name] = kustomize(folder)
    return texts


@pytest.fixture(scope="session")
def builds(built: dict[str, str]) -> dict[str, list[Document]]:
    return {name: documents(text) for name, text in built.items()}


@pytest.fixture(scope="session")
def kueue_crds() -> Schemas:
    return _crds("kueue.x-k8s.io")


@pytest.fixture(scope="session")
def ray_crds() -> Schemas:
    return _crds("ray.io")


def _crds(group: str) -> Schemas:
    """Schemas of an operator's kinds; tests that need them skip where they are absent."""
    if not CRDS.is_dir():
        pytest.skip(f"no CRD schemas: {CRDS} is absent")
    return crd_schemas(CRDS, group)
