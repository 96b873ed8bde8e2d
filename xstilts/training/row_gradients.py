"""Gradients of input embeddings as rows, on the CPU.

The table of a multilingual text encoder has 250,002 rows, 70 to 80% of its weights, and an update
reads a few thousand of them. AdamW without weight decay leaves a row as it is while its gradient
and both moments are zero. So only *active* rows, those that ever had a gradient, are computed; the
gradient is a coalesced sparse tensor, of the rows of one update.

Weights and moments are those of dense gradients to the bit, except where sums have another order:
the norm of all gradients, and the gradient of a table that is also the LM head. (Where a width is
not a multiple of 4, the last bit may differ too: vector instructions round other numbers.)

On a GPU gradients stay dense: the number of rows would have to be read, and an update waits once.
"""

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.hooks import RemovableHandle

from xstilts.training.workers import Workers

#: Numbers in the smallest table for which rows are faster.
LEAST_NUMBERS = 2**22
#: Share of active rows beyond which the whole table is updated: copying most rows costs more.
MOST_ACTIVE = 0.5
#: Numbers of active rows that are copied and updated at once: few enough for the caches.
CHUNK = 2**17

_hooks: WeakKeyDictionary[nn.Embedding, RemovableHandle] = WeakKeyDictionary()


def use_rows(model: nn.Module, without_decay: Iterable[Tensor]) -> None:
    """Makes input embeddings of a model give their gradients as rows, and all others as whole
    tensors. May be called again, with other parameters.

    Args:
        model: The model.
        without_decay: Parameters that train without weight decay.
    """
    trained = {id(parameter) for parameter in without_decay}
    for table in model.modules():
        if isinstance(table, nn.Embedding):
            if handle := _hooks.pop(table, None):
                handle.remove()
            table.sparse = id(table.weight) in trained and _suits(table)
            if table.sparse:
                # Each micro-batch by itself: its rows are summed before they are added to others.
                _hooks[table] = table.weight.register_hook(_coalesced)


def _suits(table: nn.Embedding) -> bool:
    weight = table.weight
    plain = table.max_norm is None and not table.scale_grad_by_freq
    whole = not isinstance(weight, DTensor) and weight.device.type == "cpu"
    return plain and whole and weight.numel() >= LEAST_NUMBERS


def _coalesced(gradient: Tensor) -> Tensor:
    """A gradient in which each row occurs once, in ascending order; a whole tensor as it is."""
    if not gradient.is_sparse or gradient.is_coalesced():
        return gradient
    rows, values = gradient._indices()[0], gradient._values()
    if not bool((rows[1:] > rows[:-1]).all()):
        # Summed in the order of tokens, as in a dense gradient. coalesce() has another order.
        rows, places = rows.unique(return_inverse=True)
        values = values.new_zeros(len(rows), values.shape[1]).index_add_(0, places, values)
    return _from_rows(gradient, rows, values)


def numbers(gradient: Tensor) -> Tensor:
    """The numbers of a gradient that may differ from 0, sharing its memory."""
    return gradient.values() if gradient.is_sparse else gradient


def of_all_workers(parameter: Tensor, whole: bool, workers: Workers) -> Tensor:
    """This worker's gradient, 0 if it has none, with the rows that any worker has. Then `numbers`
    can be summed. All workers call this together.

    Args:
        parameter: The parameter.
        whole: Whether the gradient of a worker is a whole tensor.
        workers: This worker and the others.
    """
    gradient = parameter.grad
    if whole:
        if gradient is None:
            return torch.zeros_like(parameter)
        return gradient.to_dense() if gradient.is_sparse else gradient
    if gradient is None:
        gradient = _from_rows(parameter, torch.zeros(0, dtype=torch.int64), parameter.new_zeros(0))
    gradient = _coalesced(gradient)
    if workers.world == 1:
        return gradient
    own = gradient.indices()[0]
    marks = torch.zeros(len(parameter), dtype=torch.int32)
    marks[own] = 1
    workers.sum_(marks)
    rows = marks.nonzero()[:, 0]
    values = parameter.new_zeros(len(rows), *parameter.shape[1:])
    values[torch.searchsorted(rows, own)] = gradient.values()
    return _from_rows(parameter, rows, values)


def _from_rows(parameter: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """A gradient from its rows in ascending order and their values."""
    values = values.view(len(rows), *parameter.shape[1:]).contiguous()
    return torch.sparse_coo_tensor(
        rows[None], values, parameter.shape, is_coalesced=True, check_invariants=False
    )


class RowAdamW(torch.optim.AdamW):
    """Fused AdamW that takes gradients as rows. Its state is that of AdamW."""

    def __init__(self, groups: list[dict[str, Any]], **settings: Any) -> None:
        super().__init__(groups, fused=True, **settings)
        #: Of parameters that had gradients as rows: which rows are active.
        self._active: dict[Tensor, Tensor] = {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As AdamW. Rows are active that have moments: all others never had a gradient."""
        super().load_state_dict(state_dict)
        self._active.clear()

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates all parameters that have a gradient."""
        rows: list[tuple[dict[str, Any], Tensor, Tensor, Tensor]] = []
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None or not gradient.is_sparse:
                    if gradient is not None and parameter in self._active:
                        self._active[parameter].fill_(True)
                    continue
                gradient = _coalesced(gradient)
                active = self._activate(parameter, gradient.indices()[0])
                if group["weight_decay"] or len(active) > MOST_ACTIVE * len(parameter):
                    parameter.grad = gradient.to_dense()
                else:
                    rows.append((group, parameter, gradient, active))
                    parameter.grad = None
        super().step()
        for group, parameter, gradient, active in rows:
            parameter.grad = gradient
            self._step_rows(group, parameter, gradient, active)

    def _activate(self, parameter: Tensor, rows: Tensor) -> Tensor:
        """All active rows of a parameter in ascending order, with those of its gradient."""
        if parameter not in self._active:
            marks = torch.zeros(len(parameter), dtype=torch.bool)
            if state := self.state.get(parameter):
                for name in ("exp_avg", "exp_avg_sq"):
                    marks |= state[name].any(1)
            self._active[parameter] = marks
        self._active[parameter][rows] = True
        return self._active[parameter].nonzero()[:, 0]

    def _step_rows(
        self, group: dict[str, Any], parameter: Tensor, gradient: Tensor, active: Tensor
    ) -> None:
        """Updates active rows, as copies of a few at a time."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        tables = (parameter, state["exp_avg"], state["exp_avg_sq"])
        beta1, beta2 = group["betas"]
        width, values = parameter.shape[1], gradient.values()
        places = torch.searchsorted(active, gradient.indices()[0])
        size = max(1, CHUNK // width)
        starts = torch.arange(0, len(active) + size, size)
        bounds = torch.searchsorted(places, starts).tolist()
        for number, chunk in enumerate(active.split(size)):
            inside = slice(*bounds[number : number + 2])
            change = values.new_zeros(len(chunk), width)
            change[places[inside] - number * size] = values[inside]
            copies = [table.index_select(0, chunk) for table in tables]
            weights, first, second = ([copy] for copy in copies)
            torch._fused_adamw_(
                weights,
                [change],
                first,
                second,
                [],
                [state["step"]],
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=0.0,
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )
            for table, copy in zip(tables, copies, strict=True):
                table.index_copy_(0, chunk, copy)
