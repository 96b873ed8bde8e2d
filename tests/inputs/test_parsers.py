"""Every parser of input from outside is behind xstilts/input_files.py."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Function → modules that may call it, and why.
ALLOWED: dict[str, dict[str, str]] = {
    "json.loads": {
        "xstilts/input_files.py": "the reader",
        "xstilts/analysis/summary.py": "of text that pandas made",
        "xstilts/miniature/stand_ins.py": "tokenizers that a developer names",
        "xstilts/miniature/tokenizers.py": "of a tokenizer in memory",
        "xstilts/models/literal_text.py": "of a tokenizer in memory",
        "xstilts/runs/step_counts.py": "columns of predictions, whose digest was verified",
        "xstilts/analysis/table_text.py": "of text that pandas made",
        "xstilts/sources/mirrors.py": "hub.lock, which is part of the package",
        "components/images.py": "images.lock, which is part of the package",
        "components/launch/kubernetes.py": "the cluster's API server",
        "pipelines/cost_reference.py": "docs/costs.json",
        "pipelines/kfp/error_texts.py": "the KFP server; other text has no message",
        "pipelines/kfp/kfp_client.py": "the KFP server",
        "pipelines/task_processes.py": "a request of this run's own process",
        "pipelines/log_steps.py": "a command line of a pod; a placeholder has no item",
    },
    "json.load": {},
    "yaml.load": {},
    "yaml.safe_load": {},
    "yaml.safe_load_all": {"pipelines/kfp/package.py": "the package that was just compiled"},
    "gzip.open": {},
    "gzip.decompress": {},
    "pickle.load": {},
    "pickle.loads": {},
    "Image.open": {
        "xstilts/tasks/pictures.py": "the reader of pictures",
        "xstilts/miniature/real_sizes.py": "pictures that the miniature drew",
    },
    "torch.load": {"xstilts/models/backbone.py": "tensors only"},
}


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("folder", ["xstilts", "components", "pipelines", "images"])
def test_parsers_are_called_in_the_listed_modules_only(folder: str) -> None:
    others = [
        f"{name}: {call}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in [path.relative_to(ROOT).as_posix()]
        for call in calls(path)
        if call in ALLOWED and name not in ALLOWED[call]
    ]
    assert others == []


def test_no_exception_is_out_of_date() -> None:
    unused = [
        f"{name}: {call}"
        for call, names in ALLOWED.items()
        for name in names
        if call not in set(calls(ROOT / name))
    ]
    assert unused == []
