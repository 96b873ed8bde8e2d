"""`build.pretrain` has plain names; those of earlier versions mean the same."""

import pytest

from xstilts.plan.expand import expand
from xstilts.plan.load import load_plan
from xstilts.plan.plan_errors import InvalidPlan
from xstilts.plan.tables import Tables

BUILD = "build: {family: xlm_r, seed: 0, tokenizer: {from: [miniature_text]}}"


def with_pretrain(text: str, pretrain: str) -> str:
    assert BUILD in text
    return text.replace(BUILD, f"{BUILD[:-1]}, pretrain: {pretrain}}}")


def fingerprints(text: str, tables: Tables) -> list[str]:
    return sorted(expand(load_plan(text, tables), [], {"torch": "1.0"}, tables).steps)


def test_both_spellings_have_the_same_fingerprints(text: str, tables: Tables) -> None:
    old = with_pretrain(text, "{tongue: 0.2, together: 1.5}")
    plain = with_pretrain(text, "{language_share: 0.2, language_pull: 1.5}")
    other = with_pretrain(text, "{language_share: 0.2, language_pull: 1.0}")
    assert fingerprints(plain, tables) == fingerprints(old, tables)
    assert fingerprints(plain, tables) != fingerprints(other, tables)


def test_both_spellings_of_one_setting_are_refused(text: str, tables: Tables) -> None:
    with pytest.raises(InvalidPlan, match="language_share and tongue are the same setting"):
        load_plan(with_pretrain(text, "{tongue: 0.2, language_share: 0.2}"), tables)
