"""docs/cluster.md: every command in it stands in a script, and each of those scripts runs on a
machine of stand-ins.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.k8s.manifests import (
    K8S,
    ROOT,
    Schemas,
    documents,
    kustomize,
    named,
    rule_errors,
    schema_errors,
    tool,
)
from tests.k8s.recorder import Done, Recorder

GUIDE = K8S / "guide"
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
#: Commands of the reader's own: before there is a script to run, variables, and what functions of
#: the scripts do.
TYPED = {
    "make setup",
    "cp k8s/guide/site.env.example k8s/guide/site.env",
    'eval "$(k8s/guide/variables.sh)"',
    "export PLAN=pipelines/plans/gpu.yaml DATA=s3://$BUCKET/$MIRROR HOST=http://127.0.0.1:8888 NAME=gpu OUT=runs/gpu",
    "kubectl wait crd/applications.app.k8s.io --for=condition=established --timeout=60s",
    'kubectl apply --server-side --force-conflicts -f "$KUEUE"',
    # The opposite of the scripts of k8s/install; no script deletes what others may use.
    'kubectl delete -f "$KUEUE"',
    'kubectl delete -k "github.com/ray-project/kuberay/ray-operator/config/default?ref=$KUBERAY_COMMIT"',
    'kubectl delete -k "github.com/kubeflow/pipelines/manifests/kustomize/env/platform-agnostic?ref=$KFP_COMMIT"',
    'kubectl delete -k "github.com/kubeflow/pipelines/manifests/kustomize/cluster-scoped-resources?ref=$KFP_COMMIT"',
}
DIGEST = "sha256:" + "5" * 64
LOCK = {
    "to": r"^xstilts lock$",
    "says": f"base python:3.11 null\nplan-python r.example:5000/x/plan-python:v1 {DIGEST}\n"
    f"finetune-step r.example:5000/x/finetune-step:v1 {DIGEST}\n",
}
POLICIES = {"to": "get --raw", "says": '{"resources":[{"name":"mutatingadmissionpolicies"}]}'}
SETTINGS = {
    "NAMESPACE": "team-a", "BUCKET": "bench", "PREFIX": "x/store", "MIRROR": "x/mirror", "REGION": "eu-1",
    "REGISTRY": "r.example:5000/x", "TAG": "v1",
}  # fmt: skip
ROLE = "arn:aws:iam::123456789012:role/bench"


def _commands() -> Iterator[str]:
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S):
        yield from block.splitlines()


def _stands(command: str) -> bool:
    """Whether a command is a script of ours (with arguments), or a line of one."""
    words = command.split()
    if words[0].startswith("k8s/"):
        script = ROOT / words[0]
        return script.is_file() and bool(script.stat().st_mode & 0o111)
    if command.startswith("git commit "):
        return (ROOT / words[-1]).exists()
    lines = {
        re.sub(r"^(run|repeated \d+) ", "", line.strip())
        for script in K8S.rglob("*.sh")
        for line in script.read_text().splitlines()
    }
    return command in lines or any(
        line.startswith(f"{command} ||") or line.startswith(f"{command} |") for line in lines
    )


@pytest.mark.parametrize("command", sorted(set(_commands())))
def test_every_command_of_the_guide_stands_in_a_script(command: str) -> None:
    assert command in TYPED or _stands(command)


def test_a_command_that_stands_nowhere_is_found() -> None:
    assert not _stands("kubectl delete namespace kubeflow")
    assert not _stands("k8s/guide/absent.sh")


def test_the_guide_runs_every_script_of_its_folder() -> None:
    scripts = {f"k8s/guide/{path.name}" for path in GUIDE.glob("*.sh")} - {"k8s/guide/site.sh"}
    assert scripts <= set(re.findall(r"k8s/guide/\w+\.sh", "\n".join(_commands())))


def test_the_variables_of_the_guide_are_defined_before_they_are_used(machine: Recorder) -> None:
    """A reader who types the commands has what variables.sh prints, and what the page assigns."""
    done = _run(machine, "guide/variables.sh")
    assert (done.status, done.lines) == (0, []), done.errors
    printed = set(re.findall(r"^export (\w+)=", done.output, re.M))
    known: set[str] = {"USERS", "OPTIONS"}  # empty, unless the reader sets them
    for command in _commands():
        if "variables.sh" in command:
            known |= printed
            continue
        assigned = re.findall(r"(?:^| )([A-Z]+)=(?=\S)", command) if command in TYPED else []
        assert {*re.findall(r"\$\{?(\w+)", command)} <= known, command
        known |= {*assigned}
    assert {"NAMESPACE", "STORE", "KFP_COMMIT"} <= known


def test_the_printed_variables_can_be_evaluated(machine: Recorder) -> None:
    """Values keep spaces, and a site without settings prints none."""
    done = _run(machine, "guide/variables.sh", SITE="/a folder/site")
    shown = subprocess.run(
        ["bash", "-c", f'{done.output}\nprintf "%s|%s|%s" "$SITE" "$STORE" "$AWS_REGION"'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout == "/a folder/site|s3://bench/x/store|eu-1"
    absent = machine.run(
        machine.folder / "k8s" / "guide" / "variables.sh", SITE_ENV=str(machine.folder / "absent")
    )
    assert (absent.status, absent.output) == (1, "")


@pytest.fixture
def machine(tmp_path: Path) -> Recorder:
    # The site's overlay is built for real, so it must lie beside the base.
    tree = tmp_path / "k8s"
    subprocess.run(["cp", "-r", str(K8S), str(tree)], check=True)
    return Recorder(tmp_path, [LOCK])


def _run(
    machine: Recorder,
    script: str,
    *arguments: str,
    settings: dict[str, str] | None = None,
    **more: str,
) -> Done:
    site = machine.folder / "site.env"
    site.write_text(
        "".join(f"{key}={value}\n" for key, value in (SETTINGS | (settings or {})).items())
    )
    return machine.run(machine.folder / "k8s" / script, *arguments, SITE_ENV=str(site), **more)


def test_settings_that_are_missing_are_named(machine: Recorder) -> None:
    done = _run(machine, "guide/nodes.sh", settings={"BUCKET": ""})
    assert (done.status, done.lines) == (1, [])
    assert "BUCKET is empty" in done.errors


def test_without_settings_the_guide_says_where_to_begin(machine: Recorder) -> None:
    done = machine.run(
        machine.folder / "k8s" / "guide" / "check.sh", SITE_ENV=str(machine.folder / "absent")
    )
    assert done.status == 1
    assert "copy k8s/guide/site.env.example" in done.errors


@pytest.mark.parametrize(
    "script",
    [
        "check",
        "nodes",
        "store",
        "images",
        "remove",
        "../install/kfp",
        "../install/kuberay",
        "../install/kueue",
    ],
)
def test_a_script_runs_what_it_says_and_a_dry_run_changes_nothing(
    machine: Recorder, script: str
) -> None:
    machine.answers = [
        {"to": "head-bucket", "status": 1},
        {"to": "^curl", "file": "manifests"},
        {"to": "^kubectl get nodes", "says": "node/one\n"},
        {"to": "get crd clusterqueues", "says": "crd\n"},
        {"to": r"metadata\.annotations\.xstilts", "says": "set by k8s/guide/nodes.sh"},
        POLICIES,
        LOCK,
    ]
    real, dry = (
        _run(machine, f"guide/{script}.sh"),
        _run(machine, f"guide/{script}.sh", DRY_RUN="1"),
    )
    assert (real.status, dry.status) == (0, 0), real.errors + dry.errors
    assert dry.announced
    assert dry.lines == []
    changes = [line for line in real.lines if not _reads(line)]
    assert changes == [line for line in real.announced if not _reads(line)]
    temporary = re.compile(r"/tmp/\S+")  # names that are new each time
    announced = [line for line in dry.announced if not _reads(line)]
    assert [temporary.sub("", line) for line in announced] == [
        temporary.sub("", line) for line in changes
    ]


def _reads(line: str) -> bool:
    """Whether a command only looks what is there."""
    return line == "xstilts lock" or line.startswith(
        ("aws s3api head-bucket", "aws iam list-policies", "kubectl get ")
    )


def test_a_cluster_without_gpu_nodes_is_named(machine: Recorder) -> None:
    done = _run(machine, "guide/nodes.sh")
    assert done.status == 1
    assert "no node has the label nvidia.com/gpu.present=true" in done.errors
    assert [line for line in done.lines if not _reads(line)] == []


@pytest.mark.parametrize(("others", "kept"), [("team-a", False), ("team-a team-b", True)])
def test_what_other_installations_use_is_kept(machine: Recorder, others: str, kept: bool) -> None:
    machine.answers = [
        {"to": "get configmap -A", "says": others},
        {"to": "get crd clusterqueues", "says": "crd\n"},
        POLICIES,
    ]
    done = _run(machine, "guide/remove.sh")
    assert done.status == 0, done.errors
    shared = ("kubectl delete priorityclass", "kubectl delete -k", "kubectl label node")
    deleted = [line for line in done.lines if line.startswith(shared)]
    assert len(deleted) == (0 if kept else 4)


def test_a_mirror_is_pulled_for_its_plan(machine: Recorder) -> None:
    pulled = "xstilts mirror pull s3://bench/x/mirror --plan plan.yaml"
    assert _run(machine, "guide/mirror.sh", "plan.yaml").lines == [f"{pulled} --from hub"]
    assert _run(machine, "guide/mirror.sh", "plan.yaml", "runs/mirror").lines == [
        f"{pulled} --from runs/mirror"
    ]


def test_the_miniature_is_made_once_for_the_mirror(machine: Recorder) -> None:
    there = machine.folder / "miniature"
    pulled = "xstilts mirror pull s3://bench/x/mirror --plan plan.yaml --from HOME/miniature"
    first = _run(machine, "guide/mirror.sh", "plan.yaml", "miniature", MINIATURE=str(there))
    assert first.lines == ["xstilts mirror miniature HOME/miniature", pulled]
    there.mkdir()
    assert _run(
        machine, "guide/mirror.sh", "plan.yaml", "miniature", MINIATURE=str(there)
    ).lines == [pulled]


def _site(machine: Recorder, settings: dict[str, str]) -> tuple[Done, str]:
    done = _run(machine, "guide/base.sh", settings=settings)
    assert done.status == 0, done.errors
    return done, kustomize(machine.folder / "k8s" / "overlays" / "site")


@pytest.mark.parametrize(
    "settings",
    [
        {"ROLE_ARN": ROLE},
        {"ROLE_ARN": ROLE, "PROMETHEUS": "yes", "NAMESPACE": "kubeflow"},
        {"ENDPOINT": "https://s3.example.org:9000"},
        {"ENDPOINT": "http://minio.example.org", "PULL_SECRET": "registry"},
    ],
)
def test_a_site_s_overlay_is_valid_and_within_the_rules(
    machine: Recorder, kueue_crds: Schemas, settings: dict[str, str]
) -> None:
    _, text = _site(machine, settings)
    built = documents(text)
    assert list(rule_errors(built, (SETTINGS | settings)["NAMESPACE"])) == []
    assert [error for document in built for error in schema_errors(document, kueue_crds)] == []


@pytest.mark.parametrize("served", [False, True])
def test_steps_get_their_priority_where_the_api_server_can_set_it(
    machine: Recorder, served: bool
) -> None:
    machine.answers = [LOCK, *([POLICIES] if served else [])]
    done, _ = _site(machine, {})
    command = "kubectl apply --server-side --force-conflicts -k HOME/k8s/components/step-priority"
    assert (command in done.lines) == served
    assert ("has no MutatingAdmissionPolicy" in done.errors) != served


def test_a_site_on_aws_has_its_role_store_and_digest(machine: Recorder) -> None:
    built = documents(_site(machine, {"ROLE_ARN": ROLE})[1])
    for name in ("step", "ray", "gc"):
        account = named(built, "ServiceAccount", f"xstilts-{name}")
        assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] == ROLE
    data = named(built, "ConfigMap", "xstilts-config")["data"]
    assert (data["XSTILTS_STORE"], data["AWS_REGION"], data["XSTILTS_QUEUE"]) == (
        "s3://bench/x/store",
        "eu-1",
        "xstilts",
    )
    assert "AWS_ENDPOINT_URL" not in data
    job = named(built, "CronJob", "xstilts-gc")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert job["containers"][0]["image"] == f"r.example:5000/x/finetune-step@{DIGEST}"


def test_a_registry_s_secret_reaches_every_pod_of_ours_by_its_account(machine: Recorder) -> None:
    built = documents(_site(machine, {"ROLE_ARN": ROLE, "PULL_SECRET": "registry"})[1])
    accounts = [document for document in built if document["kind"] == "ServiceAccount"]
    assert len(accounts) == 3
    for account in accounts:
        assert account["imagePullSecrets"] == [{"name": "registry"}]
        assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] == ROLE


def test_a_site_with_another_s3_has_its_address_and_a_way_to_its_port(machine: Recorder) -> None:
    built = documents(_site(machine, {"ENDPOINT": "https://s3.example.org:9000"})[1])
    assert (
        named(built, "ConfigMap", "xstilts-config")["data"]["AWS_ENDPOINT_URL"]
        == "https://s3.example.org:9000"
    )
    (rule,) = named(built, "NetworkPolicy", "xstilts-s3-endpoint")["spec"]["egress"]
    assert rule["ports"] == [{"port": 9000, "protocol": "TCP"}]


def test_a_site_on_port_443_needs_no_policy_of_its_own(machine: Recorder) -> None:
    _, text = _site(machine, {"ENDPOINT": "https://s3.example.org"})
    assert "xstilts-s3-endpoint" not in text


def test_an_image_without_a_digest_is_refused(machine: Recorder) -> None:
    machine.answers = [
        {"to": "^xstilts lock$", "says": "finetune-step xstilts/finetune-step:dev null\n"}
    ]
    done = _run(machine, "guide/base.sh")
    assert done.status == 1
    assert "has no digest yet" in done.errors


def test_keys_go_from_the_environment_into_the_secret_and_nowhere_else(machine: Recorder) -> None:
    done = _run(
        machine, "guide/keys.sh", AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY='with"quote'
    )
    (call,) = done.calls
    assert call["line"] == "kubectl apply --server-side -f -"
    secret = json.loads(call["input"])
    assert secret["metadata"]["namespace"] == "team-a"
    assert secret["stringData"] == {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": 'with"quote',
    }
    assert 'with"quote' not in done.output + done.errors


def test_keys_beside_a_role_are_refused(machine: Recorder) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}
    done = _run(machine, "guide/keys.sh", settings={"ROLE_ARN": ROLE}, **keys)
    assert (done.status, done.calls) == (1, [])


def test_the_policy_names_the_site_s_bucket_and_prefixes(machine: Recorder) -> None:
    machine.answers = [{"to": "head-bucket", "status": 1}]
    done = _run(machine, "guide/store.sh")
    assert done.status == 0, done.errors
    assert "aws s3 mb s3://bench --region eu-1" in done.lines
    rendered = (K8S / "s3" / "policy.json").read_text()
    for word, value in (("BUCKET", "bench"), ("PREFIX/", "x/store/"), ("MIRROR/", "x/mirror/")):
        assert word in rendered
        rendered = rendered.replace(word, value)
    assert not re.search(r"BUCKET|PREFIX/|MIRROR/", rendered)


def test_a_bucket_and_a_policy_that_are_there_are_left_alone(machine: Recorder) -> None:
    machine.answers = [{"to": "list-policies", "says": "arn:aws:iam::1:policy/xstilts-store\n"}]
    done = _run(machine, "guide/store.sh")
    assert (done.status, done.announced) == (0, [])


def test_the_guide_names_the_versions_that_are_locked() -> None:
    lock = json.loads((K8S / "versions.lock").read_text())
    for name, title in (("kfp", "KFP"), ("kuberay", "KubeRay"), ("kueue", "Kueue")):
        assert f"{title} {lock[name]['version'].removeprefix('v')}" in PAGE


def test_the_guide_asks_for_the_machine_that_kind_s_check_asks_for() -> None:
    check = (K8S / "kind" / "check.sh").read_text()
    wanted = dict(re.findall(r'at_least "([a-z ]+).*?" "\$\(.*\)" (\d+) ', check))
    said = f"{wanted['processors']} processors, {wanted['free memory']} GiB\nof free memory, {wanted['free disk under ']} GiB"
    assert said in PAGE


@pytest.mark.parametrize(("namespace", "named"), [("kubeflow", False), ("team-a", True)])
def test_a_run_is_submitted_waited_for_and_reported(
    machine: Recorder, namespace: str, named: bool
) -> None:
    machine.answers = [
        {"to": "port-forward", "seconds": 60}, {"to": "^xstilts submit", "says": "modality-1: submitted\n"},
    ]  # fmt: skip
    done = _run(machine, "guide/run.sh", "plan.yaml", settings={"NAMESPACE": namespace})
    assert done.status == 0, done.errors
    (submit,) = [line for line in done.lines if line.startswith("xstilts submit")]
    assert ("--namespace team-a" in submit) == named
    assert "--allow-unlocked" not in submit
    assert "--mirror s3://bench/x/mirror" in submit
    assert f"xstilts doctor --cluster --namespace {namespace}" in done.lines
    assert "xstilts report modality-1 --store s3://bench/x/store --out HOME/out" in done.lines


def test_a_run_gets_the_settings_of_its_cluster(machine: Recorder) -> None:
    done = _run(machine, "guide/run.sh", "plan.yaml", SETTINGS="gpu-pool.yaml", DRY_RUN="1")
    [submit] = [line for line in done.errors.splitlines() if " submit " in line]
    assert "--settings gpu-pool.yaml --wait" in submit


def test_the_example_s_settings_are_those_that_the_scripts_read() -> None:
    example = set(re.findall(r"^([A-Z_]+)=", (GUIDE / "site.env.example").read_text(), re.M))
    assert set(SETTINGS) | {"ENDPOINT", "ROLE_ARN", "PROMETHEUS", "PULL_SECRET"} == example
    subprocess.run(
        [tool("shellcheck"), "-s", "bash", "-e", "SC2034", str(GUIDE / "site.env.example")],
        check=True,
    )
