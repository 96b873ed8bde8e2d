"""The families of backbones: the one registry."""

from collections.abc import Mapping

from xstilts.models.contract import Contract
from xstilts.models.llava import LLAVA
from xstilts.models.qwen_vl import QWEN_VL
from xstilts.models.xlm_r import XLM_R

#: Name in a plan → contract.
FAMILIES: Mapping[str, Contract] = {family.family: family for family in (XLM_R, LLAVA, QWEN_VL)}


def contract(family: str) -> Contract:
    """The contract of a family; ValueError names those that exist."""
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}")
    return FAMILIES[family]
