"""The KFP package: deterministic, equal to the file in the repository, with all cluster settings."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

from components import images
from components.launch import rayjob
from images.install import VERSIONS
from pipelines.cluster_runs import settings_for
from pipelines.cluster_settings import (
    CONFIGURATION,
    CREDENTIALS,
    FIELDS,
    LABELS,
    LAUNCHING,
    NEEDS,
    TOKENS,
    ClusterSettings,
    Toleration,
    load_settings,
)
from pipelines.intermediate_to_xtreme_r import intermediate_to_xtreme_r
from pipelines.kfp.package import compiled, refuse_unlocked
from xstilts.errors import PlanError
from xstilts.plan.load import load_plan
from xstilts.plan.placement import Cluster

GOLDEN = Path(__file__).parents[2] / "pipelines" / "compiled" / "intermediate_to_xtreme_r.yaml"
CONFIG = {"run_uri": "s3://b/p/runs/r", "group": "g", "kind": "finetune"}
DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def text() -> str:
    return compiled(ClusterSettings())[0]


@pytest.fixture(scope="module")
def package(text: str) -> dict[str, Any]:
    return next(yaml.safe_load_all(text))


@pytest.fixture(scope="module")
def executors(text: str) -> dict[str, Any]:
    """The Kubernetes settings of every executor."""
    _, platform = yaml.safe_load_all(text)
    return platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def tasks(package: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(name, task) of every task that runs a container, in loops too."""
    dags = [
        package["root"]["dag"],
        *(c["dag"] for c in package["components"].values() if "dag" in c),
    ]
    for dag in dags:
        for name, task in dag["tasks"].items():
            if "iteratorPolicy" not in task:
                yield name, task


def test_compiling_twice_gives_the_same_bytes(text: str) -> None:
    assert compiled(ClusterSettings())[0] == text


def test_the_package_is_the_one_checked_in(text: str) -> None:
    """After a change on purpose: xstilts compile -o
    pipelines/compiled/intermediate_to_xtreme_r.yaml
    """
    assert text == GOLDEN.read_text()


def test_kfps_cache_is_off_everywhere(package: dict[str, Any]) -> None:
    found = {name: task["cachingOptions"] for name, task in tasks(package)}
    assert len(found) == 8
    assert set(map(str, found.values())) == {"{}"}


def test_nothing_is_installed_when_a_component_starts(text: str) -> None:
    assert "pip install" not in text


def test_only_strings_and_lists_of_strings_pass_between_components(package: dict[str, Any]) -> None:
    kinds = {
        parameter["parameterType"]
        for component in package["components"].values()
        for side in ("inputDefinitions", "outputDefinitions")
        for parameter in component.get(side, {}).get("parameters", {}).values()
    }
    assert kinds <= {"STRING", "LIST"}


def test_a_loop_takes_only_the_pipelines_parameter_and_its_items(
    package: dict[str, Any],
) -> None:
    """KFP 2.17's local runner replaces any other task's output by the item."""
    for task in package["root"]["dag"]["tasks"].values():
        if "iteratorPolicy" in task:
            inputs = task["inputs"]["parameters"]
            (output,) = [value for value in inputs.values() if "taskOutputParameter" in value]
            assert output["taskOutputParameter"]["producerTask"] == "plan"
            assert inputs["pipelinechannel--run"] == {"componentInputParameter": "run"}


def test_a_firing_with_nothing_to_do_starts_few_pods(package: dict[str, Any]) -> None:
    """KFP starts a driver for the pipeline and for each loop, and a driver and a container for each
    task. A loop over an empty list starts nothing else.
    """
    root = package["root"]["dag"]["tasks"].values()
    loops = sum("parameterIterator" in task for task in root)
    assert 1 + loops + 2 * (len(root) - loops) == 11


def test_every_task_and_loop_has_a_name_of_its_own_in_kfps_pages(package: dict[str, Any]) -> None:
    dags = [component["dag"] for component in package["components"].values() if "dag" in component]
    names = [
        task["taskInfo"]["name"]
        for dag in (package["root"]["dag"], *dags)
        for task in dag["tasks"].values()
    ]
    assert names == [
        "data sources", "tiny models", "encodings", "groups", "plan", "report", "verdict",
        "prepare records", "build", "encode", "finetune", "score",
    ]  # fmt: skip


def test_the_local_pipeline_is_the_same_graph_without_a_cluster_in_it(
    package: dict[str, Any], tmp_path: Path
) -> None:
    compiler.Compiler().compile(intermediate_to_xtreme_r, str(tmp_path / "local.yaml"))
    documents = list(yaml.safe_load_all((tmp_path / "local.yaml").read_text()))
    assert len(documents) == 1
    assert [name for name, _ in tasks(documents[0])] == [name for name, _ in tasks(package)]


def test_every_executor_reads_the_configuration_and_optional_credentials(
    executors: dict[str, Any],
) -> None:
    assert len(executors) >= 6
    for label, settings in executors.items():
        tokens = TOKENS.get(label.removeprefix("exec-").rstrip("-0123456789"), ())
        (config,) = settings["configMapAsEnv"]
        (secret,) = settings["secretAsEnv"]
        assert (config["configMapName"], config["optional"]) == ("xstilts-config", True)
        assert {pair["envVar"] for pair in config["keyToEnv"]} == set(CONFIGURATION)
        assert (secret["secretName"], secret["optional"]) == ("xstilts-s3", True)
        assert {pair["envVar"] for pair in secret["keyToEnv"]} == {*CREDENTIALS, *tokens}


def test_every_executor_knows_its_pod_and_carries_our_labels(executors: dict[str, Any]) -> None:
    for settings in executors.values():
        assert {field["name"]: field["fieldPath"] for field in settings["fieldPathAsEnv"]} == FIELDS
        assert settings["podMetadata"]["labels"] == LABELS


def test_every_executor_has_a_time_out_and_runs_without_root(executors: dict[str, Any]) -> None:
    for label, settings in executors.items():
        component = label.removeprefix("exec-").rstrip("-0123456789")
        assert int(settings["activeDeadlineSeconds"]) == round(NEEDS[component].hours * 3600)
        assert settings["securityContext"] == {
            "runAsUser": "1000",
            "runAsGroup": "1000",
            "runAsNonRoot": True,
        }


def test_every_executor_has_cpu_and_memory_requests_and_limits(
    package: dict[str, Any],
) -> None:
    for executor in package["deploymentSpec"]["executors"].values():
        wanted = {
            "resourceCpuRequest",
            "resourceCpuLimit",
            "resourceMemoryRequest",
            "resourceMemoryLimit",
        }
        assert wanted <= set(executor["container"]["resources"])


def test_every_task_is_tried_again_with_back_off_however_long_an_attempt_took(
    package: dict[str, Any],
) -> None:
    for name, task in tasks(package):
        needs, policy = NEEDS[name.rstrip("-0123456789")], task["retryPolicy"]
        assert policy["maxRetryCount"] == needs.retries
        assert (policy["backoffDuration"], policy["backoffFactor"]) == ("30s", 2.0)
        assert float(policy["backoffMaxDuration"].rstrip("s")) > needs.hours * 3600 * (
            needs.retries + 1
        )


def test_the_report_is_a_task_that_succeeds_and_the_verdict_on_it_another(
    package: dict[str, Any],
) -> None:
    """KFP drops the artifacts of a failed task."""
    root = package["root"]["dag"]["tasks"]
    assert set(package["components"]["comp-report"]["outputDefinitions"]["artifacts"]) == {
        "html",
        "markdown",
        "metrics",
    }
    assert root["verdict"]["dependentTasks"] == ["report"]
    assert (
        package["root"]["dag"]["outputs"]["parameters"]["Output"]["valueFromParameter"][
            "producerSubtask"
        ]
        == "verdict"
    )


def test_the_containers_of_a_run_are_removed(text: str) -> None:
    _, platform = yaml.safe_load_all(text)
    config = platform["platforms"]["kubernetes"]["pipelineConfig"]
    assert config["activeDeadlineSeconds"] == 30 * 86_400
    assert config["resourceTtlOnCompletion"] == 7 * 86_400


def test_settings_choose_nodes_and_parallelism() -> None:
    settings = ClusterSettings(
        node_selector={"pool": "cpu"},
        tolerations=(Toleration(key="spot", operator="Exists"),),
        batches=5,
        groups=3,
    )
    package, platform = yaml.safe_load_all(compiled(settings)[0])
    for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        assert executor["nodeSelector"] == {"labels": {"pool": "cpu"}}
        assert executor["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    loops = package["root"]["dag"]["tasks"]
    assert sorted(
        task["iteratorPolicy"]["parallelismLimit"]
        for task in loops.values()
        if "iteratorPolicy" in task
    ) == [3, 5, 5, 5]


@pytest.mark.parametrize(
    ("name", "text", "at_once"),
    [("modality", "", 8), ("modality", "groups: 3", 3), ("phang-2020", "", 24), ("demo", "", 1)],
)
def test_as_many_groups_run_at_once_as_the_plan_has_for_each_backbone(
    name: str, text: str, at_once: int, tmp_path: Path
) -> None:
    """Unless the settings have another number."""
    plan = load_plan(Path(__file__).parents[2] / "pipelines" / "plans" / f"{name}.yaml")
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    assert settings_for(file, plan, "s3://b/mirror").groups == at_once


def test_launching_steps_get_the_network_variables_and_the_secrets_name() -> None:
    settings = ClusterSettings(
        secret="other", network={"NCCL_IB_HCA": "mlx5", "FI_PROVIDER": "efa"}
    )
    package = next(yaml.safe_load_all(compiled(settings)[0]))
    given = {
        label.removeprefix("exec-"): {
            pair["name"]: pair["value"] for pair in executor["container"].get("env", ())
        }
        for label, executor in package["deploymentSpec"]["executors"].items()
    }
    for component in LAUNCHING:
        pods = rayjob.build(
            {"gpus_per_worker": 1}, {**given.pop(component), "XSTILTS_NAMESPACE": "x"}, CONFIG
        )["spec"]
        (group,) = pods["rayClusterSpec"]["workerGroupSpecs"]
        env = {one["name"]: one for one in group["template"]["spec"]["containers"][0]["env"]}
        assert (env["NCCL_IB_HCA"]["value"], env["FI_PROVIDER"]["value"]) == ("mlx5", "efa")
        for key in (*CREDENTIALS, "HF_TOKEN"):
            assert env[key]["valueFrom"]["secretKeyRef"] == {
                "name": "other",
                "key": key,
                "optional": True,
            }
    assert not any("NCCL_IB_HCA" in env for env in given.values())


def test_a_step_gets_every_variable_that_the_launcher_reads() -> None:
    """Pod fields and variables that the settings add are the rest."""
    folder = Path(images.__file__).parent / "launch"
    read = {
        name
        for file in folder.glob("*.py")
        for name in re.findall(
            r"(?:environ(?:ment)?(?:\.get\(|\[)|seconds_setting\()\"(XSTILTS_\w+)\"",
            file.read_text(),
        )
    }
    assert {"XSTILTS_LEASE_SECONDS", "XSTILTS_RAY_NAMESPACE", "XSTILTS_QUEUE"} <= read
    ours = {"XSTILTS_WORKER_IMAGE", "XSTILTS_S3_SECRET"}
    here = {
        "XSTILTS_CACHE",
        "XSTILTS_LOCAL",
        "XSTILTS_RAY_ADDRESS_FILE",
        "XSTILTS_KUBERNETES_API",
    }  # images, local runs
    assert read <= {*CONFIGURATION, *FIELDS, *ours, *here}


@pytest.mark.parametrize(
    ("mirror", "image"), [("hub", "stage-python"), ("s3://b/mirror", "plan-python")]
)
def test_plan_runs_where_its_data_can_be_looked_up(mirror: str, image: str) -> None:
    """images/install.py writes the versions that the fingerprints name into every image."""
    plan = load_plan(Path(__file__).parents[2] / "pipelines" / "plans" / "demo.yaml")
    package = next(yaml.safe_load_all(compiled(settings_for(None, plan, mirror))[0]))
    container = package["deploymentSpec"]["executors"]["exec-plan"]["container"]
    assert container["image"] == f"xstilts/{image}:dev"
    versions = [{"name": "XSTILTS_VERSIONS", "value": str(VERSIONS)}]
    assert container.get("env", []) == (versions if mirror == "hub" else [])


def test_only_network_variables_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("network: {AWS_SECRET_ACCESS_KEY: x}\n")
    with pytest.raises(PlanError, match="'AWS_SECRET_ACCESS_KEY' is not a network variable"):
        load_settings(file)


def test_settings_with_mistakes_are_refused_with_every_key(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("bathces: 3\nttl_days: soon\n")
    with pytest.raises(PlanError) as error:
        load_settings(file)
    assert "bathces" in str(error.value)
    assert "ttl_days" in str(error.value)


def test_the_docs_list_all_settings_correctly(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "kubeflow.md").read_text()
    (tmp_path / "settings.yaml").write_text(page.split("```yaml")[1].split("```")[0])
    assert load_settings(tmp_path / "settings.yaml").model_fields_set == set(
        ClusterSettings.model_fields
    )


def test_steps_that_watch_ray_outlive_its_deadline() -> None:
    settings = ClusterSettings().with_hours(500)
    assert (settings.needs("finetune").hours, settings.needs("score").hours) == (501, 501)
    assert ClusterSettings().with_hours(2).needs("finetune") == NEEDS["finetune"]


def test_a_plan_without_cluster_settings_has_the_default_deadline() -> None:
    plan = load_plan(Path(__file__).parents[2] / "pipelines" / "plans" / "demo.yaml")
    assert plan.resources.cluster is None
    file = Path(__file__).parents[2] / "k8s" / "kind" / "settings.yaml"
    settings = settings_for(file, plan, "s3://b/mirror")
    assert settings.needs("finetune").hours == Cluster().queue_hours + Cluster().deadline_hours + 1


def test_images_without_a_digest_are_refused_by_name(text: str) -> None:
    with pytest.raises(PlanError, match=r"xstilts/finetune-worker:dev.*--allow-unlocked"):
        refuse_unlocked(text)


def test_locked_images_are_named_by_digest_and_accepted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ["plan-python", "stage-python", "report-python"]
    names += [f"{name}-{stage}" for name in images.STAGED for stage in ("step", "worker")]
    lock = tmp_path / "images.lock"
    lock.write_text(
        json.dumps(
            {name: {"reference": f"registry:5000/x/{name}:1.0", "digest": DIGEST} for name in names}
        )
    )
    monkeypatch.setattr(images, "LOCK", lock)
    images.lock.cache_clear()
    try:
        text = compiled(ClusterSettings())[0]
    finally:
        monkeypatch.undo()
        images.lock.cache_clear()
    refuse_unlocked(text)
    assert f"registry:5000/x/finetune-worker@{DIGEST}" in text
    assert ":dev" not in text
