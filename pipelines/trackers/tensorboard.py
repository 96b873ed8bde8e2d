"""Writes the cells of a run as TensorBoard event files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xstilts.analysis.tracked_runs import TrackedRun
from xstilts.errors import PlanError
from xstilts.store.documents import is_name


def write(folder: Path, started: float, cells: Iterable[TrackedRun]) -> int:
    """Writes one folder with an event file per cell: curves and scores as scalars, parameters with
    official averages for the HParams tab, tags as text. Returns the number of cells.

    Args:
        folder: the log directory, new or empty.
        started: time of the run, in seconds since 1970.
        cells: what to write.

    Raises:
        PlanError: tensorboardX is not installed, or the folder is not empty.
    """
    writer, hparams = _library()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PlanError(
            f"{folder}: not an empty folder; TensorBoard would mix two exports. Give another one"
        )
    count = 0
    for cell in cells:
        if not is_name(cell.name, folders=False):
            raise PlanError(f"{cell.name!r}: a cell's name is not a valid folder name")
        with writer(str(folder / cell.name)) as events:
            _write(events, hparams, started, cell)
        count += 1
    return count


def _library() -> tuple[Any, Any]:
    """(SummaryWriter, hparams) of tensorboardX."""
    try:
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams
    except ImportError as error:
        raise PlanError(
            f"TensorBoard event files need tensorboardX ({error}); run `pip install tensorboardX`"
        ) from error
    return SummaryWriter, hparams


def _write(events: Any, hparams: Any, started: float, cell: TrackedRun) -> None:
    for name, points in cell.curves.items():
        for update, seconds, value in points:
            events.add_scalar(name, value, update, walltime=started + seconds)
    for name, value in cell.scores.items():
        events.add_scalar(name, value, 0, walltime=started)
    text = "\n".join(f"- {name}: `{value}`" for name, value in cell.tags.items())
    events.add_text("run", text, 0, walltime=started)
    for summary in hparams(dict(cell.parameters), dict(cell.headline)):
        events.file_writer.add_summary(summary, walltime=started)
