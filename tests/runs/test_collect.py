"""What the report reads from a run: mined sentences on which arms are paired, missing cells, the
banner.
"""

from typing import Any

import pytest

from xstilts.analysis.inputs import Cell, Scored
from xstilts.runs.collect import _banner, _images, _missing, on_equal_sentences
from xstilts.runs.folder import failure_key


def mined(
    rows: list[int], predictions: list[str], golds: list[list[str]], old: bool = False
) -> Cell:
    ids = [f"test/fr-{row}" if old else "same" for row in rows]
    scored = Scored(
        ids, [f"fr/#{row}" for row in rows], predictions, golds, "test", rows=() if old else rows
    )
    return Cell("b", "none", 0, None, 0, "", {("bucc_mining", "fr"): scored})


@pytest.mark.parametrize("old", [False, True])
def test_arms_that_mined_different_sentences_are_paired_by_their_rows(old: bool) -> None:
    """One arm has a false positive in row 5, the other in row 2; row 3 has a translation."""
    cells = [
        mined([3, 5], ["en-1", "en-9"], [["en-1"], []], old),
        mined([2, 3], ["en-8", ""], [[], ["en-1"]], old),
    ]
    first, second = (
        cell.scored["bucc_mining", "fr"] for cell in on_equal_sentences(cells, ["bucc_mining"])
    )
    assert list(first.clusters) == list(second.clusters) == ["fr/#2", "fr/#3", "fr/#5"]
    assert list(first.rows) == list(second.rows) == ([] if old else [2, 3, 5])
    assert (list(first.predictions), list(second.predictions)) == (
        ["", "en-1", "en-9"],
        ["en-8", "", ""],
    )
    assert list(first.golds) == list(second.golds) == [[], ["en-1"], []]


class Failures:
    """A store with recorded failures: (kind, fingerprint) → message."""

    def __init__(self, failures: dict[tuple[str, str], str]) -> None:
        self.records = {
            failure_key("runs/r", *step): {"error": error, "log": f"end of {error}"}
            for step, error in failures.items()
        }

    def get_json(self, key: str) -> dict[str, Any] | None:
        return self.records.get(key)


CELL = {"id": "llava.x.squad.i0.t0", "chain": ["intermediate", "target"]}


@pytest.mark.parametrize(
    ("failures", "reason", "log"),
    [
        ({}, "not run", ""),
        ({("score", "s"): "no answers"}, "no answers", "end of no answers"),
        (
            {("score", "s"): "no model", ("finetune", "target"): "its parent failed",
             ("finetune", "intermediate"): "the loss is nan"},
            "the loss is nan",
            "end of the loss is nan",
        ),
    ],
)  # fmt: skip
def test_a_missing_score_has_the_first_failure_of_its_cell(
    failures: dict[tuple[str, str], str], reason: str, log: str
) -> None:
    store: Any = Failures(failures)
    assert _missing(store, "runs/r", CELL, "xquad", "s") == {
        "what": "llava.x.squad.i0.t0 on xquad",
        "reason": reason,
        "log": log,
    }


def expanded(path: str, **backbones: dict[str, Any]) -> dict[str, Any]:
    return {"identities": [{"path": path}], "plan": {"backbones": backbones}}


TINY = {"build": {"family": "llava"}}
RELEASED = {"hub": "org/model"}


@pytest.mark.parametrize(
    ("data", "mirror", "begin", "tiny"),
    [
        (expanded("xstilts/miniature-text", a=TINY), "/m", "Generated data, not XTREME-R", True),
        (expanded("xnli", a=RELEASED), "s3://b/mirror", "The data comes from a mirror", False),
        (expanded("xnli", a=TINY, b=RELEASED), "hub", "The backbones a are tiny models", True),
        (expanded("xnli", a=TINY), "hub", "The backbones are tiny models", True),
        (expanded("xnli", a=RELEASED), "hub", "", False),
    ],
    ids=["miniature", "mirror", "hub and one built", "hub and built", "official"],
)
def test_the_banner_names_data_and_backbones_that_are_not_official(
    data: dict[str, Any], mirror: str, begin: str, tiny: bool
) -> None:
    banner = _banner(data, mirror)
    assert banner.startswith(begin)
    assert bool(banner) == bool(begin)
    assert ("tiny models" in banner) == tiny


def test_provenance_lists_each_image_once_with_its_components() -> None:
    images = {
        "plan": "r/plan@sha256:a",
        "finetune": "r/step@sha256:b",
        "verdict": "r/plan@sha256:a",
    }
    assert _images(images) == [
        {"image": "r/plan@sha256:a", "components": ["plan", "verdict"]},
        {"image": "r/step@sha256:b", "components": ["finetune"]},
    ]
    assert _images({}) == []
