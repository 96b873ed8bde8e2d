"""Installations of k8s/ in namespaces of their own, runs in them, and the table of results.

`--cluster-table FILE` writes the table as JSON or Markdown (`.md`; in a page that has it, in its place). XSTILTS_CLUSTER_REQUIRED=kueue,policies,processes:
what must be there; a test that needs it fails instead of being skipped.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.install import (
    bucket,
    dns_policy,
    missing_priorities,
    namespace_of,
    overlay,
    queue_of,
    secret,
    small_requests,
)
from tests.cluster.kube import MARK, TOOL, Cluster, Missing, has_processes, until
from tests.cluster.runs import PLAN, Run, upload
from tests.cluster.tasks import WORKFLOWS
from tests.k8s.manifests import Document
from xstilts.store.store import Store

REPORTS = pytest.StashKey[dict[str, tuple[str, float, str]]]()
CLUSTER = pytest.StashKey[str]()
#: Where a page has the table.
BEGIN, END = "<!-- tests/cluster -->\n", "<!-- end of tests/cluster -->\n"
#: Seconds of a case that does not have a line of its own.
QUICK = 10.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cluster-table", help="write the table of results to this file")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker("cluster")


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    known = item.config.stash.setdefault(REPORTS, {})
    result, seconds, why = known.get(item.nodeid, ("interrupted", 0.0, ""))
    if call.excinfo is None:
        result = "passed" if call.when == "call" else result
    else:
        skipped = call.excinfo.errisinstance(pytest.skip.Exception)
        result = "skipped" if skipped else "failed"
        why = str(call.excinfo.value).splitlines()[0] if str(call.excinfo.value) else ""
    known[item.nodeid] = (result, seconds + call.duration, why)


def pytest_sessionfinish(session: pytest.Session) -> None:
    file = session.config.getoption("--cluster-table", default=None)
    known = session.config.stash.get(REPORTS, {})
    if not file or not known:
        return
    cluster = session.config.stash.get(CLUSTER, "none")
    rows = [
        {
            "test": name.rpartition("/")[2].removesuffix("]"),
            "cluster": cluster,
            "seconds": round(seconds, 1),
            "result": f"skipped: {why}" if result == "skipped" else result,
        }
        for name, (result, seconds, why) in known.items()
    ]
    if file.endswith(".json"):
        Path(file).write_text(json.dumps(rows, indent=1) + "\n")
        return
    page = Path(file)
    text = page.read_text() if page.is_file() else f"{BEGIN}{END}"
    before, _, rest = text.partition(BEGIN)
    earlier, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}{markdown(cluster, rows, earlier)}{END}{after}")


def markdown(cluster: str, rows: list[Document], earlier: str = "") -> str:
    """The table: one line per test, in which quick cases that passed are counted. Lines of an earlier
    table of this cluster are kept for tests that did not run.
    """
    title = f"Cluster: {cluster}."
    lines = {}
    if title in earlier.splitlines():
        lines = {line.split(" | ")[0]: line for line in earlier.splitlines()[4:]}
    for name, group in itertools.groupby(sorted(rows, key=_line), _line):
        cases = list(group)
        seconds = round(sum(row["seconds"] for row in cases), 1)
        lines[f"| {name}"] = f"| {name} | {len(cases)} | {seconds} | {cases[0]['result']} |"
    head = [title, "", "| test | cases | seconds | result |", "| --- | ---: | ---: | --- |"]
    return "\n".join([*head, *lines.values()]) + "\n"


def _line(row: Document) -> str:
    file, _, test = row["test"].partition("::")
    name, _, case = test.removeprefix("test_").replace("_", " ").partition("[")
    area = file.removeprefix("test_").removesuffix(".py").replace("_", " ")
    shown = case and (row["result"] != "passed" or row["seconds"] >= QUICK)
    return f"{area}: {name}{f' ({case})' if shown else ''}"


def need(what: str, problem: str | None) -> None:
    """Skips the test with the problem, or fails it if XSTILTS_CLUSTER_REQUIRED names `what`."""
    if problem is None:
        return
    if what in os.environ.get("XSTILTS_CLUSTER_REQUIRED", "").split(","):
        pytest.fail(problem)
    pytest.skip(problem)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster with KubeRay and an S3 that its pods and this process reach."""
    found = Cluster()
    need("cluster", None if os.environ.get("KUBECONFIG") else "KUBECONFIG is not set")
    answers = found.run("get", "--raw", "/readyz", check=False)
    need("cluster", None if answers.returncode == 0 else f"no API server: {answers.stderr}")
    for variable in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        need("cluster", None if os.environ.get(variable) else f"{variable} (the S3) is not set")
    try:
        request.config.stash[CLUSTER] = found.name
    except Missing as missing:
        need("cluster", str(missing))
    marked = [] if found.exists("crd", "workflows.argoproj.io") else [WORKFLOWS]
    found.apply([*marked, *small_requests(found)])
    if marked:
        until(lambda: found.exists("workflows", "-A"), "the CRD of workflows is not served")
    yield found
    kinds = "mutatingadmissionpolicies,mutatingadmissionpolicybindings,crds"
    if found.has_kueue:
        kinds += ",workloadpriorityclasses"
    found.delete(kinds, "-l", ",".join(f"{key}={value}" for key, value in MARK.items()))


@pytest.fixture(scope="session")
def root(cluster: Cluster) -> Iterator[str]:
    """The prefix of this session's stores."""
    folder, name = f"s3://{bucket()}/cluster-tests", uuid.uuid4().hex[:8]
    yield f"{folder}/{name}"
    Store.open(folder).delete(f"{name}/")


@pytest.fixture
def new_namespace(cluster: Cluster) -> Iterator[str]:
    """An empty namespace of one test."""
    name = f"xstilts-test-{uuid.uuid4().hex[:6]}"
    cluster.apply([namespace_of(name)])
    yield name
    cluster.delete("namespace", name)


@pytest.fixture(scope="session")
def home(cluster: Cluster, root: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A namespace with the base, where steps run."""
    name = f"xstilts-test-{uuid.uuid4().hex[:6]}"
    folder = tmp_path_factory.mktemp("overlay")
    documents = overlay(folder, name, f"{root}/store")
    for document in documents:  # the tests start it themselves
        if document["kind"] == "CronJob":
            document["spec"]["suspend"] = True
    cluster.apply([namespace_of(name)])
    cluster.apply([secret(name), *documents, *dns_policy(cluster, name)])
    yield name
    cluster.delete("namespace", name)


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniature") / "mirror"
    subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "mirror", "miniature", str(folder)], check=True
    )
    return folder


@pytest.fixture(scope="session")
def planned(
    cluster: Cluster,
    home: str,
    root: str,
    miniature: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """A run whose plan step is done."""
    upload(miniature, f"{root}/mirror")  # plan checks that it has the plan's data
    store = Store.open(f"{root}/store", tmp_path_factory.mktemp("cache"))
    return Run.create(cluster, home, store, f"{root}/mirror").plan()


@pytest.fixture(scope="session")
def staged(planned: Run) -> Run:
    """A run whose data steps are done."""
    return planned.stage()


@contextlib.contextmanager
def copied(original: Run, root: str) -> Iterator[Run]:
    """A copy of a run in a store of its own, removed afterwards."""
    copy = original.copied(f"{root}/{uuid.uuid4().hex[:8]}")
    yield copy
    copy.remove()


@pytest.fixture
def run(staged: Run, root: str) -> Iterator[Run]:
    """A run with staged data in a store of its own."""
    with copied(staged, root) as copy:
        yield copy


@pytest.fixture
def another(staged: Run, root: str) -> Iterator[Run]:
    """A second run, as `run`."""
    with copied(staged, root) as copy:
        yield copy


@pytest.fixture
def idle(planned: Run, root: str) -> Iterator[Run]:
    """A run without data in a store of its own, for jobs that do not train."""
    with copied(planned, root) as copy:
        yield copy


@pytest.fixture
def another_idle(planned: Run, root: str) -> Iterator[Run]:
    """A second run, as `idle`."""
    with copied(planned, root) as copy:
        yield copy


@pytest.fixture
def quota(cluster: Cluster, home: str) -> Iterator[Callable[[int], None]]:
    """Sets how many Ray pods the installation's quota allows; the old number afterwards."""

    def allow(pods: int | str) -> None:
        patch = json.dumps({"spec": {"hard": {"pods": str(pods)}}})
        cluster.run("-n", home, "patch", "resourcequota", "xstilts", "--type=merge", "-p", patch)

    before = cluster.get("-n", home, "resourcequota", "xstilts")["spec"]["hard"]["pods"]
    yield allow
    allow(before)


@pytest.fixture(scope="session")
def local_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results.parquet of the plan's run on this machine, or of an earlier one, from
    XSTILTS_LOCAL_RESULTS.
    """
    if earlier := os.environ.get("XSTILTS_LOCAL_RESULTS"):
        return Path(earlier)
    folder = tmp_path_factory.mktemp("local")
    command = [sys.executable, "-m", "pipelines.cli", "run", str(PLAN)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    subprocess.run(
        [*command, "--out", str(folder / "out"), "--home", str(folder)], check=True, env=environment
    )
    return folder / "out" / "report" / "results.parquet"


@pytest.fixture
def processes() -> None:
    """Skips where the components of the cluster cannot be killed."""
    need("processes", has_processes())


@pytest.fixture
def kueue(cluster: Cluster) -> None:
    """Skips where Kueue is not installed."""
    need("kueue", None if cluster.has_kueue else f"Kueue is not installed (try {TOOL} up --kueue)")


@pytest.fixture
def queue(cluster: Cluster, home: str, kueue: None) -> Iterator[Callable[[int], str]]:
    """Creates a queue with so many processors; returns its name."""
    name = f"xstilts-test-{uuid.uuid4().hex[:6]}"

    def create(cpus: int) -> str:
        cluster.apply([*missing_priorities(cluster), *queue_of(name, home, cpus)])
        return name

    yield create
    cluster.delete("-n", home, "localqueue", name)
    cluster.delete("clusterqueue,resourceflavor", name)
