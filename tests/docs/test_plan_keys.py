"""docs/plan.md explains every key of the schema, with its type, allowed values and default.

XSTILTS_GOLDEN=write renews types, values and defaults; meanings are written by hand.
"""

import os

import pytest

from tests.docs.pages import ROOT
from tests.docs.plan_keys import SECTIONS, SHORT_FORMS, documented, keys, renewed
from xstilts.plan import arm_plan, backbone_plan, resources, schema
from xstilts.plan.part import Part

PAGE = ROOT / "docs" / "plan.md"


@pytest.fixture(scope="module")
def page() -> str:
    if os.environ.get("XSTILTS_GOLDEN") == "write":
        PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_table_lists_every_key_with_values_and_default(page: str, heading: str) -> None:
    assert list(documented(page, heading)) == keys(SECTIONS[heading])


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_has_a_meaning(page: str, heading: str) -> None:
    assert [key.name for key, meaning in documented(page, heading).items() if not meaning] == []


def test_every_part_of_the_schema_has_a_table() -> None:
    parts = {
        part
        for module in (schema, backbone_plan, arm_plan, resources)
        for part in vars(module).values()
        if isinstance(part, type) and issubclass(part, Part) and part is not Part
    }
    fields = [field for name, field in schema.Plan.model_fields.items() if name in SHORT_FORMS]
    assert {part for part in parts if part.__name__ not in str(fields)} <= set(SECTIONS.values())
