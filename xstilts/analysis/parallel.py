"""Clusters of test examples that are not independent: examples of one passage, and translations of
one example.

If translations counted as independent examples, an average over languages would look more certain
than it is. So clusters of different languages become one cluster if they share an example,
according to the task's `parallel` key. Equal ids prove nothing: UD-POS, WikiANN and Tatoeba use the
same row numbers in all languages for different sentences.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from xstilts.analysis.inputs import Cell, Names, Scored


def in_parallel(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with clusters that translations share. An evaluation has the same clusters in all
    cells.
    """
    first: dict[tuple[str, str], Scored] = {}
    for cell in cells:
        for key, scored in cell.scored.items():
            first.setdefault(key, scored)
    joined = {
        evaluation: join(scored for (name, _), scored in first.items() if name == evaluation)
        for evaluation in dict.fromkeys(name for name, _ in first)
    }
    shared: dict[tuple[str, int], tuple[Sequence[str], Sequence[str]]] = {}

    def renamed(evaluation: str, scored: Scored) -> Scored:
        key = (evaluation, id(scored.clusters))
        if key not in shared:  # the entry keeps the old clusters alive, so that ids stay unique
            shared[key] = (scored.clusters, _renamed(joined[evaluation], scored.clusters))
        clusters = shared[key][1]
        if clusters is scored.clusters:
            return scored
        last = renamed(evaluation, scored.last) if scored.last else None
        return replace(scored, clusters=clusters, last=last, _values={})

    return [
        replace(
            cell,
            scored={key: renamed(key[0], scored) for key, scored in cell.scored.items()},
        )
        for cell in cells
    ]


def join(languages: Iterable[Scored]) -> dict[str, str]:
    """cluster → the cluster that represents all clusters which share an example with it, in any
    language.
    """
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    clusters: dict[str, None] = {}
    for scored in languages:
        clusters.update(dict.fromkeys(scored.clusters))
        for key, cluster in (
            zip(scored.parallel, scored.clusters, strict=True) if scored.parallel else ()
        ):
            if key:
                parent[root(("example", key))] = root(("cluster", cluster))
    names: dict[tuple[str, str], str] = {}
    return {cluster: names.setdefault(root(("cluster", cluster)), cluster) for cluster in clusters}


def _renamed(joined: Mapping[str, str], clusters: Sequence[str]) -> Sequence[str]:
    """The clusters under their joined names; the same object if none has another name."""
    names = Names.of(clusters)
    if all(joined.get(cluster, cluster) == cluster for cluster in names.distinct):
        return clusters
    return names.renamed(joined)
