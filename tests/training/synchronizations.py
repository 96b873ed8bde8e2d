"""Counts how often a computation would wait for a GPU, on CPU tensors that stand for GPU tensors.

Parameters and batches are marked, and so is everything computed from them. Reading a number of a
marked tensor, copying it to the host, or an operation whose size depends on its values would wait.
"""

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xstilts.models.batch import PackedBatch
from xstilts.models.heads import HeadInputs

READS = ("cpu", "tolist", "numpy", "nonzero")
#: Operators that read values or make tensors of a size that depends on values.
WAITS = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::bincount",
    "aten::_unique2", "aten::unique_consecutive", "aten::unique_dim", "aten::equal",
    "aten::is_nonzero",
}  # fmt: skip


class Waits(TorchDispatchMode):
    """places: one entry for each time that the host would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []
        self._marked: dict[int, StorageWeakRef] = {}

    def mark(self, tensors: Iterable[Any]) -> None:
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._marked[storage._cdata] = StorageWeakRef(storage)

    def is_marked(self, value: Any) -> bool:
        if not isinstance(value, Tensor):
            return False
        reference = self._marked.get(value.untyped_storage()._cdata)
        return reference is not None and not reference.expired()

    def note(self, what: str) -> None:
        frames = [f for f in traceback.extract_stack() if "synchronizations.py" not in f.filename]
        ours = [f for f in frames if "xstilts" in f.filename or "transformers" in f.filename]
        self.places.append(f"{what} at {ours[-1].filename}:{ours[-1].lineno}" if ours else what)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(self.is_marked(leaf) for leaf in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)
        name = func._schema.name
        by_mask = name in ("aten::index", "aten::index_put", "aten::index_put_") and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        unsized = name == "aten::repeat_interleave" and kwargs.get("output_size") is None
        if name in WAITS or by_mask or unsized:
            self.note(name)
        out = func(*args, **kwargs)
        self.mark(tree_leaves(out))
        return out


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, *modules: torch.nn.Module) -> Iterator[Waits]:
    """Counts inside the context. modules: their weights are on the GPU, as are batches."""
    waits = Waits()
    for module in modules:
        waits.mark([*module.parameters(), *module.buffers()])

    def reading(name: str) -> Any:
        original = getattr(Tensor, name)

        def read(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if waits.is_marked(tensor) and name != "nonzero":
                waits.note(name)
            return original(tensor, *args, **kwargs)

        return read

    def moving(kind: Any) -> Any:
        original = kind.to

        def to(batch: Any, device: Any) -> Any:
            moved = original(batch, device)
            values = {n: v for n, v in vars(moved).items() if n != "image_grids"}
            waits.mark(values.values())
            return moved

        return to

    with monkeypatch.context() as patch:
        for name in READS:
            patch.setattr(Tensor, name, reading(name))
        for kind in (PackedBatch, HeadInputs):
            patch.setattr(kind, "to", moving(kind))
        with waits:
            yield waits
