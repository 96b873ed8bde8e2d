"""Measures alternatives in turn and records their figures.

A round runs every alternative once, so that other load on the machine affects all of them, and the
order is reversed in every second round. Ratios are taken within a round, or, where rounds are long,
between neighbors: see `paired`. A record is one JSON object; docs/benchmarks/*.json hold lists of
them, and `python -m benchmarks.page` makes the tables of docs/benchmarks.md from these files.
"""

import json
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: The name of this project's figures in a record.
OURS = "xstilts"
RESULTS = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Record:
    """The figures of one case.

    Attributes:
        case: What was measured; unique in a file.
        unit: Unit of the figures, such as `s` or `MB`.
        figures: Alternative → its figure in each round. `xstilts` is this project.
        notes: Alternative → what distinguishes it, such as its metric.
        absent: Alternative → why it was not measured.
        setting: Sizes of the case: rows, tokens, updates, threads.
        less_is_better: Whether a smaller figure is better (times); else a rate.
        target: The ratio to each alternative that the project wants to reach.
        command: The command that repeats the measurement.
        machine: See `machine`.
        beside: Alternative → the figure of xstilts next to each of its own, where xstilts ran once
            for each alternative: see `paired`.
    """

    case: str
    unit: str
    figures: Mapping[str, Sequence[float]]
    notes: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    setting: Mapping[str, Any] = field(default_factory=dict)
    less_is_better: bool = True
    target: Mapping[str, float] = field(default_factory=dict)
    command: str = field(default_factory=lambda: command())
    machine: Mapping[str, Any] = field(default_factory=lambda: machine())
    beside: Mapping[str, Sequence[float]] = field(default_factory=dict)


def interleaved(
    rounds: int, runs: Mapping[str, Callable[[], float]], warm_up: int = 0
) -> dict[str, list[float]]:
    """The figures of each alternative.

    Args:
        rounds: How often each alternative runs.
        runs: Alternative → a function that runs it once and returns its figure.
        warm_up: Rounds before these, which are not recorded.
    """
    figures: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(-warm_up, rounds):
        for name in names if number % 2 == 0 else reversed(names):
            value = runs[name]()
            if number >= 0:
                figures[name].append(value)
    return figures


@dataclass(frozen=True)
class Pairs:
    """Figures of alternatives that each ran next to xstilts: `figures` and `beside` of a Record."""

    figures: Mapping[str, Sequence[float]]
    beside: Mapping[str, Sequence[float]]


def paired(rounds: int, names: Sequence[str], run: Callable[[str, int], float]) -> Pairs:
    """Each alternative next to a run of xstilts. A machine that others share changes its speed from
    minute to minute; within a pair it changes least.

    Args:
        rounds: How often each alternative runs.
        names: The alternatives, without xstilts. If there are none, xstilts runs alone.
        run: (name, number of the round) → its figure.
    """
    figures: dict[str, list[float]] = {OURS: [], **{name: [] for name in names}}
    beside: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        if not names:
            figures[OURS].append(run(OURS, number))
        for name in names:
            pair = (OURS, name) if number % 2 == 0 else (name, OURS)
            values = {side: run(side, number) for side in pair}
            figures[OURS].append(values[OURS])
            figures[name].append(values[name])
            beside[name].append(values[OURS])
    return Pairs(figures, beside)


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles (inclusive method); all equal for one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def ratio(record: Record, name: str) -> Spread:
    """How much better this project is than an alternative, from the ratios of each round or pair:
    above 1, this project needs less time, or has the higher rate.
    """
    own = record.beside.get(name, record.figures[OURS])
    pairs = zip(own, record.figures[name], strict=True)
    if record.less_is_better:
        return spread([theirs / ours for ours, theirs in pairs])
    return spread([ours / theirs for ours, theirs in pairs])


def machine() -> dict[str, Any]:
    """CPU, cores, memory in GB, GPU if there is one, and versions."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {name: v for name in ("torch", "transformers") if (v := _version(name))}
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(pages / 2**30),
        "gpu": _gpu(),
        "python": platform.python_version(),
        **versions,
    }


def command() -> str:
    """The command of this process, as a user types it. Folders of this machine are left out."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    start = ["python", *(["-m", spec.name] if spec else [sys.argv[0]])]
    arguments = [Path(text).name if os.path.isabs(text) else text for text in sys.argv[1:]]
    return shlex.join([*start, *arguments])


def write(name: str, records: Sequence[Record], folder: Path = RESULTS) -> Path:
    """Writes records to `<folder>/<name>.json`. Those of other cases stay in the file."""
    path = folder / f"{name}.json"
    new = {record.case: asdict(record) for record in records}
    kept = {r["case"]: r for r in json.loads(path.read_text("utf-8"))} if path.is_file() else {}
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps([*{**kept, **new}.values()], indent=1, ensure_ascii=False)
    path.write_text(content + "\n", encoding="utf-8")
    return path


def read(name: str, folder: Path = RESULTS) -> list[Record]:
    """The records of `<folder>/<name>.json`; none without the file."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return []
    return [Record(**record) for record in json.loads(path.read_text(encoding="utf-8"))]


def table(records: Sequence[Record]) -> str:
    """A Markdown table: one row for each alternative of each case."""
    lines = [
        "| case | alternative | median (quartiles) | alternative / xstilts (quartiles) | notes |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    for record in records:
        for name, values in record.figures.items():
            compared = "" if name == OURS else _compared(record, name)
            note = record.notes.get(name, "")
            cells = [record.case, name, f"{_cell(spread(values))} {record.unit}", compared, note]
            lines.append(f"| {' | '.join(cells)} |")
        for name, reason in record.absent.items():
            lines.append(f"| {record.case} | {name} | – | – | {reason} |")
    return "\n".join(lines)


def _compared(record: Record, name: str) -> str:
    cell = _cell(ratio(record, name))
    target = record.target.get(name)
    if not target:
        return cell
    return f"{cell}; target {target:g}{', missed' * (ratio(record, name).median < target)}"


def _cell(values: Spread) -> str:
    if values.low == values.high:  # one round
        return _number(values.median)
    return f"{_number(values.median)} ({_number(values.low)}–{_number(values.high)})"


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
