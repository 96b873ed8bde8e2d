"""The plan layer over the shipped tables, plans and, where it is at hand, a mirror of real data."""

from pathlib import Path

import pytest

from xstilts.data.source import open_mirror
from xstilts.plan.environment import numeric_environment
from xstilts.plan.expand import expand
from xstilts.plan.schema import Override, load_plan
from xstilts.tasks import recipes


def test_overrides_are_the_recipes_keys() -> None:
    known = {*recipes.DEFAULTS, "lr", "epochs", "updates", "examples_per_step"} - {"lora"}
    assert set(Override.model_fields) == known  # adapters' size belongs to tuning


@pytest.mark.parametrize("name", ["demo", "real-slices", "real-slices-all", "modality", "phang-2020", "kind"])
def test_shipped_plans_are_right(name: str, plans: Path) -> None:
    assert load_plan(plans / f"{name}.yaml").name == name


def test_real_slices(plans: Path, hub: Path) -> None:
    expansion = expand(load_plan(plans / "real-slices.yaml"), open_mirror(str(hub)), numeric_environment())
    assert {row["arm"] for row in expansion.not_applicable} == {"captions-lm", "mixture"}
    assert [(row["evaluation"], row["language"]) for row in expansion.skipped_languages] == [("wikiann", "th")]
    languages = {
        step.spec["evaluation"]: step.spec["languages"] for step in expansion.steps.values() if step.kind == "score"
    }
    assert len(languages["xquad"]) == 12
    assert set(languages) == {"udpos", "wikiann", "xquad", "xcopa", "tatoeba"}
    assert all(source["identity"] for source in expansion.identities)


def test_all_of_the_real_slices(plans: Path, hub: Path) -> None:
    """Every intermediate task and evaluation that the mirror has; of a file of many languages, those it has."""
    expansion = expand(load_plan(plans / "real-slices-all.yaml"), open_mirror(str(hub)), numeric_environment())
    languages = {
        step.spec["evaluation"]: step.spec["languages"] for step in expansion.steps.values() if step.kind == "score"
    }
    assert languages["tydiqa"] == ["en", "ko", "sw"]
    left_out = {(row["evaluation"], row["language"]) for row in expansion.skipped_languages}
    assert left_out == {("wikiann", "th"), *(("tydiqa", code) for code in ("ar", "bn", "fi", "id", "ru", "te"))}
    assert {"xnli", "mlqa", "tatoeba_squad", "xcopa", "udpos", "a_okvqa", "nlvr", "anli"} <= set(languages)
