"""Token budget and activation checkpointing are chosen from the memory that a worker has."""

from typing import Any

import pytest

from xstilts.models.published import PUBLISHED
from xstilts.plan.memory import GIB, Setup
from xstilts.plan.memory_choice import Rows, choose, refusal, setup_of, usual_budget
from xstilts.plan.model_shape import Shape, shape_of

LORA = Setup("lora", r=16, dtype="bfloat16", cuda=True)
ROWS = Rows(1088, supervised=0.05, images=True)
ON, OFF = {"activation_checkpointing": "on"}, {"activation_checkpointing": "off"}


@pytest.fixture(scope="module")
def llava() -> Shape:
    return shape_of(PUBLISHED["llava-hf/llava-1.5-7b-hf"].config)


@pytest.mark.parametrize(
    ("gib", "settings", "tokens", "checkpointing"),
    [
        (141, {}, 8192, False),
        (80, {}, 4096, False),
        (40, {}, 32768, True),  # without checkpointing only fewer than 4,096 fit
        (80, ON, 65536, True),
        (40, OFF, 2048, False),
        (80, {"tokens_per_micro_batch": 8192}, 8192, True),
        (141, {"tokens_per_micro_batch": 8192}, 8192, False),
    ],
)
def test_the_largest_budget_that_fits(
    llava: Shape, gib: int, settings: dict[str, Any], tokens: int, checkpointing: bool
) -> None:
    choice = choose(llava, LORA, ROWS, settings, gib * GIB)
    assert choice.memory.total <= gib * GIB
    assert (choice.tokens_per_micro_batch, choice.setup.checkpointing) == (tokens, checkpointing)


def test_the_next_larger_budget_would_not_fit(llava: Shape) -> None:
    choice = choose(llava, LORA, ROWS, ON, 40 * GIB)
    more = {**ON, "tokens_per_micro_batch": 2 * choice.tokens_per_micro_batch}
    assert choose(llava, LORA, ROWS, more, 40 * GIB).memory.total > 40 * GIB


def test_without_a_gpu_auto_is_4096() -> None:
    small = shape_of(PUBLISHED["FacebookAI/xlm-roberta-base"].config)
    choice = choose(small, Setup("full"), Rows(128), {}, 512 * GIB)
    assert (choice.tokens_per_micro_batch, choice.setup.checkpointing) == (4096, False)
    assert usual_budget({"tokens_per_micro_batch": "auto"}) == usual_budget({}) == 4096
    assert usual_budget({"tokens_per_micro_batch": 99}) == 99


def test_a_row_longer_than_the_budget_counts_whole(llava: Shape) -> None:
    short, long = (
        choose(llava, LORA, Rows(n), {"tokens_per_micro_batch": 1024}, 80 * GIB).memory
        for n in (1024, 4096)
    )
    assert long.parts["activations"] == 4 * short.parts["activations"]


def test_a_refusal_has_the_arithmetic_and_only_changes_that_fit(llava: Shape) -> None:
    setup, settings = Setup("full", cuda=True), {"tokens_per_micro_batch": 8192}
    choice = choose(llava, setup, ROWS, settings, 80 * GIB)
    text = refusal("backbones.a", llava, choice, ROWS, 80 * GIB, "a GPU")
    assert "backbones.a (full tuning, float32, activation checkpointing on, 8,192 tokens" in text
    assert "of the 80.0 GiB of a GPU: weights 26.3, gradients 25.1, optimizer moments 50.2" in text
    assert text.endswith("; use sharding: full with at least 2 workers, or tuning: lora")


def test_a_smaller_budget_is_advised_where_it_fits(llava: Shape) -> None:
    settings = {**OFF, "tokens_per_micro_batch": 16384}
    choice = choose(llava, LORA, ROWS, settings, 80 * GIB)
    text = refusal("a", llava, choice, ROWS, 80 * GIB, "a GPU")
    assert "use tokens_per_micro_batch: 4096, or activation_checkpointing: on" in text


def test_nothing_is_advised_that_does_not_fit(llava: Shape) -> None:
    choice = choose(llava, LORA, ROWS, {}, 2 * GIB)
    text = refusal("a", llava, choice, ROWS, 2 * GIB, "a GPU")
    assert text.endswith("; use devices with more memory")


@pytest.mark.parametrize(
    ("sharding", "limit", "shards"),
    [("none", 80, 1), ("full", 80, 8), ("auto", 80, 8), ("auto", 400, 1)],
)
def test_sharding_auto_follows_the_size_of_the_gpu(
    llava: Shape, sharding: str, limit: int, shards: int
) -> None:
    spec = {"family": "llava", "tuning": {"mode": "full"}, "dtype": "bfloat16"}
    settings = {"sharding": sharding, "workers": 8}
    assert setup_of(spec, settings, True, llava, limit * GIB).shards == shards
