"""Who may reach whom, worked out from NetworkPolicies as a cluster does: a connection needs both
ends' consent.

Covers what our policies use: pod and namespace selectors, ipBlocks, numbered ports.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod with labels in a namespace, or an address outside (labels
    None).
    """

    labels: dict[str, str] | None = None
    namespace: str = "kubeflow"
    address: str = "10.244.0.1"
    namespace_labels: dict[str, str] = field(default_factory=dict)

    @property
    def of_namespace(self) -> dict[str, str]:
        return {"kubernetes.io/metadata.name": self.namespace, **self.namespace_labels}


def selects(selector: Document, labels: dict[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In", "our policies use In only"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def _peer(peer: Document, other: End, home: str) -> bool:
    if "ipBlock" in peer:
        block, address = peer["ipBlock"], ipaddress.ip_address(other.address)
        inside = address in ipaddress.ip_network(block["cidr"])
        # Pods have addresses too, but clusters differ in whether an ipBlock matches one: count on
        # none.
        excepted = any(address in ipaddress.ip_network(cidr) for cidr in block.get("except", ()))
        return other.labels is None and inside and not excepted
    if other.labels is None:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], other.of_namespace):
            return False
    elif other.namespace != home:
        return False
    return selects(peer.get("podSelector", {}), other.labels)


def _consents(
    policies: Iterable[Document], own: End, other: End, port: int, protocol: str, way: str
) -> bool:
    if own.labels is None:
        return True
    selecting = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == own.namespace
        and way in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], own.labels)
    ]
    if not selecting:
        return True
    key, side = way.lower(), "from" if way == "Ingress" else "to"
    for policy in selecting:
        for rule in policy["spec"].get(key, ()):
            ports = rule.get("ports")
            if ports and not any(
                p["port"] == port and p.get("protocol", "TCP") == protocol for p in ports
            ):
                continue
            if side not in rule or any(_peer(peer, other, own.namespace) for peer in rule[side]):
                return True
    return False


def reaches(
    documents: Iterable[Document], source: End, target: End, port: int, protocol: str = "TCP"
) -> bool:
    policies = [d for d in documents if d["kind"] == "NetworkPolicy"]
    out = _consents(policies, source, target, port, protocol, "Egress")
    return out and _consents(policies, target, source, port, protocol, "Ingress")
