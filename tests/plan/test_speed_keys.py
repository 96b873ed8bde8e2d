"""Keys of a plan that make training faster or smaller: which change the fingerprint."""

from collections.abc import Callable

import pytest

from xstilts.errors import PlanError
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan

Expanded = Callable[..., Expansion]


@pytest.mark.parametrize("key", ["compile: blocks", "kernels: liger"])
def test_kernels_that_round_differently_are_part_of_the_fingerprint(
    expanded: Expanded, text: str, key: str
) -> None:
    before = expanded()
    after = expanded(text.replace("tuning: lora", f"tuning: lora\n    {key}"))
    changed = [after.steps[fp] for fp in after.steps if fp not in before.steps]
    assert {step.kind for step in changed} == {"finetune", "score"}
    assert {step.spec["family"] for step in changed} == {"llava"}
    name, value = key.split(": ")
    assert all(step.spec[name] == value for step in changed)


def test_without_these_keys_specs_do_not_have_them(expanded: Expanded) -> None:
    assert not any({"compile", "kernels"} & step.spec.keys() for step in expanded().steps.values())


def test_liger_is_for_decoders(tables, text: str) -> None:
    with pytest.raises(PlanError, match=r"tiny: kernels: liger is for llava, llava_next, "):
        load_plan(text.replace("tuning: full", "tuning: full\n    kernels: liger"), tables)


@pytest.mark.parametrize(
    ("value", "switch"), [("on", "on"), ("off", "off"), ("auto", "auto"), ("'on'", "on")]
)
def test_yaml_reads_a_switch_as_a_boolean(tables, text: str, value: str, switch: str) -> None:
    plan = load_plan(text + f"resources: {{activation_checkpointing: {value}}}\n", tables)
    assert plan.resources.activation_checkpointing == switch


@pytest.mark.parametrize("value", ["auto", "1"])
def test_a_token_budget_is_a_number_or_auto(tables, text: str, value: str) -> None:
    plan = load_plan(text + f"resources: {{tokens_per_micro_batch: {value}}}\n", tables)
    assert str(plan.resources.tokens_per_micro_batch) == value


@pytest.mark.parametrize("value", ["0", "many"])
def test_other_token_budgets_are_refused(tables, text: str, value: str) -> None:
    with pytest.raises(PlanError, match=r"resources.tokens_per_micro_batch: invalid value"):
        load_plan(text + f"resources: {{tokens_per_micro_batch: {value}}}\n", tables)
