"""Every number of the cost estimate that follows from neither the plan, a task nor a model's
config.json, with its reason. docs/costs.md shows this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Assumption:
    """One assumed value. key: how the code names it."""

    key: str
    value: float
    unit: str
    reason: str


ASSUMPTIONS: Mapping[str, Assumption] = {
    row.key: row
    for row in (
        Assumption(
            "peak bfloat16", 989e12, "FLOP/s",
            "H100 SXM and H200, dense (NVIDIA data sheets)",
        ),
        Assumption(
            "peak float32", 67e12, "FLOP/s",
            "H100 SXM and H200 outside tensor cores: this project does not use TF32",
        ),
        Assumption(
            "training text", 0.40, "of the peak",
            "packed rows without padding, thousands of tokens per product; "
            "published runs of 7B models reach 0.4 to 0.5",
        ),
        Assumption(
            "training pictures", 0.35, "of the peak",
            "as text, and the pixels of a picture travel to the GPU in each update",
        ),
        Assumption(
            "scoring", 0.45, "of the peak",
            "forward pass only: no optimizer and no synchronization",
        ),
        Assumption(
            "narrow", 0.6, "of the utilization",
            "models with a width below 2,048: products too small to fill the GPU",
        ),
        Assumption(
            "launch training", 1.0e-3, "s per layer",
            "no update is faster: about 100 kernels of a layer forward and backward, 10 µs each, "
            "and twice as many small ones with adapters, which overlap in part",
        ),
        Assumption(
            "launch scoring", 0.3e-3, "s per layer",
            "no batch is faster: about 30 kernels of a layer, 10 µs each",
        ),
        Assumption(
            "scoring batch", 16_384, "tokens",
            "tokens of a batch in scoring",
        ),
        Assumption(
            "step", 5.0, "s",
            "start and end of a finetune or score step in a running group: rows, weights of the "
            "parent, checkpoint, upload",
        ),
        Assumption(
            "language", 0.02, "s",
            "a language of a score step: its encoded rows and gold answers are read, its "
            "predictions written",
        ),
        Assumption(
            "span", 5.0e-6, "s per token",
            "search of the best answer in a window: 2 ms in one of 384 tokens",
        ),
        Assumption(
            "question", 18, "tokens",
            "a question before its context, with special tokens",
        ),
        Assumption(
            "group", 60.0, "s",
            "start of a worker group: pods, Ray, imports, and reading a backbone of 15 GB",
        ),
        Assumption(
            "GPU memory", 80.0, "GiB",
            "H100; of a plan without gpu_memory_gib",
        ),
        Assumption(
            "masked", 0.15, "of the tokens",
            "encoders predict them where a decoder predicts all (Devlin et al. 2019)",
        ),
        Assumption(
            "caption", 15, "tokens",
            "a caption in place of a picture: COCO's have 12 tokens and an end",
        ),
    )
}  # fmt: skip

#: Width below which the assumption `narrow` holds.
NARROW = 2048


def assumed(key: str) -> float:
    """The value of an assumption."""
    return ASSUMPTIONS[key].value


#: Key of the tokenizer of a tiny backbone, built from text with byte fallback, in TOKENIZERS.
BUILT = "built"
#: Of a tiny backbone on the miniature, whose rows are measured with it.
BUILT_ON_MINIATURE = "built, on the miniature"
#: Family → (English, other languages): text tokens of its usual tokenizer for each token of
#: Qwen2's, with which rows are measured. Means over the rows of the measured tasks. Others: 1.
TOKENIZERS: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("xlm_r", "xlm_r_xl"), (1.15, 0.70)),
    **dict.fromkeys(("llama", "llava", "llava_next"), (1.12, 1.42)),
    BUILT: (1.55, 1.35),
    BUILT_ON_MINIATURE: (1.0, 1.0),
}


def text_ratio(tokenizer: str, english: bool) -> float:
    """Text tokens of a tokenizer for each token of Qwen2's."""
    return TOKENIZERS.get(tokenizer, (1.0, 1.0))[0 if english else 1]


def utilisation(kind: str, dtype: str, hidden: int) -> float:
    """FLOP/s that one GPU reaches. kind: `training text`, `training pictures` or `scoring`."""
    narrow = assumed("narrow") if hidden < NARROW else 1.0
    return assumed(f"peak {dtype}") * assumed(kind) * narrow
