"""Prepares micro-batches in background processes while the model trains: rows are read, pictures
decoded and resized, and everything is packed into tensors.

Which rows a micro-batch has is decided before (order.py, micro_batches.py), and preparing them uses
no random numbers, so a result does not depend on the number of processes.
"""

import multiprocessing
import os
import select
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from xstilts.data.encoded import EncodedRow, EncodedRows, Images
from xstilts.models.batch import PackedBatch, Placement
from xstilts.models.head_set import pack_rows
from xstilts.models.heads import HeadInputs, head_inputs
from xstilts.models.processor import Processor

#: Micro-batches that each process prepares ahead. They are in shared memory.
_AHEAD = 2

#: (index of the task, indices of the rows) of one micro-batch.
Request = tuple[int, list[int]]
Parts = TypeVar("Parts", PackedBatch, HeadInputs)


class PreparationFailed(Exception):
    """A background process could not prepare a micro-batch. The message is that of its error, with
    the type.
    """


@dataclass(frozen=True)
class MicroBatch:
    """Rows as the model and the heads take them."""

    batch: PackedBatch
    inputs: HeadInputs

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.inputs.segments)

    def to(self, device: torch.device) -> "MicroBatch":
        """The same micro-batch on a device."""
        moved = _each(self.inputs, lambda tensor: tensor.to(device, non_blocking=True))
        return MicroBatch(self.batch.to(device), moved)

    def pin_memory(self) -> "MicroBatch":
        """The same micro-batch in pinned memory, from which copies to a GPU do not wait."""
        return MicroBatch(
            _each(self.batch, Tensor.pin_memory), _each(self.inputs, Tensor.pin_memory)
        )


def _each(parts: Parts, function: Callable[[Tensor], Tensor]) -> Parts:
    """The dataclass with the function applied to each of its tensors."""
    values = {field.name: getattr(parts, field.name) for field in fields(parts)}
    changed: dict[str, Any] = {
        name: function(value) for name, value in values.items() if isinstance(value, Tensor)
    }
    return replace(parts, **changed)


class Preparation:
    """Makes micro-batches of rows, without the model. It can be pickled."""

    def __init__(
        self, placement: Placement, processor: Processor, images: Sequence[Images | None]
    ) -> None:
        """images: those of each task, or None."""
        self._placement, self._images = placement, images
        # Pickling a tokenizer takes seconds, and rows are tokenized already.
        self._processor = replace(processor, tokenizer=None)

    def __call__(
        self, rows: Sequence[EncodedRow], task: int, images: Images | None = None
    ) -> MicroBatch:
        """images: those of the rows, if these are not the task's training rows."""
        pictures = images or self._images[task]
        return MicroBatch(
            pack_rows(rows, self._placement, self._processor, pictures), head_inputs(rows)
        )


class Prepared(Dataset[MicroBatch | str]):
    """The micro-batch of each request. An error that depends on data is returned as its text, so
    that it reads the same from any process.
    """

    def __init__(self, rows: Sequence[EncodedRows], preparation: Preparation) -> None:
        """rows: those of each task."""
        self._rows, self._preparation = rows, preparation

    def prepare(self, request: Request) -> MicroBatch:
        """The micro-batch of a request."""
        task, indices = request
        return self._preparation(self._rows[task].rows(indices), task)

    def __getitem__(self, request: Request) -> MicroBatch | str:
        try:
            return self.prepare(request)
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            return f"{type(error).__name__}: {error}"


class Prefetcher:
    """Gives the micro-batches of requests in their order. As a context manager it ends its
    processes when the body ends. They also end with this process.
    """

    def __init__(self, prepared: Prepared, processes: int, pin: bool) -> None:
        """processes: how many prepare micro-batches in the background; 0: this process prepares
        each one when it is due. pin: whether to return pinned memory.
        """
        self._prepared, self._processes, self._pin = prepared, processes, pin
        self._running: Generator[MicroBatch, None, None] | None = None

    def __call__(self, requests: Iterable[Request]) -> Iterator[MicroBatch]:
        """Requests are read ahead of their micro-batches.

        Raises:
            PreparationFailed: A background process could not prepare a micro-batch.
            RuntimeError: A background process was lost.
        """
        self._running = self._in_background(requests) if self._processes else self._here(requests)
        return self._running

    def __enter__(self) -> "Prefetcher":
        return self

    def __exit__(self, *_: object) -> None:
        if self._running is not None:
            self._running.close()

    def _here(self, requests: Iterable[Request]) -> Generator[MicroBatch, None, None]:
        for request in requests:
            micro_batch = self._prepared.prepare(request)
            yield micro_batch.pin_memory() if self._pin else micro_batch

    def _in_background(self, requests: Iterable[Request]) -> Generator[MicroBatch, None, None]:
        loader = DataLoader(
            self._prepared,
            batch_size=None,
            sampler=requests,
            num_workers=self._processes,
            prefetch_factor=_AHEAD,
            pin_memory=self._pin,
            multiprocessing_context=_context(),
            worker_init_fn=partial(_end_with, os.getpid()),
            generator=torch.Generator(),  # the global one would lose a number
        )
        results = iter(loader)
        while True:
            try:
                result = next(results)
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:
                raise RuntimeError(
                    f"a process that prepares data was lost ({type(error).__name__}: {error}); "
                    "check the memory limit of the worker and its /dev/shm"
                ) from error
            if isinstance(result, str):
                raise PreparationFailed(result)
            yield result


def _end_with(trainer: int, number: int) -> None:
    """Ends this background process when the process that trains ends for whatever reason (Linux
    only). Its parent is the server, which lives as long as it does.

    Args:
        trainer: Id of the process that trains.
        number: Of this background process; not used.
    """
    if not hasattr(os, "pidfd_open"):
        return
    try:
        ends = os.pidfd_open(trainer)
    except ProcessLookupError:
        os._exit(1)

    def watch() -> None:
        select.select([ends], [], [])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def processes_for(setting: int | None, threads: int, pictures: bool, device: torch.device) -> int:
    """How many background processes a worker has.

    A GPU would wait for the CPU: by default there is one process for rows, and one for each of the
    worker's threads where pictures are decoded. A worker that computes on the CPU has none, since
    they would take the cores that it computes on.

    Args:
        setting: The plan's resources.data_processes, which replaces the default.
        threads: CPU threads of the worker.
        pictures: Whether a task has images.
        device: Where the model is.
    """
    if setting is not None:
        return setting
    if device.type == "cpu":
        return 0
    return threads if pictures else 1


def _context() -> Any:
    """New processes are forked from a server without threads: forking this process, with the
    threads of its collectives, is not safe. The server imports the libraries once.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__, "transformers.image_processing_utils"])
    return context
