"""Counter-based dropout.

Whether a channel of a token is dropped is a pure function of (seed, update, the segment's key, the
token's place in its segment, the channel, the module's name). It does not depend on packing,
micro-batches, workers, order or restarts, and recomputing a layer (activation checkpointing) gives
the same mask. Dropout on attention probabilities is not applied: no variable-length kernel supports
it with a custom mask.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from xstilts.random_streams import stream_seed


@dataclass
class DropoutControl:
    """State that all dropout modules of a backbone share. Dropout is off until a rate is set.

    hidden: rate of an encoder's hidden states. adapter: rate of the inputs of LoRA's first matrix.
    """

    hidden: float = 0.0
    adapter: float = 0.0
    _base: int = 0
    _tokens: Tensor | None = field(default=None, repr=False)

    def at(self, seed: int, update: int, stage: str = "") -> None:
        """Sets the update: masks are different for each (seed, stage, update)."""
        self._base = stream_seed(f"dropout/{update}", seed, stage)

    def begin(self, keys: Tensor, offsets: Tensor) -> None:
        """Sets the tokens of the next forward pass: keys [T] and places in their segments [T]."""
        self._tokens = _mix64(_mix64(keys ^ self._base) + offsets)

    def tokens(self) -> Tensor:
        """[T] int64: the hash of each token of this forward pass."""
        if self._tokens is None:
            raise RuntimeError(
                "dropout is on, and the tokens are unknown: call the backbone, not its inner model"
            )
        return self._tokens

    @contextmanager
    def replay(self, tokens: Tensor) -> Iterator[None]:
        """Inside this context the tokens are those of an earlier forward pass (from `tokens()`)."""
        current, self._tokens = self._tokens, tokens
        try:
            yield
        finally:
            self._tokens = current


class CounterDropout(nn.Module):
    """Replaces nn.Dropout on states [..., T, channels]. Does nothing at rate 0 or outside
    training.
    """

    p = 0.0  # XLM-R's attention reads this rate for its probabilities

    def __init__(self, control: DropoutControl, kind: str, name: str) -> None:
        super().__init__()
        self.control, self.kind, self.name = control, kind, name
        self._salt = stream_seed("dropout-module", 0, name)

    def forward(self, states: Tensor) -> Tensor:
        rate: float = getattr(self.control, self.kind)
        if not self.training or rate == 0.0:
            return states
        tokens = self.control.tokens()
        if tokens.shape[0] != states.shape[-2]:
            raise RuntimeError(
                f"dropout {self.name}: {states.shape[-2]} states for {tokens.shape[0]} tokens"
            )
        keep = keep_mask(tokens ^ self._salt, states.shape[-1], rate)
        return torch.where(
            keep, states / (1.0 - rate), torch.zeros((), dtype=states.dtype, device=states.device)
        )

    def extra_repr(self) -> str:
        return f"{self.kind}, {self.name}"


def keep_mask(tokens: Tensor, channels: int, rate: float) -> Tensor:
    """[T, channels] bool, True with probability 1 - rate, from the hashes [T] of the tokens
    (int64).

    Each 64-bit hash gives four channels, 16 bits each (in little-endian order). Rates are exact to
    1/131072.
    """
    columns = _mix64(torch.arange(1, (channels + 3) // 4 + 1, device=tokens.device))
    bits = _mix64(tokens[:, None] ^ columns[None]).view(torch.int16)
    return bits[:, :channels] >= -(2**15) + min(round(rate * 2**16), 2**16 - 1)


def _mix64(x: Tensor) -> Tensor:
    """The finaliser of splitmix64 on int64, which wraps as uint64 does. All but the first step of
    each line work in place: masks are large, and new tensors would take half of the time.
    """
    high = x >> 30
    mixed = high.bitwise_and_(2**34 - 1).bitwise_xor_(x).mul_(0xBF58476D1CE4E5B9 - 2**64)
    high = mixed >> 27
    mixed.bitwise_xor_(high.bitwise_and_(2**37 - 1)).mul_(0x94D049BB133111EB - 2**64)
    high = mixed >> 31
    return mixed.bitwise_xor_(high.bitwise_and_(2**33 - 1))


def install(root: nn.Module, control: DropoutControl, kind: str) -> list[str]:
    """Replaces every nn.Dropout below `root` by a CounterDropout. Returns their names."""
    names = [name for name, module in root.named_modules() if isinstance(module, nn.Dropout)]
    for name in names:
        root.set_submodule(name, CounterDropout(control, kind, name))
    return names
