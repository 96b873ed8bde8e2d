"""Whether a released model was already trained on an intermediate task's data: seen, unseen or unknown.

An arm on data that a model has seen is a re-exposure, not new training; every plan should have an arm on unseen pictures.
Stated only where the model's makers publish the list; everything else is unknown.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from xstilts.tasks.task import Task


@dataclass(frozen=True)
class Mixture:
    """What a released model was trained on, by our task names (`pictures`: its photographs, whatever the question). text:
    whether all of its text is known to be unlabelled, so that no task in words is among it."""

    pictures: frozenset[str]
    source: str
    text: bool = False


#: A hub id's beginning → its published mixture. LLaVA-1.5's instruction mixture is made of COCO train2017, GQA, OCR-VQA,
#: TextVQA and Visual Genome pictures; its pre-training of LAION, CC and SBU ones.
PUBLISHED: Mapping[str, Mixture] = {
    "llava-hf/llava-1.5": Mixture(
        frozenset({"llava_instruct", "coco_captions", "vqa_v2", "a_okvqa", "refcoco", "gqa"}),
        "LLaVA README, Train (haotian-liu/LLaVA c121f0432da2)",
    ),
    "FacebookAI/xlm-roberta": Mixture(
        frozenset(), "unlabelled text of CommonCrawl (CC-100) alone: Conneau et al. 2020", text=True
    ),
}
#: A hub id's beginning → why nothing can be said, where its makers describe their data without naming sets.
UNNAMED: Mapping[str, str] = {
    "Qwen/Qwen2.5-VL": "its report names kinds of data and no sets (arXiv 2502.13923)",
}


def exposure(task: Task, hub: str | None, taught_with: Collection[str] | None) -> tuple[str, str]:
    """(seen | unseen | unknown, why). hub: the released model's id. taught_with: the texts of a backbone that the plan
    builds itself; None for a released one."""
    if taught_with is not None:
        seen = task.name in taught_with
        return ("seen" if seen else "unseen"), "the plan builds this backbone and says from what"
    for name, mixture in PUBLISHED.items():
        if hub and hub.startswith(name):
            if task.modality != "image" and not mixture.text:
                return "unknown", "its language model's text is not published"
            return ("seen" if task.name in mixture.pictures else "unseen"), mixture.source
    why = next((reason for name, reason in UNNAMED.items() if hub and hub.startswith(name)), "its makers publish no list")
    return "unknown", why
