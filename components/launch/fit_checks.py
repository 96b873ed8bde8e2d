"""Reads what a cluster offers, and checks whether the groups of a plan fit: for `xstilts doctor
--plan` and `xstilts submit`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from components.launch import fit as rules
from components.launch.kubernetes import Api, ApiError
from components.launch.rayjob import build, queue_of
from components.launch.rayjob import namespace as namespace_of
from xstilts.errors import InfrastructureError

Objects = list[dict[str, Any]]


@dataclass(frozen=True)
class Finding:
    """A problem of `fit.py`, or something that could not be checked."""

    kind: Literal["never", "nodes", "now", "unread"]
    text: str


def fit(
    api: Api, namespace: str, environment: Mapping[str, str], resources: Mapping[str, Any]
) -> Iterator[Finding]:
    """What of a plan's worker groups does not fit, or could not be checked.

    Args:
        api: the cluster.
        namespace: of the steps.
        environment: of the steps: the entries of the ConfigMap.
        resources: the plan's resources; `groups` of them run at once.
    """
    environment = {"XSTILTS_WORKER_IMAGE": "none", **environment, "XSTILTS_NAMESPACE": namespace}
    where = namespace_of(environment)
    config = {"run_uri": "s3://x/runs/doctor", "group": "doctor", "kind": "finetune"}
    needs = rules.needs_of(build(resources, environment, config))
    core, unread = f"/api/v1/namespaces/{where}", list[Finding]()

    def read(what: str, path: str, query: Mapping[str, str] | None = None) -> Objects | None:
        try:
            return list(api.request("GET", path, query=query).get("items", []))
        except ApiError as error:
            reason = (
                "you are not allowed to read them" if error.status in (401, 403) else str(error)
            )
            unread.append(Finding("unread", f"{what}: not checked: {reason}"))
            return None

    quotas = read(f"quotas of {where}", f"{core}/resourcequotas")
    limits = read(f"limit ranges of {where}", f"{core}/limitranges")
    nodes = read("nodes", "/api/v1/nodes")
    pods = None if nodes is None else read("pods of all namespaces", "/api/v1/pods")
    queue = queue_of(resources, environment)
    problems = [
        *rules.quota_problems(needs, quotas or []),
        *rules.limit_problems(needs, limits or []),
        *(rules.node_problems(needs, nodes, pods) if nodes is not None else []),
        *rules.room_problem(needs, nodes or [], int(resources.get("groups", 1)), bool(queue)),
    ]
    if queue:
        problems += _queue(read, api, where, queue, needs)
    for problem in problems:
        yield Finding(problem.kind, f"the plan's groups: {problem.text}")
    yield from unread


def _queue(
    read: Callable[..., Objects | None],
    api: Api,
    namespace: str,
    queue: str,
    needs: Sequence[rules.Need],
) -> list[rules.Misfit]:
    base = "/apis/kueue.x-k8s.io/v1beta2"
    try:
        api.request("GET", base)
    except ApiError as error:
        if error.status == 404:
            base = "/apis/kueue.x-k8s.io/v1beta1"
    local = read(f"local queues of {namespace}", f"{base}/namespaces/{namespace}/localqueues")
    cluster_queues = read("cluster queues", f"{base}/clusterqueues")
    flavors = read("resource flavors", f"{base}/resourceflavors")
    if local is None or cluster_queues is None or flavors is None:
        return []
    names = {q["metadata"]["name"]: q["spec"]["clusterQueue"] for q in local}
    if queue not in names:
        return [rules.Misfit("never", f"LocalQueue {queue} does not exist in {namespace}")]
    by_name = {q["metadata"]["name"]: q for q in cluster_queues}
    if names[queue] not in by_name:
        text = f"LocalQueue {queue}: its ClusterQueue {names[queue]} does not exist"
        return [rules.Misfit("never", text)]
    return list(rules.queue_problems(needs, by_name[names[queue]], flavors))


def refuse_unfit(
    api: Api,
    namespace: str,
    environment: Mapping[str, str],
    resources: Mapping[str, Any],
    warn: Callable[[str], None],
) -> None:
    """Raises InfrastructureError for groups that can never run, and warns of other problems."""
    findings = list(fit(api, namespace, environment, resources))
    for finding in findings:
        if finding.kind in ("nodes", "now"):
            warn(finding.text)
    if never := [finding.text for finding in findings if finding.kind == "never"]:
        raise InfrastructureError(
            "not submitted, because it would wait forever: "
            + "; ".join(never)
            + ". Reduce `resources` of the plan, or raise the limit"
        )
