"""Memory arithmetic: shapes of models, and what each part follows from."""

from dataclasses import replace

import pytest
import transformers as tf

from xstilts.errors import DataError
from xstilts.models.published import PUBLISHED
from xstilts.plan.memory import GIB, Batch, Setup, host, scoring, training
from xstilts.plan.model_shape import DEFAULTS, Shape, shape_of

LORA = Setup("lora", r=16, dtype="bfloat16", cuda=True)
FULL = Setup("full", dtype="bfloat16", cuda=True)
BATCH = Batch(4096, supervised=256)


@pytest.fixture(scope="module")
def llava() -> Shape:
    return shape_of(PUBLISHED["llava-hf/llava-1.5-7b-hf"].config)


@pytest.mark.parametrize(
    "name", [name for name, model in PUBLISHED.items() if model.parameters is not None]
)
def test_a_shape_has_as_many_parameters_as_the_published_model(name: str) -> None:
    assert shape_of(PUBLISHED[name].config).parameters == PUBLISHED[name].parameters


@pytest.mark.parametrize("kind", DEFAULTS)
def test_defaults_are_those_of_transformers(kind: str) -> None:
    config = tf.AutoConfig.for_model(kind).to_dict()
    assert {key: config[key] for key in DEFAULTS[kind]} == DEFAULTS[kind]


def test_a_published_config_may_leave_out_the_sizes_of_its_text_stack() -> None:
    config = dict(PUBLISHED["llava-hf/llava-1.5-7b-hf"].config)
    brief = {**config, "text_config": {"model_type": "llama", "vocab_size": 32064}}
    assert shape_of(brief) == shape_of(config)


def test_unknown_models_and_missing_sizes_are_named() -> None:
    with pytest.raises(DataError, match="type 'mamba' is not known"):
        shape_of({"model_type": "mamba"})
    with pytest.raises(DataError, match="type 'bert' has no hidden_size"):
        shape_of({"model_type": "bert"})


def test_adapters_are_counted_as_peft_makes_them(llava: Shape) -> None:
    # 7 matrices in each of 32 layers; LLaVA 1.5's LoRA of rank 128 has 320 million parameters.
    assert llava.adapters(128) == 319_815_680


def test_full_tuning_keeps_16_bytes_of_each_parameter(llava: Shape) -> None:
    parts = training(llava, FULL, BATCH).parts
    held = parts["weights"] + parts["gradients"] + parts["optimizer moments"]
    assert held == 16 * llava.text + 2 * llava.frozen


def test_lora_keeps_two_bytes_of_each_weight_and_16_of_each_adapter(llava: Shape) -> None:
    parts = training(llava, LORA, BATCH).parts
    assert parts["weights"] == 2 * llava.parameters
    trained = parts["adapters"] + parts["gradients"] + parts["optimizer moments"]
    assert trained == 16 * llava.adapters(16)


def test_sharding_divides_what_trains(llava: Shape) -> None:
    whole, shared = (training(llava, replace(FULL, shards=n), BATCH).parts for n in (1, 8))
    for part in ("gradients", "optimizer moments"):
        assert shared[part] == whole[part] // 8
    assert "gathered weights" in shared


@pytest.mark.parametrize("setup", [LORA, FULL], ids=["lora", "full"])
def test_checkpointing_keeps_one_state_of_each_layer(llava: Shape, setup: Setup) -> None:
    plain = training(llava, setup, BATCH)
    again = training(llava, replace(setup, checkpointing=True), BATCH)
    assert again.parts["activations"] < plain.parts["activations"] / 10
    assert again.total < plain.total


def test_logits_grow_with_supervised_tokens_alone(llava: Shape) -> None:
    setup = replace(LORA, checkpointing=True)
    few, many = (training(llava, setup, Batch(16, n)).parts for n in (512, 1024))
    assert many["logits"] == 2 * few["logits"] == 3 * 1024 * llava.vocabulary * 4


def test_an_lm_head_without_supervised_tokens_does_not_train(llava: Shape) -> None:
    with_logits, without = (training(llava, FULL, Batch(64, n)).parts for n in (1, 0))
    assert with_logits["gradients"] - without["gradients"] == 4 * llava.head


def test_only_float32_weights_get_a_second_copy_for_scoring(llava: Shape) -> None:
    folded = [
        scoring(llava, replace(LORA, dtype=dtype), BATCH).parts.get("folded adapters", 0)
        for dtype in ("bfloat16", "float32")
    ]
    assert folded[0] == 0
    assert folded[1] > 4 * llava.adapted


def test_the_host_of_full_tuning_keeps_copies_of_what_trains(llava: Shape) -> None:
    parts = host(llava, replace(FULL, selects=True)).parts
    assert parts["initial weights"] == parts["best weights"] == 4 * llava.text


def test_people_read_parts_in_gib(llava: Shape) -> None:
    text = str(training(llava, FULL, BATCH))
    assert text.startswith(f"weights {(4 * llava.text + 2 * llava.frozen) / GIB:.1f}, gradients")
