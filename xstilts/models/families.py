"""The one registry of families of backbones. docs/adding-a-backbone.md: how to add one."""

from xstilts.models.bert import BERT
from xstilts.models.contract import Contract
from xstilts.models.llama import LLAMA
from xstilts.models.llava import LLAVA
from xstilts.models.llava_next import LLAVA_NEXT
from xstilts.models.llava_onevision import LLAVA_ONEVISION
from xstilts.models.qwen2 import QWEN2
from xstilts.models.qwen3 import QWEN3
from xstilts.models.qwen_vl import QWEN_VL
from xstilts.models.xlm_r import XLM_R
from xstilts.models.xlm_r_xl import XLM_R_XL

#: Name in a plan → contract.
FAMILIES: dict[str, Contract] = {
    contract.family: contract
    for contract in (
        XLM_R,
        XLM_R_XL,
        BERT,
        LLAVA,
        LLAVA_NEXT,
        LLAVA_ONEVISION,
        QWEN_VL,
        LLAMA,
        QWEN2,
        QWEN3,
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
