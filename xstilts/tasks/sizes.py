"""Sources of the tasks' row counts.

A count is that of the official split, in the unit of its rows (questions, statements, sentences),
as a source states it. A split without a known source has no count. Rows that a task drops (no gold
label, no image) count.
"""

from collections.abc import Mapping

_DATASETS = "huggingface/datasets d7dfbc83d68e"  # the last commit with the data sets' own files


def infos(*names: str) -> str:
    """dataset_infos.json of these data sets, from which the hub's copies were made."""
    return "; ".join(f"{_DATASETS}, datasets/{name}/dataset_infos.json" for name in names)


def card(name: str, commit: str) -> str:
    """The card of a data set on the hub, at a commit."""
    return f"hub card of {name} at {commit}"


def by_language(table: str) -> Mapping[str, int]:
    """`code count` pairs as the sizes of test splits."""
    words = table.split()
    return {f"test:{code}": int(count) for code, count in zip(words[::2], words[1::2], strict=True)}
