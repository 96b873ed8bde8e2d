"""Fingerprint and recipe version of a step, and steps of earlier versions."""

import pytest

from xstilts.errors import CorruptError, PlanError
from xstilts.step import RECIPE_CHANGES, RECIPE_VERSION, Step, digest, require_current


def made_earlier(version: int) -> dict[str, object]:
    """The JSON of a step as programs wrote it before they stored the version."""
    body = {"kind": "encode", "spec": {"task": "squad"}, "parents": {"records": "a" * 64}}
    return {
        **body,
        "fingerprint": digest({**body, "version": version}),
        "settings": {"label": "encode squad"},
    }


@pytest.mark.parametrize("version", range(1, RECIPE_VERSION["encode"] + 1))
def test_a_step_of_any_recipe_version_is_read(version: int) -> None:
    step = Step.from_json(made_earlier(version))
    assert (step.version, step.fingerprint) == (version, made_earlier(version)["fingerprint"])
    assert Step.from_json(step.to_json()) == step


def test_a_new_step_has_the_current_version() -> None:
    assert Step("records", {}).version == RECIPE_VERSION["records"]
    assert Step("records", {}).to_json()["version"] == RECIPE_VERSION["records"]


def test_a_step_with_other_content_is_refused() -> None:
    changed = {**made_earlier(3), "spec": {"task": "snli"}}
    with pytest.raises(CorruptError, match="fingerprint mismatch"):
        Step.from_json(changed)


def test_a_stored_version_is_the_only_one_that_counts() -> None:
    with pytest.raises(CorruptError, match="fingerprint mismatch"):
        Step.from_json({**made_earlier(3), "version": 2})


def test_a_step_of_another_version_is_not_computed() -> None:
    require_current(Step("encode", {}))
    with pytest.raises(
        PlanError, match=r"encode squad was planned with version 3 .* run the plan again"
    ):
        require_current(Step.from_json(made_earlier(3)))


def test_each_version_of_a_recipe_that_is_explained_exists() -> None:
    for kind, changes in RECIPE_CHANGES.items():
        assert max(changes) == RECIPE_VERSION[kind]
