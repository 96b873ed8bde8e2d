"""DRY_RUN=1: no script of k8s/ calls a program that reaches anything, or writes a file."""

import shutil
from pathlib import Path

import pytest

from tests.k8s.manifests import K8S
from tests.k8s.recorder import Recorder
from tests.k8s.test_guide import ROLE, SETTINGS
from tests.k8s.test_scripts import SCRIPTS, SOURCED

COMMANDS = [str(script.relative_to(K8S)) for script in SCRIPTS if script.name not in SOURCED]
ARGUMENTS = {"guide/mirror.sh": ["plan.yaml"], "guide/run.sh": ["plan.yaml"]}
#: Settings of a site besides those that are required.
SITES: dict[str, dict[str, str]] = {
    "keys": {},
    "all": {"ENDPOINT": "https://s3.example.org:9000", "PULL_SECRET": "registry", "PROMETHEUS": "yes"},
    "role": {"ROLE_ARN": ROLE},
}  # fmt: skip


def machine(folder: Path, settings: dict[str, str]) -> Recorder:
    """A copy of k8s/ with a site, on a machine on which every call fails."""
    shutil.copytree(K8S, folder / "k8s", ignore=shutil.ignore_patterns("site", "site.env"))
    lines = "".join(f"{key}={value}\n" for key, value in {**SETTINGS, **settings}.items())
    (folder / "k8s" / "guide" / "site.env").write_text(lines)
    return Recorder(folder, [{"to": "", "status": 1}])


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_dry_run_calls_nothing_and_writes_nothing(command: str, tmp_path: Path) -> None:
    here = machine(tmp_path, SITES["keys"])
    before = files(tmp_path / "k8s")
    done = here.run(tmp_path / "k8s" / command, *ARGUMENTS.get(command, ()), DRY_RUN="1")
    assert done.status == 0, done.errors
    assert done.lines == []
    assert done.announced or command in ("kind/check.sh", "guide/variables.sh")
    assert files(tmp_path / "k8s") == before
    assert not [*(tmp_path / "work").iterdir()]


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("command", ["guide/base.sh", "guide/remove.sh", "guide/keys.sh"])
def test_a_dry_run_calls_nothing_with_any_settings(command: str, site: str, tmp_path: Path) -> None:
    done = machine(tmp_path, SITES[site]).run(tmp_path / "k8s" / command, DRY_RUN="1")
    refused = command == "guide/keys.sh" and site == "role"
    assert (done.status, done.lines) == (1 if refused else 0, [])


def test_a_dry_run_of_the_removal_names_everything_that_it_may_delete(tmp_path: Path) -> None:
    done = machine(tmp_path, SITES["all"]).run(
        tmp_path / "k8s" / "guide" / "remove.sh", DRY_RUN="1"
    )
    deleted = [
        line.split(" delete ")[1].split()[0] for line in done.announced if " delete " in line
    ]
    assert deleted == [
        "rayjob",
        "cronjob,networkpolicy,resourcequota,limitrange,rolebinding,role,serviceaccount,configmap,secret",
        "localqueue", "podmonitor", "-k", "priorityclass", "-k",
    ]  # fmt: skip
    labels = next(line for line in done.announced if "label namespace" in line)
    assert labels.endswith("pod-security.kubernetes.io/warn- pod-security.kubernetes.io/audit-")


def test_a_dry_run_prints_the_overlay_that_it_would_write(tmp_path: Path) -> None:
    done = machine(tmp_path, SITES["all"]).run(tmp_path / "k8s" / "guide" / "base.sh", DRY_RUN="1")
    assert "namespace: team-a\n" in done.output
    assert "  newName: r.example:5000/x/finetune-step\n  digest: sha256:DIGEST\n" in done.output


def test_a_call_in_a_dry_run_is_found(tmp_path: Path) -> None:
    here = machine(tmp_path, SITES["keys"])
    script = tmp_path / "k8s" / "guide" / "check.sh"
    script.write_text(script.read_text() + "kubectl get nodes 2>/dev/null || true\n")
    assert here.run(script, DRY_RUN="1").lines == ["kubectl get nodes"]
