"""Adapters of one frozen backbone trained side by side, against one after the other.

    PYTHONPATH=. python -m benchmarks.side_by_side [--adapters 4] [--rounds 5] [--tokens 1024 8192]

Alternatives of one update of each adapter, with equal rows, LoRA on every matrix:

- one after the other: forward and backward pass of each adapter in turn, as a group trains;
- threads: a thread for each adapter, which share the frozen weights and the cores;
- batched: the rows of all adapters in one pass. Frozen matrices multiply all tokens at once, and
  each adapter its own tokens.

Prints seconds of an update of all adapters (median, smallest and largest of interleaved rounds),
and the largest distance of a gradient from that of the first alternative, relative to its norm.
Beyond rounding, the alternative is wrong.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from torch import Tensor, nn

from xstilts.models.backbone import Backbone, wrap
from xstilts.models.batch import PackedBatch, Segment, pack
from xstilts.models.lora import adapted, add_lora, trainable_state

RANK = 16
#: Tokens of a row: those of an NLI pair, of a passage with its question, of a picture with a text.
ROWS = (40, 160, 640)
VOCABULARY = 2000


def build(width: int, layers: int, seed: int, like: Backbone | None = None) -> Backbone:
    """A Llama stack with adapters drawn from a seed. like: whose frozen weights it shares."""
    torch.manual_seed(0)
    config = tf.LlamaConfig(
        hidden_size=width,
        intermediate_size=round(width * 2.75),
        num_hidden_layers=layers,
        num_attention_heads=width // 128,
        num_key_value_heads=width // 128,
        vocab_size=VOCABULARY,
        max_position_embeddings=4096,
    )
    backbone = wrap(tf.LlamaForCausalLM(config), "llama")
    add_lora(backbone, RANK, 2 * RANK)
    generator = torch.Generator().manual_seed(seed)
    for tensor in trainable_state(backbone).values():
        tensor.normal_(std=0.02, generator=generator)
    if like is not None:
        frozen = dict(like.named_parameters())
        for name, parameter in backbone.named_parameters():
            if not parameter.requires_grad:
                parameter.data = frozen[name].data
    return backbone.train()


def rows(tokens: int, seed: int) -> list[Segment]:
    """Rows of the lengths in ROWS in turn, of this many tokens together."""
    generator, left = torch.Generator().manual_seed(seed), tokens
    made: list[Segment] = []
    while left:
        length = min(left, ROWS[len(made) % len(ROWS)])
        ids = torch.randint(5, VOCABULARY, (length,), generator=generator).tolist()
        made.append(Segment(ids))
        left -= length
    return made


def loss_of(states: Tensor) -> Tensor:
    """A loss that reads every state: its gradient is as large as that of a task's loss."""
    return states.float().square().mean()


class PerAdapter(nn.Module):
    """A frozen matrix that multiplies the tokens of all adapters, and adapters that multiply
    their own tokens: tokens [k × n, in], the k-th n of the k-th adapter.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__()
        self.base = layers[0].get_base_layer()
        self.scale = float(layers[0].scaling["default"])
        self.a = [layer.lora_A["default"].weight for layer in layers]
        self.b = [layer.lora_B["default"].weight for layer in layers]

    def forward(self, x: Tensor) -> Tensor:
        out = self.base(x)
        parts = [
            (part @ a.T) @ b.T
            for part, a, b in zip(x[0].chunk(len(self.a)), self.a, self.b, strict=True)
        ]
        return out + self.scale * torch.cat(parts)[None]


def joined(backbones: Sequence[Backbone]) -> Backbone:
    """One backbone that computes all adapters in one pass, with the parameters of the others."""
    together = copy.deepcopy(backbones[0])
    names = [*adapted(together)]
    for name in names:
        layers = [backbone.get_submodule(name) for backbone in backbones]
        together.set_submodule(name, PerAdapter(layers))
    return together


def one_after_the_other(backbones: Sequence[Backbone], batches: Sequence[PackedBatch]) -> None:
    for backbone, batch in zip(backbones, batches, strict=True):
        loss_of(backbone(batch)).backward()


def in_threads(
    pool: ThreadPoolExecutor, backbones: Sequence[Backbone], batches: Sequence[PackedBatch]
) -> None:
    def work(pair: tuple[Backbone, PackedBatch]) -> None:
        loss_of(pair[0](pair[1])).backward()

    list(pool.map(work, zip(backbones, batches, strict=True)))


def batched(together: Backbone, batch: PackedBatch, count: int) -> None:
    states: Tensor = together(batch)
    torch.stack([loss_of(part) for part in states.chunk(count)]).sum().backward()


def gradients(backbones: Sequence[Backbone], run: Callable[[], None]) -> list[Tensor]:
    """The gradients of all adapters after a run; they are cleared before and after it."""
    parameters = [p for b in backbones for p in b.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.grad = None
    run()
    made = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
    assert len(made) == len(parameters)
    return made


def measured(width: int, layers: int, adapters: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Seconds of each alternative, from rounds that run all of them in turn."""
    first = build(width, layers, 0)
    backbones = [first, *(build(width, layers, seed, first) for seed in range(1, adapters))]
    shares = [rows(tokens, seed) for seed in range(adapters)]
    batches = [pack(share, first) for share in shares]
    together, whole = joined(backbones), pack([row for share in shares for row in share], first)
    cores = torch.get_num_threads()
    pool = ThreadPoolExecutor(adapters, initializer=lambda: torch.set_num_threads(1))
    runs: dict[str, Callable[[], None]] = {
        "one after the other": lambda: one_after_the_other(backbones, batches),
        "threads": lambda: in_threads(pool, backbones, batches),
        "batched": lambda: batched(together, whole, adapters),
    }
    expected = gradients(backbones, runs["one after the other"])
    differences = {
        name: max(
            float((value - reference).norm() / reference.norm())
            for value, reference in zip(gradients(backbones, run), expected, strict=True)
        )
        for name, run in runs.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            torch.set_num_threads(cores)
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    pool.shutdown()
    return {
        "width": width, "layers": layers, "adapters": adapters, "tokens": tokens,
        "threads": cores, "seconds": seconds, "differences": differences,
    }  # fmt: skip


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: seconds of an update of all adapters, and the gain over one after the other."""
    lines = [
        "| tokens each | alternative | s, median | smallest | largest | gain | gradients |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        seconds = result["seconds"]
        before = statistics.median(seconds["one after the other"])
        for name, values in seconds.items():
            middle = statistics.median(values)
            lines.append(
                f"| {result['tokens']:,} | {name} | {middle:.3g} | {min(values):.3g} "
                f"| {max(values):.3g} | {before / middle:.2f} "
                f"| {result['differences'][name]:.0e} |"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--adapters", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    results = [
        measured(chosen.width, chosen.layers, chosen.adapters, tokens, chosen.rounds)
        for tokens in chosen.tokens
    ]
    print(table(results))
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
