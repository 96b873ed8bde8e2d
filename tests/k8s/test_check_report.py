"""The check at the end of `make kind-test`: a whole report passes, and each thing that is
missing is named.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.k8s.manifests import K8S, ROOT
from xstilts.plan.load import load_plan

PLAN = (ROOT / "pipelines" / "plans" / "kind.yaml").read_text()
_spec = importlib.util.spec_from_file_location("check_report", K8S / "kind" / "check_report.py")
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
problems: Callable[[str, Path], Any] = _module.problems

ARMS = ("none", "captions-lm", "commonsense-lm")


def _report(folder: Path, rows: list[dict[str, Any]], **summary: Any) -> Path:
    whole = {
        "missing": [],
        "not_applicable": [],
        "skipped_languages": [],
        "headline": "captions minus commonsense",
    }
    (folder / "summary.json").write_text(json.dumps(whole | summary))
    pd.DataFrame(rows).to_parquet(folder / "results.parquet")
    pd.DataFrame([{"contrast": "captions minus commonsense"}]).to_parquet(
        folder / "effects.parquet"
    )
    for name in ("report.html", "report.md"):
        (folder / name).write_text("a report")
    return folder


def _rows() -> list[dict[str, Any]]:
    return [
        {
            "backbone": "tiny-llava",
            "arm": arm,
            "evaluation": evaluation,
            "language": language,
            "value": 12.5,
        }
        for arm in ARMS
        for evaluation, languages in (("udpos", ("en", "qaa", "avg")), ("tatoeba", ("qaa", "avg")))
        for language in languages
    ]


def test_a_whole_report_passes(tmp_path: Path) -> None:
    assert list(problems(PLAN, _report(tmp_path, _rows()))) == []


def test_a_missing_score_is_named(tmp_path: Path) -> None:
    rows = [
        row
        for row in _rows()
        if (row["arm"], row["evaluation"], row["language"]) != ("none", "udpos", "qaa")
    ]
    found = list(problems(PLAN, _report(tmp_path, rows)))
    assert found == ["results.parquet: missing score: tiny-llava, none on udpos in qaa"]


@pytest.mark.parametrize("value", [float("nan"), 101.0, -1.0])
def test_an_invalid_score_is_named(tmp_path: Path, value: float) -> None:
    rows = _rows()
    rows[0]["value"] = value
    (found,) = problems(PLAN, _report(tmp_path, rows))
    assert "invalid score" in found


def test_a_failed_cell_is_named(tmp_path: Path) -> None:
    (found,) = problems(
        PLAN, _report(tmp_path, _rows(), missing=[{"what": "a cell", "reason": "out of memory"}])
    )
    assert "out of memory" in found


def test_a_missing_effect_and_headline_are_named(tmp_path: Path) -> None:
    folder = _report(tmp_path, _rows(), headline=None)
    pd.DataFrame([{"contrast": "another"}]).to_parquet(folder / "effects.parquet")
    assert len(list(problems(PLAN, folder))) == 2


@pytest.mark.parametrize("name", _module.FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = _report(tmp_path, _rows())
    (folder / name).write_text("")
    (found,) = problems(PLAN, folder)
    assert name in found


def test_the_plan_asks_for_what_the_cluster_has() -> None:
    """Two workers, a head, a step and KFP must fit the 14 GiB that check.sh asks for, and KFP
    takes about 4 of them.
    """
    resources = load_plan(PLAN).resources
    assert resources.cluster is not None
    assert resources.cluster.node_selector == {"xstilts.dev/pool": "gpu"}
    ray = (
        resources.workers * resources.cluster.memory_gib_per_worker
        + resources.cluster.head_memory_gib
    )
    assert ray + 1 + 4 <= 14
    assert resources.gpus_per_worker == 0
