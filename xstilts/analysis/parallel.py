"""Which test examples belong together: one passage's, and one example's translations.

Ids are equal for parallel examples of an evaluation; clusters are not always, since a passage is named by its text
(XQuAD, MLQA). Translations are no independent examples: counted as such, an average over languages would be believed
more than it deserves. So clusters of any language that share an example become one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from xstilts.analysis.inputs import Cell, Scored


def in_parallel(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with clusters that translations share. The clusters of an evaluation are the same in all its cells."""
    first: dict[tuple[str, str], Scored] = {}
    for cell in cells:
        for key, scored in cell.scored.items():
            first.setdefault(key, scored)
    joined = {
        evaluation: join(scored for (name, _), scored in first.items() if name == evaluation)
        for evaluation in dict.fromkeys(name for name, _ in first)
    }
    return [
        replace(cell, scored={key: _in(joined[key[0]], scored) for key, scored in cell.scored.items()}) for cell in cells
    ]


def join(languages: Iterable[Scored]) -> dict[str, str]:
    """cluster → the cluster that stands for all that share an example with it, in whatever language."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    clusters: dict[str, None] = {}
    for scored in languages:
        for identity, cluster in zip(scored.ids, scored.clusters, strict=True):
            clusters[cluster] = None
            one, other = root(("cluster", cluster)), root(("example", identity))
            parent[other] = one
    names: dict[tuple[str, str], str] = {}
    return {cluster: names.setdefault(root(("cluster", cluster)), cluster) for cluster in clusters}


def _in(joined: Mapping[str, str], scored: Scored) -> Scored:
    if all(joined.get(cluster, cluster) == cluster for cluster in set(scored.clusters)):
        return scored
    clusters = [joined.get(cluster, cluster) for cluster in scored.clusters]
    last = _in(joined, scored.last) if scored.last else None
    return replace(scored, clusters=clusters, last=last, _ratios={})
