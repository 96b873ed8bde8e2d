"""Learning curves and time of a run, from the histories and manifests of its finished steps."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from xstilts.errors import PlanError, counted
from xstilts.plan.expansion import Expansion
from xstilts.runs.folder import expanded_of
from xstilts.step import STEP_KINDS, Step
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store

BARS = "▁▂▃▄▅▆▇█"
#: Width of a sparkline.
WIDTH = 32


@dataclass(frozen=True)
class Curve:
    """One finished training. losses: of every update. dev: (update, score) on English dev."""

    fingerprint: str
    label: str
    stage: str
    seconds: float
    losses: Sequence[float]
    dev: Sequence[tuple[int, float]]
    selected: int | None

    def json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Phase:
    """Time of the finished steps of a kind. gpu_hours: 0 for kinds without GPU."""

    kind: str
    done: int
    of: int
    seconds: float
    gpu_hours: float

    def json(self) -> dict[str, Any]:
        return asdict(self)


def expansion_of(store: Store, run: str) -> Expansion:
    return Expansion.from_json(expanded_of(store, run))


def require_training(expansion: Expansion, text: str) -> None:
    """Raises PlanError if the label of no training contains a text."""
    steps = [step for step in expansion.steps.values() if step.kind == "finetune"]
    labels = [str(step.settings.get("label", "")) for step in steps]
    if text and not any(text in label for label in labels):
        shown = (
            f"; one of its {counted(len(labels), 'training')} is {min(labels)!r}" if labels else ""
        )
        raise PlanError(f"--only {text!r}: no training of the run has this in its label{shown}")


def curves(store: Store, expansion: Expansion, text: str = "") -> Iterator[Curve]:
    """The finished trainings whose label contains a text."""
    import pyarrow.parquet as pq

    from xstilts.runs.recorded_steps import dev_scores

    steps = [step for step in expansion.steps.values() if step.kind == "finetune"]
    chosen = [step for step in steps if text in str(step.settings.get("label", ""))]
    for step, manifest in _finished(store, chosen):
        history = pq.read_table(store.file(manifest, "history.parquet")).to_pydict()
        selection = manifest.info.get("selection", {})
        yield Curve(
            step.fingerprint,
            str(step.settings.get("label", step.fingerprint[:12])),
            str(step.spec.get("stage", "")),
            float(manifest.fact("seconds")),
            [float(loss) for loss in history["loss"]],
            dev_scores(manifest),
            selection.get("update"),
        )


def _finished(store: Store, steps: Iterable[Step]) -> Iterator[tuple[Step, Manifest]]:
    """The finished steps in the order of their labels, with their manifests."""
    ordered = sorted(steps, key=lambda step: str(step.settings.get("label", "")))
    manifests = store.manifests([(step.kind, step.fingerprint) for step in ordered])
    for step, manifest in zip(ordered, manifests, strict=True):
        if manifest is not None:
            yield step, manifest


def phases(store: Store, expansion: Expansion) -> list[Phase]:
    """Time of the run's finished steps, by kind. Steps that an earlier run computed count too."""
    from xstilts.runs.recorded_steps import devices

    timed, by_kind = [], expansion.by_kind()
    for kind in (kind for kind in STEP_KINDS if kind in by_kind):
        steps = [expansion.steps[fingerprint] for fingerprint in by_kind[kind]]
        finished = [
            (float(manifest.info.get("seconds", 0.0)), devices(kind, step.settings))
            for step, manifest in _finished(store, steps)
        ]
        seconds = sum(each for each, _ in finished)
        hours = sum(each * gpus / 3600 for each, gpus in finished)
        timed.append(Phase(kind, len(finished), len(steps), seconds, hours))
    return timed


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """The course of values as a line of bars, each the mean of its part; lowest to highest."""
    if not values:
        return ""
    count = min(width, len(values))
    cuts = [round(i * len(values) / count) for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(BARS[min(int((mean - low) / span * len(BARS)), len(BARS) - 1)] for mean in means)
