"""Memory arithmetic against measured peaks: python -m benchmarks.memory [FILTER …]

Prints the table of docs/memory.md. Each case builds a model from a configuration, trains two
updates of two micro-batches through xstilts' own loop on one CPU thread, and adds up the
allocations that PyTorch's profiler reports from before the model exists. So weights, gradients,
moments, activations and temporary tensors are all measured, and nothing else of the process.
"""

import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import torch
import transformers as tf
from torch import nn
from torch.profiler import ProfilerActivity, profile

from xstilts.data.encoded import EncodedRows
from xstilts.models.activation_checkpointing import checkpoint_layers
from xstilts.models.backbone import Backbone, wrap
from xstilts.models.batch import ImageInput, Segment, pack
from xstilts.models.head_set import Heads
from xstilts.models.lora import add_lora, merged
from xstilts.models.processor import Processor
from xstilts.plan import memory
from xstilts.plan.memory import Batch, MemoryUse, Setup
from xstilts.plan.model_shape import shape_of
from xstilts.training.loop import Progress, TrainingSettings, TrainTask, make_optimiser, train
from xstilts.training.losses import Learner
from xstilts.training.workers import Workers

#: Rank of adapters, and rate of dropout.
RANK, RATE = 16, 0.1
#: Tokens of a row, and those with labels if the objective is `lm`.
ROW, SUPERVISED = 128, 32


@dataclass(frozen=True)
class Size:
    """Sizes of a text stack, and of a vision tower with `vision` layers."""

    hidden: int = 256
    layers: int = 4
    ff: int = 704
    heads: int = 4
    kv_heads: int = 2
    vocabulary: int = 8000
    vision: int = 2


@dataclass(frozen=True)
class Case:
    """One row of the table. images: an image in each row; only scoring measures them."""

    family: str
    tuning: str
    dtype: str = "float32"
    checkpointing: bool = False
    budget: int = 1024
    objective: str = "lm"
    dropout: bool = False
    scoring: bool = False
    images: bool = False

    def __str__(self) -> str:
        marks = [
            self.family,
            self.tuning,
            self.dtype,
            f"{self.budget} tokens",
            "scoring" if self.scoring else self.objective,
            *(["checkpointing"] if self.checkpointing else []),
            *(["dropout"] if self.dropout else []),
            *(["images"] if self.images else []),
        ]
        return ", ".join(marks)


def _text(size: Size) -> dict[str, Any]:
    return {
        "hidden_size": size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": size.ff,
        "vocab_size": size.vocabulary,
        "max_position_embeddings": 1026,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }


def _xlm_r(size: Size) -> nn.Module:
    return tf.XLMRobertaForMaskedLM(tf.XLMRobertaConfig(**_text(size), type_vocab_size=1))


def _llava(size: Size) -> nn.Module:
    vision = tf.CLIPVisionConfig(
        hidden_size=size.hidden // 2,
        intermediate_size=2 * size.hidden,
        num_hidden_layers=size.vision,
        num_attention_heads=size.heads,
        image_size=140,
        patch_size=14,
    )
    text = tf.LlamaConfig(**_text(size), num_key_value_heads=size.kv_heads)
    image = size.vocabulary - 1
    config = tf.LlavaConfig(vision_config=vision, text_config=text, image_token_index=image)
    return tf.LlavaForConditionalGeneration(config)


def _qwen_vl(size: Size) -> nn.Module:
    part = size.hidden // size.heads // 8
    rope = {"rope_type": "default", "rope_theta": 1e6}
    text = {
        **_text(size),
        "num_key_value_heads": size.kv_heads,
        "rope_parameters": {**rope, "mrope_section": [2 * part, part, part]},
    }
    vision = {
        "depth": size.vision,
        "embed_dim": size.hidden // 2,
        "hidden_size": size.hidden,
        "num_heads": size.heads,
    }
    config = tf.Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=size.vocabulary - 1,
        tie_word_embeddings=True,
    )
    return tf.Qwen2VLForConditionalGeneration(config)


#: Family → (model of a size).
MODELS: dict[str, Callable[[Size], nn.Module]] = {
    "xlm_r": _xlm_r,
    "llava": _llava,
    "qwen_vl": _qwen_vl,
}
_BUDGETS = (256, 1024)
#: Cases of the table.
CASES = (
    *(Case("xlm_r", "full", budget=b, objective="head", dropout=True) for b in _BUDGETS),
    *(Case("xlm_r", "full", "bfloat16", budget=b, objective="head") for b in _BUDGETS),
    Case("xlm_r", "full", checkpointing=True, budget=1024, dropout=True),
    Case("xlm_r", "full", "bfloat16", checkpointing=True, budget=1024),
    *(Case("xlm_r", "lora", budget=b, objective="head", dropout=True) for b in _BUDGETS),
    Case("xlm_r", "lora", "bfloat16", budget=1024, objective="head"),
    *(Case("llava", "full", budget=b) for b in _BUDGETS),
    *(Case("llava", "full", "bfloat16", budget=b) for b in _BUDGETS),
    Case("llava", "full", "bfloat16", checkpointing=True, budget=1024),
    *(Case("llava", "lora", budget=b, dropout=True) for b in _BUDGETS),
    *(Case("llava", "lora", "bfloat16", budget=b, dropout=True) for b in _BUDGETS),
    Case("llava", "lora", checkpointing=True, budget=1024, dropout=True),
    Case("llava", "lora", "bfloat16", checkpointing=True, budget=1024, objective="head"),
    *(Case("qwen_vl", "lora", budget=b) for b in _BUDGETS),
    *(Case("qwen_vl", "lora", "bfloat16", budget=b) for b in _BUDGETS),
    Case("qwen_vl", "full", budget=1024),
    Case("qwen_vl", "full", "bfloat16", checkpointing=True, budget=1024),
    Case("llava", "lora", budget=1024, scoring=True, images=True),
    Case("llava", "lora", "bfloat16", budget=1024, scoring=True, images=True),
    Case("xlm_r", "full", budget=1024, scoring=True),
)
_TASK = {"name": "task", "format": "classification", "classes": 3}


def peak(work: Callable[[], object]) -> int:
    """The largest sum of allocations, minus what was freed, while a function runs, in bytes."""
    gc.collect()  # an earlier model that is freed later would count as memory of this one
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = work()  # kept, so that nothing is freed before the end
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    del result
    total = largest = 0
    for _, size in changes:
        total += size
        largest = max(largest, total)
    return largest


def _built(case: Case, size: Size) -> Backbone:
    """The backbone of a case, as runs/loaded_backbone.py prepares it."""
    low = case.dtype == "bfloat16"
    with torch.random.fork_rng(devices=[]):
        torch.set_default_dtype(torch.bfloat16 if low and case.tuning == "lora" else torch.float32)
        try:
            model = MODELS[case.family](size)
        finally:
            torch.set_default_dtype(torch.float32)
    backbone = wrap(model, case.family)
    if case.tuning == "lora":
        add_lora(backbone, RANK, 2 * RANK)
    elif low:
        from xstilts.models.precision import keep_masters

        keep_masters(backbone, torch.bfloat16)
    return backbone


def _rows(count: int, objective: str, vocabulary: int) -> EncodedRows:
    answer = [7] * SUPERVISED if objective == "lm" else []
    rows = [
        {
            "row": row,
            "language": "en",
            "segments": [[5 + (7 * row + i) % (vocabulary - 10) for i in range(ROW)]],
            "length": ROW,
            "label": row % 3,
            "labels": [-100] * (ROW - len(answer)) + answer,
            "supervised": len(answer) or 1,
            **{name: [] for name in ("images", "grids", "span", "offsets", "words")},
        }
        for row in range(count)
    ]
    lists = {name: pa.list_(pa.int32()) for name in ("labels", "span", "offsets", "words")}
    integers = {name: pa.int32() for name in ("row", "length", "label", "supervised")}
    schema = {
        "language": pa.string(),
        "segments": pa.list_(pa.list_(pa.int32())),
        "images": pa.list_(pa.string()),
        "grids": pa.list_(pa.list_(pa.int32())),
        **lists,
        **integers,
    }
    return EncodedRows(pa.Table.from_pylist(rows, schema=pa.schema(schema)))


def _train(case: Case, size: Size) -> object:
    backbone = _built(case, size)
    checkpoint_layers(backbone, case.checkpointing)
    lora = case.tuning == "lora"
    recipe = {
        "dropout": RATE if case.dropout and not backbone.contract.causal else 0,
        "adapter_dropout": RATE if case.dropout and lora else 0,
    }
    heads = Heads([{**_TASK, "objective": case.objective}], backbone, recipe, 0, "")
    device = torch.device("cpu")
    processor = Processor(case.family, None)  # no text, and no pictures
    learner = Learner(backbone, heads, processor, [None], recipe, 0, "", device)
    count = 2 * case.budget // ROW
    settings = TrainingSettings(2, count, 1e-4, tokens_per_micro_batch=case.budget)
    trainable = {n: p for n, p in backbone.named_parameters() if p.requires_grad}
    optimiser = make_optimiser(trainable, heads, settings)
    rows = _rows(count, case.objective, size.vocabulary)
    backbone.train()
    task = TrainTask("task", rows, case.objective)
    train([task], learner.loss_sum, optimiser, settings, Progress(), Workers())
    return backbone, heads, optimiser, rows


def _score(case: Case, size: Size) -> object:
    backbone = _built(case, size).eval()
    image = size.vocabulary - 1
    pictures, shown = [], []
    if case.images:
        pictures, shown = [image] * 100, [ImageInput(torch.zeros(1, 3, 140, 140), (), 100)]
    segments = [
        Segment([*pictures, *range(5, 5 + ROW - len(pictures))], shown)
        for _ in range(case.budget // ROW)
    ]
    with merged(backbone), torch.no_grad():
        backbone(pack(segments, backbone))
    return backbone


def measured(case: Case, size: Size) -> int:
    """Bytes that a case allocates at most."""
    return peak(lambda: (_score if case.scoring else _train)(case, size))


def predicted(case: Case, size: Size) -> MemoryUse:
    """What the arithmetic says of a case."""
    with torch.device("meta"):
        shape = shape_of(MODELS[case.family](size).config.to_dict())  # type: ignore[operator,union-attr]
    setup = Setup(
        tuning=cast(Any, case.tuning),
        r=RANK if case.tuning == "lora" else 0,
        dtype=case.dtype,
        checkpointing=case.checkpointing,
        dropout=case.dropout and not shape.decoder,
        adapter_dropout=case.dropout and case.tuning == "lora",
    )
    share = SUPERVISED / ROW if case.objective == "lm" and not case.scoring else 0
    patches = 101 * (case.budget // ROW) if case.images else 0
    batch = Batch(case.budget, round(share * case.budget), patches)
    return (memory.scoring if case.scoring else memory.training)(shape, setup, batch)


def main(filters: Sequence[str]) -> None:
    """Prints a row for each case whose name contains one of the filters; without any, for all."""
    torch.set_num_threads(1)
    print("| case | measured, MiB | arithmetic, MiB | difference |")
    print("| --- | ---: | ---: | ---: |")
    for case in CASES:
        if filters and not any(text in str(case) for text in filters):
            continue
        started = time.perf_counter()
        peaked, expected = measured(case, Size()), predicted(case, Size()).total
        row = f"| {case} | {peaked / 2**20:,.0f} | {expected / 2**20:,.0f} "
        print(f"{row}| {100 * (expected / peaked - 1):+.1f}% |", flush=True)
        print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
