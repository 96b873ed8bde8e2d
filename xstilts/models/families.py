"""The one registry of families of backbones. docs/adding-a-backbone.md: how to add one."""

from xstilts.models.bert import BERT
from xstilts.models.contract import Contract
from xstilts.models.llava import LLAVA
from xstilts.models.qwen_vl import QWEN_VL
from xstilts.models.xlm_r import XLM_R

#: Name in a plan → contract.
FAMILIES: dict[str, Contract] = {
    contract.family: contract
    for contract in (
        XLM_R,
        BERT,
        LLAVA,
        QWEN_VL,
    )
}


def contract(family: str) -> Contract:
    """The contract of a family. ValueError lists the known ones."""
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}")
    return FAMILIES[family]


def multimodal() -> list[str]:
    """Names of the families that see images."""
    return [name for name, of in FAMILIES.items() if of.vision is not None]
