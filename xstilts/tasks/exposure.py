"""Whether a released model was already trained on an intermediate task's data: seen, unseen or
unknown.

An arm on data that a model has seen is a re-exposure, not new training; every plan should have an
arm on an unseen image task. A state other than unknown needs a list that the model's makers
published. It applies to whole data sets, whatever their splits and rows. Single photographs were
not compared: a photograph of an unseen set may still be in a large web crawl.

Each task says in its own file which of these mixtures contain it (`seen_by`, `maybe_seen_by`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from xstilts.tasks.task import Modality, Task

State = Literal["seen", "unseen", "unknown"]
Exposure = tuple[State, str]  # (state, reason)


@dataclass(frozen=True)
class Mixture:
    """What a model's makers published about its training data.

    Attributes:
        name: the name that tasks use in `seen_by` and `maybe_seen_by`.
        source: where it is published.
        gap: why an unlisted task is unknown; empty for a complete list, so that it is unseen.
        covers: the modalities that the list covers.
    """

    name: str
    source: str
    gap: str = ""
    covers: frozenset[Modality] = frozenset({"image"})

    def of(self, task: Task) -> Exposure:
        """Whether a task is in the mixture, and where that is published."""
        if task.seen_by.get(self.name) == "data":
            return "seen", self.source
        if task.seen_by.get(self.name) == "photographs":
            return "seen", f"its photographs, under other texts: {self.source}"
        if task.modality not in self.covers:
            return "unknown", "its language model's text is not published"
        gap = task.maybe_seen_by.get(self.name, self.gap)
        return ("unknown", f"{gap}: {self.source}") if gap else ("unseen", self.source)


_NO_LIST = "its makers publish no list of its data"
#: Why a task on Wikipedia text is unknown for a model trained on a web crawl.
ANY_WEB_PAGE = "pages of Wikipedia may be among those of the web"
_XLM_R = Mixture(
    "xlm-r",
    "unlabeled pages of CommonCrawl only "
    "(facebookresearch/fairseq 6034aea96bc3, examples/xlmr/README.md)",
    covers=frozenset({"image", "text"}),
)

#: Hub ids, as shell patterns → what their makers publish. Only models of a supported family.
PUBLISHED: Mapping[str, Mixture] = {
    # Pre-training: BLIP's captions of LAION, CC and SBU pictures. Instructions: LLaVA, ShareGPT,
    # VQAv2, GQA, OKVQA, OCR-VQA, A-OKVQA, TextCaps, RefCOCO, Visual Genome. Their counts add up to
    # the mixture's 665,298 rows, so the list is complete.
    "llava-hf/llava-1.5-*": Mixture(
        "llava-1.5",
        "LLaVA README, Train (haotian-liu/LLaVA c121f0432da2), "
        "and the makers' count in its issue 702",
    ),
    # M4-Instruct contains NLVR2's train split (86,372 of 86,373); the single-picture part is not
    # listed by data set.
    "llava-hf/llava-interleave-*": Mixture(
        "llava-interleave",
        "LLaVA-VL/LLaVA-NeXT df179663ae8b, README and scripts/train/README.md (M4-Instruct), "
        "playground/llava_ov_plot.ipynb",
        gap="the rest of its mixture is not listed by data set",
    ),
    "Qwen/Qwen2-VL-*": Mixture(
        "qwen2-vl", "asked in QwenLM/Qwen3-VL issue 224, unanswered", gap=_NO_LIST
    ),
    "Qwen/Qwen2.5-VL-*": Mixture(
        "qwen2.5-vl", "QwenLM/Qwen2.5-VL f0af2996e843, README", gap=_NO_LIST
    ),
    "Qwen/Qwen3-VL-*": Mixture(
        "qwen3-vl", "asked in QwenLM/Qwen3-VL issue 1866, unanswered", gap=_NO_LIST
    ),
    "FacebookAI/xlm-roberta-base": _XLM_R,
    "FacebookAI/xlm-roberta-large": _XLM_R,
}


def published(hub: str | None) -> Mixture | None:
    """What is published about a released model."""
    return next(
        (mixture for pattern, mixture in PUBLISHED.items() if hub and fnmatchcase(hub, pattern)),
        None,
    )


def exposure(task: Task, hub: str | None, taught_with: Collection[str] | None) -> Exposure:
    """(seen | unseen | unknown, reason).

    Args:
        task: the intermediate task.
        hub: the released model's id.
        taught_with: the text tasks of a backbone that the plan builds; None for a released model.
    """
    if taught_with is not None:
        state: State = "seen" if task.name in taught_with else "unseen"
        return state, "the plan builds this backbone and names its data"
    mixture = published(hub)
    return mixture.of(task) if mixture else ("unknown", _NO_LIST)
