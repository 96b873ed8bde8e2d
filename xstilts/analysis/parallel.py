"""Which test examples belong together: one passage's, and one example's translations.

Translations are not independent examples: counted as such, an average over languages would look
more certain than it is. So clusters of all languages become one where they share an example, which
a task's `parallel` key says. Equal ids say nothing: row numbers of UD-POS, WikiANN or Tatoeba are
equal in all languages, and the sentences are not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from xstilts.analysis.inputs import Cell, Scored


def in_parallel(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with clusters that translations share. The clusters of an evaluation are the
    same in all its cells.
    """
    first: dict[tuple[str, str], Scored] = {}
    for cell in cells:
        for key, scored in cell.scored.items():
            first.setdefault(key, scored)
    joined = {
        evaluation: join(scored for (name, _), scored in first.items() if name == evaluation)
        for evaluation in dict.fromkeys(name for name, _ in first)
    }
    return [
        replace(
            cell, scored={key: _in(joined[key[0]], scored) for key, scored in cell.scored.items()}
        )
        for cell in cells
    ]


def join(languages: Iterable[Scored]) -> dict[str, str]:
    """cluster → the cluster that stands for all that share an example with it, in any language."""
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


def _in(joined: Mapping[str, str], scored: Scored) -> Scored:
    if all(joined.get(cluster, cluster) == cluster for cluster in set(scored.clusters)):
        return scored
    clusters = [joined.get(cluster, cluster) for cluster in scored.clusters]
    last = _in(joined, scored.last) if scored.last else None
    return replace(scored, clusters=clusters, last=last, _ratios={})
