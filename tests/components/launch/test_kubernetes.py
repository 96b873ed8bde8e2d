"""The Kubernetes client: retries and error messages."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.launch.kubernetes import (
    DOUBT_SECONDS,
    Api,
    ApiError,
    RayJobs,
    load_kubeconfig,
)
from tests.components.launch.scripted import ScriptedCluster, said, served
from xstilts.errors import InfrastructureError


@pytest.fixture
def cluster() -> ScriptedCluster:
    return ScriptedCluster()


@pytest.fixture
def api(cluster: ScriptedCluster) -> Iterator[Api]:
    with served(cluster) as address:
        yield Api(address, lambda: "secret-token", sleep=cluster.tick, clock=lambda: cluster.now)


def named(name: str, **metadata: object) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "ns", **metadata}, "spec": {}}


@pytest.mark.parametrize("fault", [429, 500, 502, 503, 504, "drop"])
def test_a_passing_fault_is_tried_again(cluster: ScriptedCluster, api: Api, fault: object) -> None:
    cluster.faults = [fault] * 4
    assert api.request("GET", "/version")["gitVersion"]
    assert len(cluster.requests) == 5


@pytest.mark.parametrize("fault", [429, 503, "drop"])
def test_retries_end_with_an_error_that_names_the_request(
    cluster: ScriptedCluster, api: Api, fault: object
) -> None:
    cluster.faults, start = [fault] * 10_000, cluster.now
    with pytest.raises(ApiError, match="GET /version: ") as caught:
        api.request("GET", "/version")
    assert caught.value.status == (0 if fault == "drop" else fault)
    assert isinstance(caught.value, InfrastructureError)
    assert 200 < cluster.now - start < 400
    assert len(cluster.requests) < 40


@pytest.mark.parametrize(
    ("status", "message"), [(401, "token"), (403, "Role xstilts-step"), (422, "rejects the object")]
)
def test_an_error_is_not_retried_and_says_what_to_do(
    cluster: ScriptedCluster, api: Api, status: int, message: str
) -> None:
    cluster.faults = [status]
    with pytest.raises(ApiError, match=rf"GET /version: HTTP {status}: scripted; .*{message}"):
        api.request("GET", "/version")
    assert len(cluster.requests) == 1


#: (answers of a starting API server after a first success, the request that meets them)
REFUSED = {"kind": "Status", "message": 'rayjobs.ray.io "a" is forbidden', "details": {"name": "a"}}
STARTS = {
    "its rules are not read": (403, said('rayjobs.ray.io is forbidden: User "x" cannot list', "")),
    "a refusal that names the object": (403, REFUSED),
    "its keys are not read": (401, said("Unauthorized")),
    "its CRDs are not read": (404, "404 page not found"),
    "the kind is not served yet": (404, said("the server could not find the requested resource")),
}


@pytest.fixture
def patient(cluster: ScriptedCluster, api: Api) -> Api:
    """The API of a pod's own cluster, after a first success."""
    api.doubt = DOUBT_SECONDS
    api.request("GET", "/version")
    return api


@pytest.mark.parametrize("start", STARTS)
def test_a_restart_of_the_api_server_is_waited_for(
    cluster: ScriptedCluster, patient: Api, start: str
) -> None:
    """Refused connections, then what it answers before it is ready, then 503."""
    cluster.faults = ["drop", "drop", *[STARTS[start]] * 4, 503, 503]
    RayJobs(patient, "ns").create(named("a"))
    cluster.faults = ["drop", "drop", *[STARTS[start]] * 4, 503, 503]
    job = RayJobs(patient, "ns").get("a")
    assert job is not None
    assert (job["metadata"]["name"], cluster.made) == ("a", 1)


@pytest.mark.parametrize("start", STARTS)
def test_a_lasting_refusal_ends_the_request_after_two_minutes(
    cluster: ScriptedCluster, patient: Api, start: str
) -> None:
    cluster.faults, begun = [STARTS[start]] * 10_000, cluster.now
    with pytest.raises(ApiError) as caught:
        RayJobs(patient, "ns").get("a", patience=1800)
    assert caught.value.status == STARTS[start][0]
    assert 60 < cluster.now - begun <= DOUBT_SECONDS


def test_an_object_that_is_gone_is_not_waited_for(cluster: ScriptedCluster, patient: Api) -> None:
    cluster.requests.clear()
    assert RayJobs(patient, "ns").get("a") is None
    assert RayJobs(patient, "ns").delete("a") is False
    assert len(cluster.requests) == 2


def test_what_only_explains_is_not_waited_for(cluster: ScriptedCluster, patient: Api) -> None:
    cluster.faults = [403]
    with pytest.raises(ApiError):
        RayJobs(patient, "ns").pods("c")


def test_no_error_shows_the_token(cluster: ScriptedCluster, api: Api) -> None:
    cluster.faults = [403]
    with pytest.raises(ApiError) as caught:
        api.request("GET", "/version")
    assert "secret-token" not in str(caught.value)


def test_an_absent_job_is_none_and_an_absent_api_is_an_error(
    cluster: ScriptedCluster, api: Api
) -> None:
    assert RayJobs(api, "ns").get("a") is None
    cluster.faults = [404]
    with pytest.raises(ApiError, match="KubeRay's CRDs are installed"):
        RayJobs(api, "ns").get("a")


def test_a_job_is_made_once(cluster: ScriptedCluster, api: Api) -> None:
    jobs = RayJobs(api, "ns")
    assert jobs.create(named("a")) is True
    assert jobs.create(named("a")) is False
    assert cluster.made == 1
    assert "fieldValidation=Strict" in cluster.requests[0]


def test_only_that_very_job_is_deleted(cluster: ScriptedCluster, api: Api) -> None:
    jobs = RayJobs(api, "ns")
    jobs.create(named("a"))
    assert jobs.delete("a", "uid-of-another") is False
    assert cluster.jobs() == ["a"]
    assert jobs.delete("a", cluster.job()["metadata"]["uid"]) is True
    assert jobs.delete("a") is False


def test_an_owner_is_added_once_to_the_others(cluster: ScriptedCluster, api: Api) -> None:
    jobs = RayJobs(api, "ns")
    jobs.create(named("a", ownerReferences=[{"uid": "1"}]))
    cluster.faults = [None, 409]
    assert jobs.own("a", {"uid": "2"}) is True
    assert jobs.own("a", {"uid": "2"}) is True
    assert [owner["uid"] for owner in cluster.job()["metadata"]["ownerReferences"]] == ["1", "2"]
    assert jobs.own("gone", {"uid": "2"}) is False


def test_jobs_are_listed_by_label(cluster: ScriptedCluster, api: Api) -> None:
    jobs = RayJobs(api, "ns")
    jobs.create(named("a", labels={"x": "1", "y": "2"}))
    jobs.create(named("b", labels={"x": "1"}))
    assert [job["metadata"]["name"] for job in jobs.labelled("x=1,y=2")] == ["a"]


def test_outside_a_pod_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("XSTILTS_KUBERNETES_API", raising=False)
    with pytest.raises(InfrastructureError, match="not in a pod"):
        Api.in_cluster()


USER = "users: [{name: u, user: {}}]"
CONTEXT = "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no Kubernetes cluster configured"),
        (b"text", "the kubeconfig is invalid"),
        (b"7", "the kubeconfig is invalid"),
        (b"- a\n- b", "the kubeconfig is invalid"),
        (b"a: [", "the kubeconfig is invalid"),
        (b"\xff\xfe\x00", "the kubeconfig is invalid"),
        (b"contexts: 7\ncurrent-context: c", "Kubernetes cluster|kubeconfig"),
        (f"{CONTEXT}\n{USER}\nclusters: [7]".encode(), "Kubernetes cluster|kubeconfig"),
    ],
)
def test_an_invalid_kubeconfig_has_a_message(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_bytes(text)
    with pytest.raises(InfrastructureError, match=f"{message}.*set KUBECONFIG.*or stop"):
        load_kubeconfig("or stop", config_file=str(tmp_path / "config"))


def test_an_invalid_certificate_of_a_kubeconfig_has_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    cluster = f"{{server: 'https://h', certificate-authority: {tmp_path / 'ca.crt'}}}"
    text = f"{CONTEXT}\n{USER}\nclusters: [{{name: k, cluster: {cluster}}}]"
    (tmp_path / "config").write_text(text)
    place = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(place, str(tmp_path / "config"))
    with pytest.raises(InfrastructureError, match="a certificate of the kubeconfig cannot be used"):
        Api.from_kubeconfig()
