"""The one registry of families of backbones. docs/adding-a-backbone.md: how to add one."""

from pathlib import Path

from xstilts.errors import DataError
from xstilts.models.bert import BERT
from xstilts.models.contract import Contract
from xstilts.models.llama import LLAMA
from xstilts.models.llava import LLAVA
from xstilts.models.llava_next import LLAVA_NEXT
from xstilts.models.llava_onevision import LLAVA_ONEVISION
from xstilts.models.model_folder import read_config
from xstilts.models.qwen2 import QWEN2
from xstilts.models.qwen2_vl import QWEN2_5_VL, QWEN2_VL
from xstilts.models.qwen3 import QWEN3
from xstilts.models.qwen3_vl import QWEN3_VL, QWEN3_VL_MOE
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
        QWEN2_VL,
        QWEN2_5_VL,
        QWEN3_VL,
        QWEN3_VL_MOE,
        LLAMA,
        QWEN2,
        QWEN3,
    )
}

#: Older name, which plans may use and step specs keep → name.
OLDER_NAMES = {of.recorded: name for name, of in FAMILIES.items() if of.recorded}


def contract(family: str) -> Contract:
    """The contract of a family, also by its older name. ValueError lists the known ones."""
    name = OLDER_NAMES.get(family, family)
    if name not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def check_model_type(folder: Path, of: Contract) -> None:
    """DataError if a model folder is of another family, by the `model_type` in its config.json."""
    kind = read_config(folder).get("model_type")
    if kind in of.model_types or not of.model_types:
        return
    owners = {known.model_types[0]: name for name, known in FAMILIES.items() if known.model_types}
    if kind in owners:
        raise DataError(
            f"{folder}: model_type {kind!r} in config.json is of family {owners[kind]}, not "
            f"{of.family}; set family: {owners[kind]}"
        )
    raise DataError(
        f"{folder}: model_type {kind!r} in config.json is not of family {of.family}, whose models "
        f"have {' or '.join(of.model_types)}"
    )


def family_of_hub(hub: str, of: Contract) -> str:
    """The family of a model of the hub if its contract lists the model and it is not `of`'s; else
    empty.
    """
    for name, known in FAMILIES.items():
        if hub in known.parameters and known is not of:
            return "" if set(known.model_types[:1]) <= set(of.model_types) else name
    return ""


def multimodal() -> list[str]:
    """Names of the families that see images."""
    return [name for name, of in FAMILIES.items() if of.vision is not None]
