"""Families in plans: `qwen_vl` is the older name of `qwen2_5_vl`, and a model of another family is
refused.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from xstilts.errors import DataError
from xstilts.models.families import FAMILIES
from xstilts.plan.backbone_plan import BackbonePlan
from xstilts.plan.expand import expand
from xstilts.plan.load import load_plan
from xstilts.plan.model_identity import identity_of
from xstilts.plan.plan_errors import InvalidPlan
from xstilts.plan.tables import Tables

PLAN = """
name: names
backbones:
  one: {build: {family: FAMILY, seed: 0, tokenizer: {from: [miniature_text]}}, tuning: lora}
evaluations: [udpos]
languages: [en]
recipes: miniature
"""


def of_family(name: str, tables: Tables, more: str = "") -> dict[str, str]:
    """Fingerprint → family in the step's spec."""
    plan = load_plan(PLAN.replace("FAMILY", name) + more, tables)
    steps = expand(plan, [], {"torch": "1.0"}, tables).steps
    return {key: step.spec["family"] for key, step in steps.items() if "family" in step.spec}


def test_both_names_of_qwen2_5_vl_have_the_same_fingerprints(tables: Tables) -> None:
    older, newer = (of_family(name, tables) for name in ("qwen_vl", "qwen2_5_vl"))
    assert older == newer
    assert set(newer.values()) == {"qwen_vl"}
    assert len(newer) > 3


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "qwen2_5_vl"])
def test_every_other_family_writes_its_own_name(name: str, tables: Tables) -> None:
    assert set(of_family(name, tables).values()) == {name}


HUB = "backbones: {b: {hub: HUB, family: FAMILY, tuning: lora}}"


@pytest.mark.parametrize(
    ("hub", "family", "right"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct", "qwen_vl", "qwen3_vl"),
        ("Qwen/Qwen3-VL-30B-A3B-Instruct", "qwen3_vl", "qwen3_vl_moe"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_vl", "qwen2_5_vl"),
        ("FacebookAI/xlm-roberta-base", "bert", "xlm_r"),
    ],
)
def test_a_model_of_the_hub_of_another_family_is_refused(
    hub: str, family: str, right: str, tables: Tables
) -> None:
    text = PLAN[: PLAN.index("backbones:")] + HUB.replace("HUB", hub).replace("FAMILY", family)
    with pytest.raises(InvalidPlan, match=f"{hub} is of family {right}, .*; set family: {right}"):
        load_plan(text + PLAN[PLAN.index("\nevaluations") :], tables)


@pytest.mark.parametrize(
    ("hub", "family"),
    [
        ("Qwen/Qwen2-VL-7B-Instruct", "qwen_vl"),
        ("Qwen/Qwen2-VL-7B-Instruct", "qwen2_vl"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen_vl"),
        ("somebody/finetuned", "qwen3_vl"),
    ],
)
def test_other_models_of_the_hub_are_not(hub: str, family: str, tables: Tables) -> None:
    text = PLAN[: PLAN.index("backbones:")] + HUB.replace("HUB", hub).replace("FAMILY", family)
    load_plan(text + PLAN[PLAN.index("\nevaluations") :], tables)


def test_a_folder_of_another_family_is_refused_when_the_plan_is_expanded(
    tmp_path: Path, stub_model: Callable[..., Path]
) -> None:
    stub_model(tmp_path, {"model_type": "qwen3_vl"})
    right, wrong = (BackbonePlan(path=str(tmp_path), family=f) for f in ("qwen3_vl", "qwen2_vl"))
    assert "identity" in identity_of("b", right)
    with pytest.raises(DataError, match="of family qwen3_vl, not qwen2_vl; set family: qwen3_vl"):
        identity_of("b", wrong)


def test_dropout_of_the_adapters_of_experts_is_refused(tables: Tables) -> None:
    more = "override: {ud_en: {adapter_dropout: 0.1}}\n"
    of_family("qwen3_vl", tables, more)
    with pytest.raises(InvalidPlan, match=r"override\.ud_en\.adapter_dropout: adapters of the exp"):
        of_family("qwen3_vl_moe", tables, more)
