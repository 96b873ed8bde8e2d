"""Fingerprints of all steps of two shipped plans. If one changes, users recompute the step.

To accept a change, bump the recipe version of the changed kinds and run
`python -m tests.plan.test_fingerprints`.
"""

import gzip
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from xstilts.plan.expand import expand
from xstilts.plan.load import load_plan
from xstilts.plan.tables import Tables

GOLDEN = Path(__file__).parent / "golden"
PLANS = Path(__file__).resolve().parents[2] / "pipelines" / "plans"
NAMES = ("demo", "modality")


def fingerprints(name: str) -> list[str]:
    """Sorted `kind fingerprint` of all steps. Identities are constants; no mirror is read."""
    raw = yaml.safe_load((PLANS / f"{name}.yaml").read_text())
    for backbone in raw["backbones"].values():
        if "hub" in backbone:
            backbone["revision"] = "a" * 40
    tables = replace(
        Tables.shipped(),
        identity=lambda *_: {"commit": "0" * 40},
        missing=lambda *_: None,
        model=lambda *_: None,
    )
    expansion = expand(
        load_plan(yaml.safe_dump(raw, sort_keys=False), tables), None, {"torch": "0"}, tables
    )
    return sorted(
        f"{step.kind} {fingerprint[:16]}" for fingerprint, step in expansion.steps.items()
    )


@pytest.mark.parametrize("name", NAMES)
def test_fingerprints_are_the_same_as_in_earlier_versions(name: str) -> None:
    with gzip.open(GOLDEN / f"{name}.txt.gz", "rt") as file:
        golden = file.read().splitlines()
    now = fingerprints(name)
    lost = sorted(set(golden) - set(now))
    assert not lost, f"{len(lost)} of {len(golden)} fingerprints changed, among them {lost[:5]}"
    assert len(now) == len(golden)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for plan in NAMES:
        (GOLDEN / f"{plan}.txt.gz").write_bytes(
            gzip.compress("\n".join(fingerprints(plan)).encode(), mtime=0)
        )
