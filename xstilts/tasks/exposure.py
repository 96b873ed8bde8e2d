"""Whether a released model was already trained on an intermediate task's data: seen, unseen or
unknown.

An arm on data that a model has seen is a re-exposure, not new training; every plan should have an
arm on an unseen image task. Stated only as far as the model's makers publish what they trained it
on; everything else is unknown. It is said of data sets, whichever of their splits and rows. Single
photographs were not compared: one of an unseen set may still be among the many that were gathered
from the web.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from xstilts.tasks.task import Modality, Task

Found = tuple[str, str]  # (seen | unseen | unknown, why)


@dataclass(frozen=True)
class Mixture:
    """What a model's makers say that they trained it on, by our task names.

    data: sets that are in the mixture themselves. photographs: sets of which only the photographs
    are, under other texts; they count as seen, and the reason says so. gap: why what is not named
    is unknown; empty where the list is whole, so that it is unseen. covers: the modalities of which
    the list speaks. unsettled: tasks that a whole list does not settle.
    """

    source: str
    data: frozenset[str] = frozenset()
    photographs: frozenset[str] = frozenset()
    gap: str = ""
    covers: frozenset[Modality] = frozenset({"image"})
    unsettled: Mapping[str, str] = field(default_factory=dict)

    def of(self, task: Task) -> Found:
        """Whether a task is in it, and where that is written."""
        if task.name in self.data:
            return "seen", self.source
        if task.name in self.photographs:
            return "seen", f"its photographs, under other texts: {self.source}"
        if task.modality not in self.covers:
            return "unknown", "its language model's text is not published"
        gap = self.unsettled.get(task.name, self.gap)
        return ("unknown", f"{gap}: {self.source}") if gap else ("unseen", self.source)


_NO_LIST = "its makers publish no list of its data"
_ANY_WEB_PAGE = "pages of Wikipedia may be among those of the web"
_XLM_R = Mixture(
    "unlabelled pages of CommonCrawl only (facebookresearch/fairseq 6034aea96bc3, examples/xlmr/README.md)",
    covers=frozenset({"image", "text"}),
    unsettled={"text_lm": _ANY_WEB_PAGE, "multilingual_text": _ANY_WEB_PAGE},
)

#: Hub ids, as shell patterns → what their makers publish. Only models of a type that an adapter of
#: ours takes.
PUBLISHED: Mapping[str, Mixture] = {
    # Pre-training: BLIP's captions of LAION, CC and SBU pictures. Instructions: LLaVA, ShareGPT,
    # VQAv2, GQA, OKVQA, OCR-VQA, A-OKVQA, TextCaps, RefCOCO, Visual Genome: their counts add up to
    # the mixture's 665,298 rows, so that the list is whole.
    "llava-hf/llava-1.5-*": Mixture(
        "LLaVA README, Train (haotian-liu/LLaVA c121f0432da2), and the makers' count in its issue 702",
        data=frozenset({"llava_instruct", "vqa_v2", "gqa", "a_okvqa", "refcoco"}),
        photographs=frozenset({"coco_captions"}),
    ),
    # M4-Instruct holds NLVR2's train split (86,372 of 86,373); the single-picture part is not
    # listed by data set.
    "llava-hf/llava-interleave-*": Mixture(
        "LLaVA-VL/LLaVA-NeXT df179663ae8b, README and scripts/train/README.md (M4-Instruct), playground/llava_ov_plot.ipynb",
        data=frozenset({"nlvr2"}),
        gap="the rest of its mixture is not listed by data set",
    ),
    "Qwen/Qwen2-VL-*": Mixture("asked in QwenLM/Qwen3-VL issue 224, unanswered", gap=_NO_LIST),
    "Qwen/Qwen2.5-VL-*": Mixture("QwenLM/Qwen2.5-VL f0af2996e843, README", gap=_NO_LIST),
    "Qwen/Qwen3-VL-*": Mixture("asked in QwenLM/Qwen3-VL issue 1866, unanswered", gap=_NO_LIST),
    "FacebookAI/xlm-roberta-base": _XLM_R,
    "FacebookAI/xlm-roberta-large": _XLM_R,
}


def published(hub: str | None) -> Mixture | None:
    """What is published of a released model."""
    return next(
        (one for pattern, one in PUBLISHED.items() if hub and fnmatchcase(hub, pattern)), None
    )


def exposure(task: Task, hub: str | None, taught_with: Collection[str] | None) -> Found:
    """(seen | unseen | unknown, why). hub: the released model's id. taught_with: the texts of a
    backbone that the plan builds itself; None for a released one.
    """
    if taught_with is not None:
        seen = task.name in taught_with
        return ("seen" if seen else "unseen"), "the plan builds this backbone and says from what"
    mixture = published(hub)
    return mixture.of(task) if mixture else ("unknown", _NO_LIST)
