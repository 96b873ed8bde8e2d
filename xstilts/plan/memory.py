"""Memory of one worker, from the shape of its model: what training, scoring and the host need, in
bytes by part. docs/memory.md compares it with measured peaks.

Tensors that autograd keeps are counted operation by operation. Where a sum depends on the library
(casts of autocast, inputs that adapters keep), the rule is stated beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from xstilts.plan.model_shape import Matrix, Shape

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
class Memory:
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
    """Weights in memory. With sharding also two layers and the embedding tables in full, which
    exist while they are computed.
    """
    text = shape.text * (setup.bytes if setup.lora else FLOAT32)
    parts = {"weights": text // setup.shards + shape.frozen * setup.bytes}
    if setup.lora:
        parts["adapters"] = shape.adapters(setup.r) * FLOAT32
    if setup.shards > 1:
        gathered = 2 * shape.block + shape.table + shape.head + shape.other
        parts["gathered weights"] = gathered * setup.bytes
    return parts


def training(shape: Shape, setup: Setup, batch: Batch) -> Memory:
    """The peak of an update, after the first micro-batch: gradients and moments exist."""
    count = trainable(shape, setup, batch)
    shards = 1 if setup.lora else setup.shards
    held = {
        **weights(shape, setup),
        "gradients": count * FLOAT32 // shards,
        "optimizer moments": 2 * count * FLOAT32 // shards,
    }
    later = [_backward(shape, setup, batch), _last(shape, setup), _images(shape, setup, batch)]
    if setup.selects:
        later.append(_scoring_parts(shape, setup, batch))
    peak = max(later, key=lambda parts: sum(parts.values()))
    return Memory({**held, **peak, **_context(setup, {**held, **peak})})


def scoring(shape: Shape, setup: Setup, batch: Batch) -> Memory:
    """The peak of scoring."""
    held = weights(shape, setup)
    moments = [_scoring_parts(shape, setup, batch), _images(shape, setup, batch)]
    peak = max(moments, key=lambda parts: sum(parts.values()))
    return Memory({**held, **peak, **_context(setup, {**held, **peak})})


def host(shape: Shape, setup: Setup) -> Memory:
    """What the host of a worker with a GPU needs: the model while it is loaded, or the copies of
    its trainable weights, whichever is more.
    """
    count = (shape.adapters(setup.r) if setup.lora else shape.text) * FLOAT32
    loading = {"model while it loads": shape.parameters * setup.bytes}
    copies = {
        "initial weights": 0 if setup.lora else count,
        "best weights": count if setup.selects else 0,
        "checkpoint": 3 * count,
    }
    peak = max((loading, copies), key=lambda parts: sum(parts.values()))
    return Memory({"process": HOST_PROCESS, **peak})


def on_cpu(shape: Shape, setup: Setup, batch: Batch) -> Memory:
    """What a worker without a GPU needs: training, and the copies that a host keeps."""
    copies = {n: b for n, b in host(shape, setup).parts.items() if n.endswith(" weights")}
    return Memory({**training(shape, setup, batch).parts, **copies})


def _context(setup: Setup, parts: Mapping[str, int]) -> dict[str, int]:
    if not setup.cuda:
        return {}
    return {"CUDA": CUDA_CONTEXT + int(FRAGMENTATION * sum(parts.values()))}


def _backward(shape: Shape, setup: Setup, batch: Batch) -> dict[str, int]:
    """What exists at the start of the backward pass, or in its largest layer."""
    layer, flight = saved(shape, setup) * batch.tokens, _flight(shape, setup) * batch.tokens
    logits = _logits(shape, setup, batch)
    kept = _ends(shape, setup) * batch.tokens + copies_for_autocast(shape, setup, batch)
    if setup.checkpointing:
        stream = shape.hidden * _stream(setup) * batch.tokens
        return {
            "activations": shape.layers * stream + kept,
            "one layer": max(0, layer + flight - logits),
            "logits": logits,
        }
    return {
        "activations": shape.layers * layer + kept,
        "logits": logits,
        "temporary": max(0, flight - logits),
    }


def _last(shape: Shape, setup: Setup) -> dict[str, int]:
    """The end of the backward pass: the gradient of the embedding table, before it is added. With
    tied tables that of the LM head exists as well.
    """
    if setup.lora:
        return {"temporary": 0}
    return {"temporary": (2 if shape.tied else 1) * shape.table * FLOAT32}


def saved(shape: Shape, setup: Setup) -> int:
    """Bytes per token that autograd keeps of one text layer."""
    size, hidden = setup.bytes, shape.hidden
    query, key, value = (m.outputs for m in shape.matrices if m.role == "attention")
    passes = shape.experts_per_token or 1
    up = [m for m in shape.matrices if m.role == "up"]
    wide, linears = passes * up[0].outputs, 3 + passes * len(up)
    # Attention keeps queries, keys, values and its output.
    kept = (2 * query + key + value) * size
    # Inputs of linear maps. Autocast and dropout make one for each map; else maps share them.
    separate = setup.bytes == BFLOAT16 or (setup.lora and setup.adapter_dropout)
    kept += (linears if separate else 2) * hidden * size
    if separate and setup.lora or not (setup.cuda and setup.bytes == BFLOAT16):
        kept += query * size  # attention output, copied
    # Norms keep their input in float32. RMSNorm is several operations: with a weight that trains,
    # it keeps the normalized input too.
    plain = not shape.decoder and setup.lora and not setup.cuda
    kept += 2 * hidden * (size if plain else FLOAT32)
    if shape.decoder and not setup.lora:
        kept += 2 * hidden * FLOAT32
    if shape.heads_norm:
        kept += (query + key) * (FLOAT32 + (0 if setup.lora else size))
    # The feed-forward network: gate, its activation, up and their product; or one and its GELU.
    kept += (4 if shape.decoder else 2) * wide * size
    if shape.experts_per_token:
        kept += 2 * passes * hidden * size  # rows sorted by expert, and their results
    if setup.lora:
        kept += setup.r * size * (4 + passes * (len(up) + 1))
        if setup.adapter_dropout:  # masks, one byte each
            kept += linears * hidden + query + wide
    if setup.dropout and not shape.decoder:
        kept += 2 * hidden
    return kept


def _stream(setup: Setup) -> int:
    """Bytes of a number of the states between layers: float32 where embeddings are."""
    return setup.bytes if setup.lora else FLOAT32


def _ends(shape: Shape, setup: Setup) -> int:
    """Bytes per token outside the layers: embeddings, and the states with their norm."""
    return 4 * shape.hidden * FLOAT32


def _flight(shape: Shape, setup: Setup) -> int:
    """Bytes per token of gradients inside the layer that the backward pass is in."""
    wide = sum(m.outputs for m in shape.matrices if m.role == "up")
    return (wide * (shape.experts_per_token or 1) + 3 * shape.hidden) * setup.bytes


def _logits(shape: Shape, setup: Setup, batch: Batch) -> int:
    """Log-probabilities, their gradient and that of the logits, in float32."""
    return 3 * batch.supervised * shape.vocabulary * FLOAT32


def copies_for_autocast(shape: Shape, setup: Setup, batch: Batch) -> int:
    """Weights that autocast copies to bfloat16, and the backward pass needs."""
    if setup.lora or setup.bytes == FLOAT32:
        return 0
    return (shape.linear + (shape.table if batch.supervised else 0)) * BFLOAT16 // setup.shards


def _images(shape: Shape, setup: Setup, batch: Batch) -> dict[str, int]:
    """The vision tower, before the text stack: states of one layer and those kept for features."""
    if shape.vision is None or not batch.patches:
        return {"images": 0}
    vision = shape.vision
    layer = (6 * vision.hidden + 2 * vision.ff) * setup.bytes
    each = vision.pixels * FLOAT32 + vision.kept * vision.hidden * setup.bytes + layer
    return {"images": batch.patches * each}


def _scoring_parts(shape: Shape, setup: Setup, batch: Batch) -> dict[str, int]:
    """One layer without a graph, and the matrices with adapters folded in."""
    states = (shape.layers if batch.all_layers else 1) * shape.hidden * _stream(setup)
    layer = saved(shape, setup)
    largest = max(m.copies * m.inputs * m.outputs for m in shape.matrices)
    folded = (shape.adapted * setup.bytes + 3 * largest * FLOAT32) if setup.lora else 0
    return {
        "folded adapters": folded // setup.shards,
        "activations": batch.tokens * (states + layer + _ends(shape, setup)),
    }


def adapted(matrices: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
    """The matrices that LoRA adapts."""
    return tuple(matrix for matrix in matrices if matrix.role != "router")
