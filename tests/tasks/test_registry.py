"""The tables of tasks."""

import pytest

from xstilts.errors import PlanError
from xstilts.tasks.languages import LANGUAGES
from xstilts.tasks.recipes import SETS, recipe
from xstilts.tasks.registry import TASKS, as_json, task

LANGUAGE_COUNTS = {"xnli": 15, "xcopa": 11, "udpos": 38, "wikiann": 48, "xquad": 12, "tatoeba": 41}


@pytest.mark.parametrize(("name", "count"), LANGUAGE_COUNTS.items())
def test_evaluations_have_the_languages_of_xtreme_r(name: str, count: int) -> None:
    assert len(set(TASKS[name].languages)) == count
    assert set(TASKS[name].languages) <= set(LANGUAGES)


def test_the_fifty_languages_are_those_that_some_evaluation_has() -> None:
    real = {code for code, language in LANGUAGES.items() if language.family != "invented"}
    scored = {code for name in LANGUAGE_COUNTS for code in TASKS[name].languages}
    assert len(real) == 50
    assert scored == real


def test_every_trained_target_is_a_task_of_the_evaluations_format() -> None:
    for one in TASKS.values():
        for target in one.trained_target or ():
            assert TASKS[target].format == one.format
            assert TASKS[target].labels == one.labels


def test_every_task_has_a_recipe_with_a_source_in_every_set() -> None:
    for name in SETS:
        for one in TASKS:
            for family in ("xlm_r", "llava", "qwen_vl"):
                for mode in ("full", "lora"):
                    found = recipe(name, one, family, mode)
                    assert found["source"]
                    assert ("updates" in found) != ("epochs" in found)


def test_an_unknown_task_is_named_with_what_is_near() -> None:
    with pytest.raises(PlanError, match=r"unknown task 'squadd'; did you mean 'squad'\?"):
        task("squadd")


def test_an_unknown_recipe_set_is_named() -> None:
    with pytest.raises(PlanError, match="miniature, xtreme_r"):
        recipe("phang", "squad", "xlm_r", "full")


def test_json_lists_every_task() -> None:
    assert [row["name"] for row in as_json()] == list(TASKS)
