"""Published configurations are transformers configurations with the published numbers of
parameters.
"""

import copy

import pytest

from xstilts.models.families import FAMILIES
from xstilts.models.published import PUBLISHED


def built(hub: str):
    """The transformers model of an entry, on the meta device."""
    import torch
    import transformers as tf

    published = PUBLISHED[hub]
    config = tf.AutoConfig.for_model(**copy.deepcopy(dict(published.config)))
    encoder = "type_vocab_size" in published.config
    kind = tf.AutoModelForMaskedLM if encoder else tf.AutoModelForCausalLM
    if published.images:
        kind = tf.AutoModelForImageTextToText
    with torch.device("meta"):
        model = kind.from_config(config)
    model.tie_weights()
    return model


@pytest.mark.parametrize("hub", PUBLISHED)
def test_a_model_built_from_an_entry_has_the_reported_number_of_parameters(hub):
    published = PUBLISHED[hub]
    count = sum(parameter.numel() for parameter in built(hub).parameters())
    if published.parameters is not None:
        assert count == published.parameters
    else:
        rounded = {k: v for of in FAMILIES.values() for k, v in of.parameters.items()}.get(hub)
        assert rounded is None or count == pytest.approx(rounded, rel=0.03)


@pytest.mark.parametrize("hub", PUBLISHED)
def test_transformers_keeps_every_value_of_an_entry(hub):
    import transformers as tf

    def check(config, of):
        for key, value in of.items():
            kept = getattr(config, key)
            if key in ("text_config", "vision_config"):
                check(kept, value)
            elif key == "rope_parameters":
                assert {name: kept[name] for name in value} == value
            else:
                assert kept == value or list(kept) == value, key

    config = copy.deepcopy(dict(PUBLISHED[hub].config))
    check(tf.AutoConfig.for_model(**config), PUBLISHED[hub].config)


def test_rounded_numbers_of_the_families_agree_with_published_ones():
    """A mixture of experts is left out: for costs, families count its active parameters."""
    rounded = {hub: count for of in FAMILIES.values() for hub, count in of.parameters.items()}
    both = {
        hub: PUBLISHED[hub].parameters for hub in rounded if hub in PUBLISHED and "A3B" not in hub
    }
    assert {hub for hub, count in both.items() if count} >= {"Qwen/Qwen2.5-VL-7B-Instruct"}
    for hub, count in both.items():
        assert count is None or rounded[hub] == pytest.approx(count, rel=0.05), hub


def test_every_entry_names_its_sources():
    assert all(published.sources for published in PUBLISHED.values())
