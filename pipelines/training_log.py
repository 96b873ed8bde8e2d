"""Learning curves and time of a run, from the histories and manifests of its finished steps."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from xstilts.errors import PlanError
from xstilts.plan.cost import gpus_of_a_group
from xstilts.plan.expansion import Expansion
from xstilts.plan.show import STEP_KINDS
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store, in_threads

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
    document = store.get_json(f"runs/{run}/expanded.json")
    if document is None:
        raise PlanError(f"{run}: its plan step has not finished, so nothing was trained")
    return Expansion.from_json(document)


def curves(store: Store, expansion: Expansion, text: str = "") -> Iterator[Curve]:
    """The finished trainings whose label contains a text."""
    import pyarrow.parquet as pq

    steps = [step for step in expansion.steps.values() if step.kind == "finetune"]
    chosen = [step for step in steps if text in str(step.settings.get("label", ""))]
    done = store.done("finetune")
    for step in sorted(chosen, key=lambda step: str(step.settings.get("label", ""))):
        if step.fingerprint not in done:
            continue
        manifest = store.manifest("finetune", step.fingerprint)
        assert manifest is not None
        history = pq.read_table(store.file(manifest, "history.parquet")).to_pydict()
        selection = manifest.info.get("selection", {})
        yield Curve(
            step.fingerprint,
            str(step.settings.get("label", step.fingerprint[:12])),
            str(step.spec.get("stage", "")),
            float(manifest.info["seconds"]),
            [float(loss) for loss in history["loss"]],
            [_look(look) for look in selection.get("looks", ())],
            selection.get("update"),
        )


def _look(look: Any) -> tuple[int, float]:
    """(update, score) of an evaluation on English dev."""
    score = next(value for key, value in look.items() if key != "update")
    return int(look["update"]), float(score)


def phases(store: Store, expansion: Expansion) -> list[Phase]:
    """Time of the run's finished steps, by kind. Steps that an earlier run computed count too."""
    gpus = _gpus(expansion)
    timed, by_kind = [], expansion.by_kind()
    for kind in (kind for kind in STEP_KINDS if kind in by_kind):
        fingerprints = by_kind[kind]
        finished = sorted(store.done(kind) & set(fingerprints))
        manifests = in_threads(partial(store.manifest, kind), finished)
        seconds = sum(_seconds(manifest) for manifest in manifests if manifest is not None)
        hours = seconds / 3600 * gpus if kind in ("finetune", "score") else 0.0
        timed.append(Phase(kind, len(finished), len(fingerprints), seconds, hours))
    return timed


def _seconds(manifest: Manifest) -> float:
    return float(manifest.info.get("seconds", 0.0))


def _gpus(expansion: Expansion) -> float:
    resources = expansion.plan.get("resources", {})
    return gpus_of_a_group(expansion) if resources.get("gpus_per_worker") else 0.0


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
