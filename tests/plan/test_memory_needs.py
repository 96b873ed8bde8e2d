"""A plan shows the memory of its backbones, and is refused before anything is staged if one cannot
fit.
"""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from xstilts.errors import PlanError
from xstilts.models.published import PUBLISHED
from xstilts.plan.expansion import Expansion
from xstilts.plan.show import overview, render

Expanded = Callable[..., Expansion]
PLAN = """
name: large
mirror: miniature
recipes: miniature
backbones:
  llava: {hub: llava-hf/llava-1.5-7b-hf, revision: REVISION, family: llava, tuning: lora}
  encoder: {path: FOLDER, family: xlm_r, tuning: full}
  built: {build: {family: xlm_r, seed: 0, tokenizer: {from: [miniature_text]}}, tuning: full}
arms:
  squad: {task: squad, objective: head}
  captions: {task: captions}
evaluations: [xquad]
languages: [en]
resources: {gpus_per_worker: GPUS, RESOURCES}
"""


@pytest.fixture
def large(
    expanded: Expanded, tmp_path: Path, stub_model: Callable[..., Path]
) -> Callable[..., Expansion]:
    """Expands the plan with these resources."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    config = PUBLISHED["FacebookAI/xlm-roberta-large"].config
    stub_model(folder, config)

    def run(resources: str, llava: str = "lora", gpus: str = "1") -> Expansion:
        values = {
            "REVISION": "a" * 40,
            "FOLDER": str(folder),
            "tuning: lora": f"tuning: {llava}",
            "GPUS": gpus,
            "RESOURCES": resources,
        }
        text = PLAN
        for key, value in values.items():
            text = text.replace(key, value)
        return expanded(text)

    return run


def test_every_backbone_with_a_known_shape_has_its_largest_step(large) -> None:
    rows = {row["backbone"]: row for row in large("gpu_memory_gib: 80").memory}
    assert list(rows) == ["llava", "encoder"]
    assert "captions" in rows["llava"]["step"]
    assert rows["llava"]["training_total"] == sum(rows["llava"]["training"].values())
    assert rows["llava"]["training_total"] < 80 * 2**30


def test_a_plan_that_cannot_fit_is_refused_with_the_arithmetic(large) -> None:
    with pytest.raises(PlanError) as error:
        large("gpu_memory_gib: 80, tokens_per_micro_batch: 4096", llava="full")
    first, *problems = str(error.value).splitlines()
    assert first == "the plan does not fit into memory"
    (problem,) = problems
    assert "backbones.llava (full tuning, float32" in problem
    assert "GiB of the 80.0 GiB of a GPU (resources.gpu_memory_gib): weights 26.3" in problem


def test_a_part_of_a_gpu_is_all_that_a_worker_has(large) -> None:
    with pytest.raises(PlanError, match=r"of the 20.0 GiB of 0.25 of a GPU"):
        large("gpu_memory_gib: 80", gpus="0.25")


def test_the_host_must_hold_the_copies_of_full_tuning(large) -> None:
    cluster = "gpu_memory_gib: 80, cluster: {memory_gib_per_worker: 6}"
    with pytest.raises(PlanError, match=r"encoder needs about .* on the host .*is 6.*raise it"):
        large(cluster)


def test_without_a_limit_nothing_is_refused(large) -> None:
    rows = {row["backbone"]: row for row in large("workers: 1", llava="full").memory}
    assert rows["llava"]["training_total"] > 100 * 2**30
    assert rows["llava"]["tokens_per_micro_batch"] == 4096


def test_the_plan_command_shows_memory(large) -> None:
    out = io.StringIO()
    Console(file=out, width=200).print(render(overview(large("gpu_memory_gib: 80"))))
    assert "memory of one worker in GiB" in out.getvalue()
    assert "weights 26.3" in out.getvalue()


def test_limits_and_switches_change_no_fingerprint(large) -> None:
    plain = large("workers: 1")
    for resources in ("gpu_memory_gib: 80", "activation_checkpointing: on", "workers: 2"):
        assert list(large(resources).steps) == list(plain.steps)
