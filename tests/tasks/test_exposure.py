"""What a released model has seen of an arm's data, and where that is written."""

from dataclasses import replace

import pytest

from xstilts.tasks.exposure import PUBLISHED, Mixture, exposure, published
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task_checks import task_problems

LLAVA = "llava-hf/llava-1.5-7b-hf"
XLM_R = "FacebookAI/xlm-roberta-large"
LABELLED = [name for name, task in TASKS.items() if task.format != "generation"]


@pytest.mark.parametrize("name", ["vqa_v2", "gqa", "a_okvqa", "refcoco", "llava_instruct"])
@pytest.mark.parametrize("hub", [LLAVA, "llava-hf/llava-1.5-13b-hf"])
def test_the_data_of_llavas_published_mixture_is_seen(name: str, hub: str) -> None:
    state, why = exposure(TASKS[name], hub, None)
    assert state == "seen"
    assert "LLaVA README" in why
    assert "photographs" not in why


def test_a_task_whose_photographs_are_in_the_mixture_is_seen_with_that_reason() -> None:
    state, why = exposure(TASKS["coco_captions"], LLAVA, None)
    assert state == "seen"
    assert why.startswith("its photographs, under other texts: LLaVA README")


@pytest.mark.parametrize(
    "name", ["snli_ve", "flickr30k", "nlvr", "nlvr2", "science_qa", "easy_vqa"]
)
def test_a_task_missing_from_a_complete_list_is_unseen(name: str) -> None:
    assert exposure(TASKS[name], LLAVA, None)[0] == "unseen"


def test_a_task_missing_from_a_list_with_gaps_is_unknown() -> None:
    hub = "llava-hf/llava-interleave-qwen-7b-hf"
    assert exposure(TASKS["nlvr2"], hub, None)[0] == "seen"
    state, why = exposure(TASKS["vqa_v2"], hub, None)
    assert state == "unknown"
    assert why.startswith("the rest of its mixture is not listed")


@pytest.mark.parametrize(
    "hub", ["Qwen/Qwen2-VL-2B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen3-VL-4B-Instruct"]
)
def test_qwens_later_models_are_unknown_for_every_task_with_the_checked_source(
    hub: str,
) -> None:
    pictures = [task for task in TASKS.values() if task.modality == "image"]
    assert {exposure(task, hub, None)[0] for task in TASKS.values()} == {"unknown"}
    assert all("QwenLM/" in exposure(task, hub, None)[1] for task in pictures)


def test_the_text_of_a_released_language_model_is_unknown() -> None:
    assert exposure(TASKS["mnli"], LLAVA, None) == (
        "unknown",
        "its language model's text is not published",
    )


@pytest.mark.parametrize("name", LABELLED)
def test_xlm_r_was_trained_on_unlabeled_text_so_every_task_with_labels_is_unseen(
    name: str,
) -> None:
    state, why = exposure(TASKS[name], XLM_R, None)
    assert state == "unseen"
    assert "CommonCrawl" in why


@pytest.mark.parametrize("name", ["text_lm", "multilingual_text"])
def test_plain_text_may_be_among_xlm_rs_web_pages(name: str) -> None:
    assert exposure(TASKS[name], XLM_R, None)[0] == "unknown"


@pytest.mark.parametrize(
    "hub",
    [
        "FacebookAI/xlm-roberta-large-finetuned-conll03-english",
        "llava-hf/bakLlava-v1-hf",
        "org/model",
        None,
    ],
)
def test_a_model_without_a_published_list_is_unknown_for_every_task(hub: str | None) -> None:
    assert published(hub) is None
    assert {exposure(task, hub, None) for task in TASKS.values()} == {
        ("unknown", "its makers publish no list of its data")
    }


def test_a_backbone_that_the_plan_builds_has_seen_what_the_plan_says() -> None:
    taught = {"miniature_text", "coco_captions"}
    assert [exposure(TASKS[name], None, taught)[0] for name in ("coco_captions", "vqa_v2")] == [
        "seen",
        "unseen",
    ]


@pytest.mark.parametrize("mixture", PUBLISHED.values(), ids=PUBLISHED)
def test_every_published_list_has_a_source(mixture: Mixture) -> None:
    assert mixture.source


def test_a_task_that_names_an_unknown_list_is_refused() -> None:
    task = replace(TASKS["gqa"], seen_by={"llava-2": "data"})
    assert task_problems(task, TASKS) == [
        "gqa: seen_by: invalid value 'llava-2'; allowed: "
        + ", ".join(sorted({mixture.name for mixture in PUBLISHED.values()}))
    ]
