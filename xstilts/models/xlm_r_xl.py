"""XLM-R XL and XXL: XLM-R with layer normalization before each block."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xstilts.models.xlm_r import XLM_R, tiny_arguments


def _tiny(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    config = tf.XLMRobertaXLConfig(**tiny_arguments(tokenizer, settings))
    return tf.XLMRobertaXLForMaskedLM(config), tokenizer


XLM_R_XL = replace(
    XLM_R,
    family="xlm_r_xl",
    model_class="XLMRobertaXLForMaskedLM",
    model_types=("xlm-roberta-xl",),
    recipes="xlm_r",
    parameters={"facebook/xlm-roberta-xl": 3.5e9, "facebook/xlm-roberta-xxl": 10.7e9},
    tiny=replace(XLM_R.tiny, model=_tiny),
)
