"""Memory of one worker, from the shape of its model: what training, scoring and the host need, in
bytes by part. docs/memory.md compares it with measured peaks.

Tensors that autograd keeps are counted operation by operation. Where a sum depends on the library
(casts of autocast, inputs that adapters keep), the rule is stated beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from xstilts.plan.model_shape import Shape

GIB = 2**30
FLOAT32, BFLOAT16 = 4, 2
#: CUDA context with the kernels that it loads, and workspaces of cuBLAS.
CUDA_CONTEXT = GIB
#: Part of a GPU's memory that the caching allocator cannot use because of fragmentation.
FRAGMENTATION = 0.05
#: Interpreter, libraries and rows of a worker on the host.
HOST_PROCESS = 3 * GIB


@dataclass(frozen=True)
class Setup:
    """What a worker does with a model.

    Attributes:
        tuning: `full` or `lora`.
        r: Rank of the adapters.
        dtype: Of frozen weights and of computation. Whatever trains is float32.
        shards: Workers that share weights, gradients and moments; 1: none.
        checkpointing: Whether layers are computed again in the backward pass.
        cuda: Whether the device is a GPU.
        dropout: Whether hidden states of encoders are dropped.
        adapter_dropout: Whether inputs of adapters are dropped.
        selects: Whether English dev selects weights while the step trains.
    """

    tuning: Literal["full", "lora"]
    r: int = 0
    dtype: str = "float32"
    shards: int = 1
    checkpointing: bool = False
    cuda: bool = False
    dropout: bool = False
    adapter_dropout: bool = False
    selects: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of a number that is computed."""
        return BFLOAT16 if self.dtype == "bfloat16" else FLOAT32

    @property
    def lora(self) -> bool:
        return self.tuning == "lora"


@dataclass(frozen=True)
class Batch:
    """What a worker computes at once.

    Attributes:
        tokens: Tokens of a micro-batch, image tokens included.
        supervised: Tokens whose vocabulary logits are computed.
        patches: Patches of all images.
        all_layers: Whether scoring keeps the states of every layer (retrieval).
    """

    tokens: int
    supervised: int = 0
    patches: int = 0
    all_layers: bool = False


@dataclass(frozen=True)
class MemoryUse:
    """Bytes by part, for people. Parts of equal time: their sum is the peak."""

    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    def __str__(self) -> str:
        """Parts of at least 0.05 GiB, in GiB."""
        shown = [f"{name} {b / GIB:.1f}" for name, b in self.parts.items() if b >= 0.05 * GIB]
        return ", ".join(shown) or "less than 0.1"


def trainable(shape: Shape, setup: Setup, batch: Batch) -> int:
    """Number of parameters that get gradients, without task heads. An LM head that nothing reads
    gets none.
    """
    if setup.lora:
        return shape.adapters(setup.r)
    return shape.text - (0 if batch.supervised else shape.head)


def weights(shape: Shape, setup: Setup) -> dict[str, int]:
    """Weights in memory. Sharded workers gather two layers at a time, and hold embedding table and
    LM head in full.
    """
    text = shape.text * (setup.bytes if setup.lora else FLOAT32)
    parts = {"weights": text // setup.shards + shape.frozen * setup.bytes}
    if setup.lora:
        parts["adapters"] = shape.adapters(setup.r) * FLOAT32
    if setup.shards > 1:
        ends, blocks = shape.table + shape.head + shape.other, 2 * shape.block
        # Of the ends, gradients are whole as well.
        gathered = (blocks + ends) * setup.bytes if setup.lora else (blocks + 2 * ends) * FLOAT32
        parts["gathered weights"] = gathered
    return parts


def training(shape: Shape, setup: Setup, batch: Batch) -> MemoryUse:
    """The peak of an update after the first micro-batch, when gradients and moments exist. Dense
    gradients are counted: on the CPU those of input embeddings may be rows (training/
    row_gradients.py), which need less unless most of the vocabulary occurs.
    """
    count = trainable(shape, setup, batch)
    shards = 1 if setup.lora else setup.shards
    held = {
        **weights(shape, setup),
        "gradients": count * FLOAT32 // shards,
        "optimizer moments": 2 * count * FLOAT32 // shards,
    }
    peaks = [*_update(shape, setup, batch), _images(shape, setup, batch)]
    if setup.selects:
        peaks.append(_scoring_peak(shape, setup, batch))
    return _with(held, peaks, setup)


def scoring(shape: Shape, setup: Setup, batch: Batch) -> MemoryUse:
    """The peak of scoring. Fully tuned weights are loaded whole by each worker."""
    setup = setup if setup.lora else replace(setup, shards=1)
    peaks = [_scoring_peak(shape, setup, batch), _images(shape, setup, batch)]
    return _with(weights(shape, setup), peaks, setup)


def host(shape: Shape, setup: Setup) -> MemoryUse:
    """What the host of a worker with a GPU needs: the model while it is loaded, or the copies of
    its trainable weights, whichever is more.
    """
    count = (shape.adapters(setup.r) if setup.lora else shape.text) * FLOAT32
    peaks = [
        {"model while it loads": shape.parameters * (setup.bytes if setup.lora else FLOAT32)},
        {**_copies(shape, setup), "checkpoint": 3 * count},
    ]
    return MemoryUse({"process": HOST_PROCESS, **_largest(peaks)})


def on_cpu(shape: Shape, setup: Setup, batch: Batch) -> MemoryUse:
    """What a worker without a GPU needs for training, with the copies that a host keeps."""
    return MemoryUse({**training(shape, setup, batch).parts, **_copies(shape, setup)})


def _copies(shape: Shape, setup: Setup) -> dict[str, int]:
    """Copies of trainable weights: those that each step starts from, and the best ones."""
    count = (shape.adapters(setup.r) if setup.lora else shape.text) * FLOAT32
    return {
        "initial weights": 0 if setup.lora else count // setup.shards,
        "best weights": count if setup.selects else 0,
    }


def _largest(peaks: Sequence[Mapping[str, int]]) -> Mapping[str, int]:
    return max(peaks, key=lambda parts: sum(parts.values()))


def _with(held: Mapping[str, int], peaks: Sequence[Mapping[str, int]], setup: Setup) -> MemoryUse:
    peak = _largest(peaks)
    cuda = CUDA_CONTEXT + int(FRAGMENTATION * sum(peak.values()))
    return MemoryUse({**held, **peak, **({"CUDA": cuda} if setup.cuda else {})})


def _update(shape: Shape, setup: Setup, batch: Batch) -> Iterator[dict[str, int]]:
    """What exists besides the state at each moment of an update that can be the largest."""
    tokens, full = batch.tokens, not setup.lora
    layer, stream = saved(shape, setup), shape.hidden * _stream(setup)
    kept = shape.layers * (stream if setup.checkpointing else layer)
    activations = {
        "activations": tokens * (kept + 4 * shape.hidden * FLOAT32) + _pixels(shape, setup, batch)
    }
    inside = tokens * _inside(shape, setup)
    casts = _casts(shape, setup)
    # Autocast keeps its copies of the weights until the forward pass ends; autograd keeps those of
    # layers that are not computed again until the backward pass has used them.
    later = 0 if setup.checkpointing else casts
    table = shape.table * FLOAT32 if full and batch.supervised else 0
    waiting = table if shape.tied else 0
    if casts:
        yield {**activations, "bfloat16 copies": casts, "one layer": inside}
    # Log-probabilities, their gradient and that of the logits; then the gradient of the LM head.
    logits = batch.supervised * shape.vocabulary * FLOAT32
    copy = shape.table * BFLOAT16 if casts and batch.supervised else 0
    held = {**activations, "bfloat16 copies": later + copy}
    yield {**held, "logits": 3 * logits}
    yield {**held, "logits": logits, "gradient of the LM head": table}
    again = tokens * layer if setup.checkpointing else 0
    yield {
        **activations,
        "bfloat16 copies": later or casts // shape.layers,
        "one layer": inside + again,
        "gradient of the LM head": waiting,
    }
    # The gradient of the embedding table, before it is added.
    yield {"gradients in progress": (shape.table * FLOAT32 if full else 0) + waiting}


def saved(shape: Shape, setup: Setup) -> int:
    """Bytes per token that autograd keeps of one text layer."""
    size, hidden, lora = setup.bytes, shape.hidden, setup.lora
    query, key, value = (m.outputs for m in shape.matrices if m.role == "attention")
    up = [m for m in shape.matrices if m.role == "up"]
    passes = shape.experts_per_token or 1
    wide, linears = passes * up[0].outputs, 3 + passes * len(up)
    low = size == BFLOAT16
    # Attention keeps queries, keys, values and its output.
    kept = (2 * query + key + value) * size
    # Inputs of linear maps. Each map has its own where adapters cast them to float32, autocast to
    # bfloat16, or dropout changes them; else maps share them.
    own = low or (lora and setup.adapter_dropout)
    width = FLOAT32 if lora else size
    kept += (linears if own else 2) * hidden * width
    if not (low and setup.cuda and not lora):  # there the kernel's output is the input
        kept += query * width
    # Norms keep their input in float32. RMSNorm is several operations: with a weight that trains it
    # keeps the normalized input too.
    kept += 2 * hidden * (FLOAT32 if shape.decoder else _stream(setup))
    if shape.decoder and not lora:
        kept += 2 * hidden * FLOAT32
    if shape.heads_norm:
        kept += (query + key) * (FLOAT32 + (0 if lora else size))
    # The feed-forward network: gate, its activation and up; or the input of GELU. Then the input of
    # the last map.
    kept += wide * ((3 if shape.decoder else 1) * size + width)
    if shape.experts_per_token:
        kept += 2 * passes * hidden * size  # rows sorted by expert, and their results
    if lora:
        kept += setup.r * FLOAT32 * (4 + passes * (len(up) + 1))
        if setup.adapter_dropout:  # masks, one byte each
            kept += linears * hidden + query + wide
    if setup.dropout and not shape.decoder:
        kept += 2 * hidden
    return kept


def _stream(setup: Setup) -> int:
    """Bytes of a number between layers: float32 where the embeddings are."""
    return setup.bytes if setup.lora else FLOAT32


def _inside(shape: Shape, setup: Setup) -> int:
    """Bytes per token of gradients inside the layer that the backward pass is in."""
    wide = sum(m.outputs for m in shape.matrices if m.role == "up")
    return (wide * (shape.experts_per_token or 1) + 3 * shape.hidden) * setup.bytes


def _casts(shape: Shape, setup: Setup) -> int:
    """Weights of all layers that autocast copies to bfloat16. Sharding does not divide them."""
    return 0 if setup.lora or setup.bytes == FLOAT32 else shape.linear * BFLOAT16


def _pixels(shape: Shape, setup: Setup, batch: Batch) -> int:
    """Pixels of all images as one tensor; on the CPU also as one tensor for each image."""
    if shape.vision is None:
        return 0
    return batch.patches * shape.vision.pixels * FLOAT32 * (1 if setup.cuda else 2)


def _images(shape: Shape, setup: Setup, batch: Batch) -> dict[str, int]:
    """The vision tower, before the text stack: states of one layer and those kept for features."""
    if shape.vision is None:
        return {"images": 0}
    vision = shape.vision
    states = (vision.kept + 6) * vision.hidden + 2 * vision.ff
    return {"images": batch.patches * states * setup.bytes + _pixels(shape, setup, batch)}


def _scoring_peak(shape: Shape, setup: Setup, batch: Batch) -> dict[str, int]:
    """One layer without a graph: states, and its feed-forward network. Adapters are folded into
    float32 matrices that are not sharded.
    """
    states = (shape.layers if batch.all_layers else 1) * shape.hidden * _stream(setup)
    up = [m.outputs for m in shape.matrices if m.role == "up"]
    wide = (sum(up) + up[0]) * (shape.experts_per_token or 1)
    largest = max(m.copies * m.inputs * m.outputs for m in shape.matrices)
    folds = setup.lora and setup.bytes == FLOAT32 and setup.shards == 1
    each = states + 3 * shape.hidden * FLOAT32 + wide * setup.bytes
    if setup.lora and not folds:  # results of adapters, and their sum with that of a matrix
        each += 2 * max(m.outputs for m in shape.matrices) * FLOAT32
    return {
        "folded adapters": (shape.adapted + 2 * largest) * FLOAT32 if folds else 0,
        "bfloat16 copies": _casts(shape, setup),
        "activations": batch.tokens * each + _pixels(shape, setup, batch),
    }
