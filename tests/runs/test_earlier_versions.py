"""The report of a run that an earlier version wrote: steps without a recipe version, predictions
without rows and parallel keys.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.expansions import expansion_of
from xstilts.runs.collect import report_input
from xstilts.step import Step, digest
from xstilts.store.server import serve
from xstilts.store.store import Store

LANGUAGES = ["en", "de"]


def earlier_step() -> dict[str, Any]:
    """A score step as recipe version 3 stored it."""
    spec = {
        "evaluation": "xquad",
        "format": "span",
        "languages": LANGUAGES,
        "metrics": ["squad_f1", "squad_em"],
    }
    body = {"kind": "score", "spec": spec, "parents": {"model": "a" * 64}}
    settings = {"label": "score xquad", "splits": dict.fromkeys(LANGUAGES, "validation")}
    return {**body, "fingerprint": digest({**body, "version": 3}), "settings": settings}


def earlier_predictions(path: Path) -> Path:
    rows = [
        {"checkpoint": "selected", "language": language, "id": f"q{n}", "cluster": f"{language}-passage", "prediction": '"a"',
         "gold": json.dumps(["a" if n else "b"])}
        for language in LANGUAGES
        for n in range(3)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_a_run_of_an_earlier_version_has_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(tmp_path / "s3") as server:
        for name, value in server.env().items():
            monkeypatch.setenv(name, value)
        store = Store.open("s3://xstilts/earlier", cache=tmp_path / "cache")
        step, trained = earlier_step(), Step("finetune", {"stage": "squad"})
        cell = {
            "id": "b.none.squad.t0", "backbone": "b", "arm": "none", "seed": 0, "seed_intermediate": None, "seed_target": 0,
            "trained_target": "squad", "chain": [trained.fingerprint], "scores": {"xquad": step["fingerprint"]},
        }  # fmt: skip
        expanded = expansion_of(
            [Step.from_json(step), trained], ["xquad"], cells=[cell], plan={"backbones": {"b": {}}}
        ).to_json()
        expanded["steps"][step["fingerprint"]] = step
        store.put_json("runs/small-1/expanded.json", expanded)
        store.commit(
            Step.from_json(step),
            {"predictions.parquet": earlier_predictions(tmp_path / "p.parquet")},
            {"rows": 6},
        )
        report = report_input(store, "runs/small-1")
    (cell,) = report.cells
    assert report.missing == []
    assert {key: scored.value("squad_em") for key, scored in cell.scored.items()} == {
        ("xquad", "en"): pytest.approx(200 / 3), ("xquad", "de"): pytest.approx(200 / 3),
    }  # fmt: skip
    clusters = {cluster for scored in cell.scored.values() for cluster in scored.clusters}
    assert len(clusters) == 1, "the passages of both languages share their questions"
