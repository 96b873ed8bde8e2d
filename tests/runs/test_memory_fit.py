"""A worker chooses token budget and checkpointing from the memory that it has, and refuses a model
that does not fit before it is loaded.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import transformers as tf

from xstilts.data.encoded import EncodedRows
from xstilts.errors import DataError
from xstilts.models.activation_checkpointing import text_layers
from xstilts.models.backbone import Backbone, wrap
from xstilts.models.published import PUBLISHED
from xstilts.plan.memory import GIB
from xstilts.runs import memory_fit
from xstilts.runs.loaded_backbone import together
from xstilts.runs.memory_fit import DoesNotFit, applied, explained, free_memory, training_choice
from xstilts.step import Step
from xstilts.training.loop import TrainingSettings, TrainTask
from xstilts.training.workers import StepFailed

CPU = torch.device("cpu")
SPEC = {"family": "xlm_r", "tuning": {"mode": "full"}, "recipe": {}}


def step(**settings: Any) -> Step:
    return Step("finetune", SPEC, settings={"label": "a: none → mnli", **settings})


def task(length: int, objective: str = "head") -> TrainTask:
    columns = {"length": [length, 8], "supervised": [length // 4, 1]}
    return TrainTask("mnli", EncodedRows(pa.table(columns)), objective)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    config = tf.XLMRobertaConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=66, type_vocab_size=1,
    )  # fmt: skip
    return wrap(tf.XLMRobertaForMaskedLM(config), "xlm_r")


def has(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    """Gives workers this many free bytes."""
    monkeypatch.setattr(memory_fit, "free_memory", lambda device: int(size))


def machine(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 2097152 kB\nMemAvailable: 1048576 kB\n"}
CONTAINER = {
    "sys/fs/cgroup/memory.max": f"{GIB // 2}",
    "sys/fs/cgroup/memory.current": f"{GIB // 4}",
    "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_file {GIB // 8}\n",
}


@pytest.mark.parametrize(
    ("files", "workers", "free"),
    [
        (MEMINFO, "1", GIB),
        (MEMINFO, "4", GIB // 4),
        ({**MEMINFO, "sys/fs/cgroup/memory.max": "max"}, "1", GIB),
        ({**MEMINFO, **CONTAINER}, "1", 3 * GIB // 8),
    ],
    ids=["machine", "four workers", "no limit", "container"],
)
def test_free_memory_is_a_share_of_the_machine_and_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], workers: str, free: int
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", workers)
    assert free_memory(CPU, machine(tmp_path, files)) == free


def test_this_machine_has_free_memory() -> None:
    assert 2**20 < free_memory(CPU) < 2**50


def test_a_model_that_is_too_large_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PUBLISHED["FacebookAI/xlm-roberta-large"].config
    (tmp_path / "config.json").write_text(json.dumps(config))
    has(monkeypatch, 4 * GIB)
    message = r"a: none → mnli \(full tuning.*GiB of the 4.0 GiB of free memory of each worker: we"
    with pytest.raises(DoesNotFit, match=message):
        memory_fit.require_room(tmp_path, step(), CPU)
    has(monkeypatch, 12 * GIB)
    memory_fit.require_room(tmp_path, step(), CPU)


class Others:
    """Other workers: what they report, and how often this one is asked."""

    def __init__(self, error: str | None = None) -> None:
        self.error, self.agreements = error, 0

    def agree(self, error: str | None) -> None:
        self.agreements += 1
        if problem := error or self.error:
            raise StepFailed(problem)


@pytest.mark.parametrize(
    ("check", "others", "message"),
    [
        (lambda: None, Others("worker 1: too small"), "worker 1: too small"),
        (lambda: (_ for _ in ()).throw(DoesNotFit("4 of 3 GiB")), Others(), "4 of 3 GiB"),
        (lambda: (_ for _ in ()).throw(DataError("needs a GPU")), Others(), "needs a GPU"),
    ],
    ids=["on another worker", "here", "no GPU"],
)
def test_a_backbone_that_one_worker_cannot_load_fails_on_all_of_them(
    check: Callable[[], None], others: Any, message: str
) -> None:
    with pytest.raises(StepFailed, match=message):
        together(others, check)
    assert others.agreements == 1


def test_without_a_gpu_auto_means_4096_tokens(backbone: Backbone) -> None:
    choice = training_choice(backbone, step(), [task(60)], False, {})
    assert choice is not None
    assert (choice.tokens_per_micro_batch, choice.setup.checkpointing) == (4096, False)


def test_short_memory_turns_checkpointing_on_for_the_layers(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = training_choice(backbone, step(), [task(60)], False, {})
    assert plain is not None
    has(monkeypatch, 0.8 * plain.memory.total)
    choice = training_choice(backbone, step(), [task(60)], False, {})
    settings = applied(choice, backbone, step(), TrainingSettings(1, 1, 1.0))
    assert settings.tokens_per_micro_batch == 4096
    assert [layer.gradient_checkpointing for layer in text_layers(backbone)] == [True, True]
    settings = applied(plain, backbone, step(), settings)
    assert [layer.gradient_checkpointing for layer in text_layers(backbone)] == [False, False]


def test_what_the_plan_says_is_used_as_it_is(backbone: Backbone) -> None:
    given = step(tokens_per_micro_batch=99, activation_checkpointing="on")
    choice = training_choice(backbone, given, [task(60)], False, {})
    settings = applied(choice, backbone, given, TrainingSettings(1, 1, 1.0))
    assert settings.tokens_per_micro_batch == 99
    assert text_layers(backbone)[0].gradient_checkpointing is True


def test_a_step_that_cannot_fit_fails_with_the_arithmetic(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, 0)
    with pytest.raises(DoesNotFit, match=r"a: none → mnli .* needs about .* activations"):
        training_choice(backbone, step(tokens_per_micro_batch=10**6), [task(60)], False, {})


def test_a_micro_batch_has_at_most_the_rows_of_an_update(backbone: Backbone) -> None:
    """Two short answers in an update need no logits for a budget of a million tokens."""
    spec = {**SPEC, "recipe": {"examples_per_step": 2}}
    small, free = (
        training_choice(
            backbone,
            Step("finetune", recipe, settings={"label": "a", "tokens_per_micro_batch": 10**6}),
            [task(60, "lm")],
            False,
            {},
        )
        for recipe in (spec, {**SPEC, "recipe": {"examples_per_step": 10**6}})
    )
    assert small is not None
    assert free is not None
    assert small.memory.total < free.memory.total / 100


@pytest.mark.parametrize(
    ("values", "examples", "most"), [([5, 1, 3], 2, 8), ([5, 1], 4, 12), ([5], 3, 15)]
)
def test_the_most_tokens_of_an_update(values: list[int], examples: int, most: int) -> None:
    assert memory_fit._most(values, examples) == most


def test_a_gradient_of_rows_that_a_step_left_holds_only_these_rows() -> None:
    table = torch.nn.Embedding(1000, 8, sparse=True)
    table(torch.tensor([3, 5])).sum().backward()
    gradient = table.weight.grad
    assert gradient is not None
    assert memory_fit._bytes(gradient) == 2 * 8 * 4


def test_only_lm_tasks_have_logits(backbone: Backbone) -> None:
    with_logits, without = (
        training_choice(backbone, step(), [task(60, objective)], False, {})
        for objective in ("lm", "head")
    )
    assert with_logits is not None
    assert without is not None
    assert with_logits.memory.total > without.memory.total


def test_running_out_of_memory_is_explained(backbone: Backbone) -> None:
    choice = training_choice(backbone, step(), [task(60)], False, {})
    other = StepFailed("update 3: ValueError: a bad row")
    assert explained(other, choice) is other
    error = explained(StepFailed("update 3: OutOfMemoryError: CUDA out of memory"), choice)
    assert "CUDA out of memory\nThe arithmetic expected" in str(error)
    assert "set tokens_per_micro_batch below 4096" in str(error)
