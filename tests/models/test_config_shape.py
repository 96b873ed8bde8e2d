"""Sizes in config.json: every invalid value is an error with the file and the key."""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from xstilts.errors import DataError
from xstilts.models import config_shape
from xstilts.models.config_shape import config_fault, read_model_config
from xstilts.models.families import FAMILIES
from xstilts.models.published import PUBLISHED
from xstilts.plan.cost import model
from xstilts.plan.memory_needs import config_of

XLM_R = dict(PUBLISHED["FacebookAI/xlm-roberta-base"].config)
LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "vocab_size": 100,
}
LLAVA = dict(PUBLISHED["llava-hf/llava-1.5-7b-hf"].config)
VALUES = (-1, 0, 1, 0.5, 2**40, 2**63, True, False, None, "", "a", [], [1], ["a"], {}, {"a": 1})
SIZE = "must be a whole number from 1 to 2,147,483,647"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_valid(name: str) -> None:
    assert config_fault(PUBLISHED[name].config) is None


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({**XLM_R, "hidden_size": "a"}, f"`hidden_size` {SIZE}"),
        ({**LLAMA, "num_attention_heads": 0}, f"`num_attention_heads` {SIZE}"),
        ({**LLAMA, "num_attention_heads": -4}, f"`num_attention_heads` {SIZE}"),
        ({**LLAMA, "num_hidden_layers": 2.5}, f"`num_hidden_layers` {SIZE}"),
        ({**LLAMA, "vocab_size": True}, f"`vocab_size` {SIZE}"),
        ({**LLAMA, "vocab_size": 2**31}, f"`vocab_size` {SIZE}"),
        ({**LLAMA, "intermediate_size": None}, f"`intermediate_size` {SIZE}"),
        ({**LLAMA, "head_dim": [16]}, f"`head_dim` {SIZE}"),
        ({**LLAMA, "attention_bias": "no"}, "`attention_bias` must be a boolean, not text"),
        ({**LLAMA, "model_type": 7}, "`model_type` must be text, not a number"),
        ({**LLAMA, "text_config": [1]}, "`text_config` must be an object, not a list"),
        ({"model_type": "new", "text_config": [1]}, "`text_config` must be an object, not a list"),
        (
            {**LLAVA, "text_config": {"model_type": "llama", "hidden_size": 0}},
            f"`text_config.hidden_size` {SIZE}",
        ),
        (
            {**LLAVA, "vision_config": {**LLAVA["vision_config"], "patch_size": 0}},
            f"`vision_config.patch_size` {SIZE}",
        ),
    ],
)
def test_an_invalid_size_is_named(config: Mapping[str, Any], problem: str) -> None:
    assert config_fault(config) == problem


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": "new", "hidden_size": "a"},
        {"model_type": "bert"},
        {**LLAMA, "head_dim": None, "num_key_value_heads": None, "num_experts": None},
        {**LLAVA, "vision_feature_layer": [-2, -5]},
    ],
    ids=["empty", "unknown type", "missing sizes", "null means the default", "several layers"],
)
def test_what_is_not_read_or_has_a_default_may_be_missing(config: Mapping[str, Any]) -> None:
    assert config_fault(config) is None


def test_an_error_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**XLM_R, "hidden_size": "a"}))
    with pytest.raises(DataError) as error:
        read_model_config(file)
    assert str(error.value) == (
        f"{file}: `hidden_size` {SIZE}; correct it, or use a folder written by save_pretrained"
    )


@pytest.mark.parametrize("path", ["~nosuchuser/m", "a\0b"])
def test_a_path_that_no_folder_can_have_is_an_error(path: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"{path!r}: not a usable path: ")):
        config_of({"path": path}, None)


def test_a_folder_that_does_not_exist_has_no_sizes() -> None:
    assert config_of({"path": "x" * 300}, None) is None


#: Model type → a config.json of it.
KINDS = {str(of.config["model_type"]): of.config for of in PUBLISHED.values()} | {"llama": LLAMA}


def changed(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A config.json with each of VALUES at each key that it has or may have."""
    parts = (
        config_shape._ENCODER, config_shape._DECODER, config_shape._PROJECTOR,
        config_shape._EXPERTS, config_shape._LLAVA_VISION, config_shape._QWEN_VISION,
    )  # fmt: skip
    known = {key for part in parts for key in part} | {"text_config", "vision_config"}
    for place in ((), ("text_config",), ("vision_config",)):
        if place and place[0] not in config:
            continue
        for key in sorted(known):
            for value in VALUES:
                other = copy.deepcopy(dict(config))
                (other[place[0]] if place else other)[key] = value
                yield f"{'.'.join((*place, key))}: {value!r}", other


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_is_refused_or_has_a_shape(kind: str) -> None:
    """Sizes that are read, in every part of config.json."""
    refused = 0
    family = next(name for name, of in FAMILIES.items() if kind in of.model_types)
    for change, config in changed(KINDS[kind]):
        if config_fault(config) is not None:
            refused += 1
            continue
        of = model(change, {"family": family, "hub": "m"}, config, recompute=False)
        assert of.shape is None or of.shape.parameters > 0, change
    assert refused > 100
