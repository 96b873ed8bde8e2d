"""What a released model has seen of an arm's data, and where that is written."""

import pytest

from xstilts.tasks.exposure import PUBLISHED, exposure
from xstilts.tasks.registry import TASKS

LLAVA = "llava-hf/llava-1.5-7b-hf"


@pytest.mark.parametrize("name", ["coco_captions", "vqa_v2", "gqa", "a_okvqa", "refcoco", "llava_instruct"])
def test_the_pictures_of_llavas_published_mixture_are_seen(name: str) -> None:
    state, why = exposure(TASKS[name], LLAVA, None)
    assert state == "seen"
    assert "LLaVA README" in why


@pytest.mark.parametrize("name", ["snli_ve", "flickr30k", "nlvr", "nlvr2"])
def test_there_are_image_tasks_that_llava_has_not_seen(name: str) -> None:
    assert exposure(TASKS[name], LLAVA, None)[0] == "unseen"


def test_the_text_of_a_released_language_model_is_unknown() -> None:
    assert exposure(TASKS["mnli"], LLAVA, None) == ("unknown", "its language model's text is not published")


def test_xlm_r_has_read_unlabelled_text_alone() -> None:
    assert {exposure(task, "FacebookAI/xlm-roberta-large", None)[0] for task in TASKS.values()} == {"unseen"}


def test_a_report_that_names_no_sets_is_named() -> None:
    assert exposure(TASKS["vqa_v2"], "Qwen/Qwen2.5-VL-7B-Instruct", None) == (
        "unknown", "its report names kinds of data and no sets (arXiv 2502.13923)"
    )  # fmt: skip


@pytest.mark.parametrize("hub", ["Qwen/Qwen2.5-VL-7B-Instruct", "somebody/model", None])
def test_a_model_without_a_published_list_is_unknown_for_every_task(hub: str | None) -> None:
    assert {exposure(task, hub, None)[0] for task in TASKS.values()} == {"unknown"}


def test_a_backbone_that_the_plan_builds_has_seen_what_the_plan_says() -> None:
    taught = {"miniature_text", "coco_captions"}
    assert [exposure(TASKS[name], None, taught)[0] for name in ("coco_captions", "vqa_v2")] == ["seen", "unseen"]


def test_every_published_list_has_a_source_and_names_tasks_that_exist() -> None:
    for mixture in PUBLISHED.values():
        assert mixture.source
        assert mixture.pictures <= {name for name, task in TASKS.items() if task.modality == "image"}
