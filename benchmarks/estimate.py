"""The cost estimate against the measured time of finished local runs:

python -m benchmarks.estimate HOME RUN RUN [RUN…]

Finetune and score steps of each run that are finished are estimated from the times of each other
run, as `xstilts plan PLAN --home HOME --measured RUN` does. A single run is estimated from every
fourth of its own steps; these do not count. Writes docs/costs.json, from which
`python -m pipelines.cost_reference` makes a table of docs/costs.md.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from pipelines.local_runner import store_at
from xstilts.plan.calibration import calibration
from xstilts.plan.cost import step_costs
from xstilts.plan.expansion import Expansion
from xstilts.plan.status import done
from xstilts.store.store import Store

OUT = Path(__file__).resolve().parent.parent / "docs" / "costs.json"
#: A single run is estimated from one in so many of its steps.
PART = 4

Times = Mapping[str, float]


def compared(
    expansion: Expansion, measured: Times, other: tuple[Expansion, Times] | None
) -> dict[str, Any]:
    """Estimated and measured seconds of finetune and score steps.

    Args:
        expansion: Of the run.
        measured: Fingerprint → seconds of its steps.
        other: Another run; None: a part of the steps is the calibration.
    """
    costs = step_costs(expansion)
    part: Times = {fp: measured[fp] for fp in sorted(measured)[::PART]}
    if other is None:
        rules = calibration(expansion, costs, part)
        rest = [fp for fp in measured if fp not in part]
    else:
        rules = calibration(other[0], step_costs(other[0]), other[1])
        rest = list(measured)
    scaled = rules.scaled(expansion, costs)
    estimate = sum(scaled[fp].hours for fp in rest) * 3600
    total = sum(measured[fp] for fp in rest)
    return {
        "plan": expansion.name,
        "steps": len(rest),
        "of": sum(len(fps) for k, fps in expansion.by_kind().items() if k in ("finetune", "score")),
        "calibrated_by": other[0].name if other else f"one in {PART} of its steps",
        "calibration_steps": len(other[1]) if other else len(part),
        "estimate": round(estimate, 1),
        "measured": round(total, 1),
        "ratio": round(estimate / total, 3),
    }


def _seconds(expansion: Expansion, store: Store) -> Times:
    """Of all finished finetune and score steps."""
    finished = done(expansion, store)
    seconds = {}
    for kind in ("finetune", "score"):
        for fingerprint in finished.get(kind, ()):
            manifest = store.manifest(kind, fingerprint)
            if manifest is not None and "seconds" in manifest.info:
                seconds[fingerprint] = float(manifest.info["seconds"])
    return seconds


def main(home: Path, runs: Sequence[str]) -> list[dict[str, Any]]:
    """The comparison of each run with its estimate from each other."""
    with store_at(None, home.resolve()) as uri:
        store = Store.open(uri, cache=Path(os.environ["XSTILTS_CACHE"]))
        pairs = []
        for run in runs:
            document = store.get_json(f"runs/{run}/expanded.json")
            if document is None:
                raise SystemExit(f"{home} has no run {run}")
            expansion = Expansion.from_json(document)
            pairs.append((expansion, _seconds(expansion, store)))
    if len(pairs) == 1:
        return [compared(*pairs[0], None)]
    return [compared(*pair, other) for pair, other in permutations(pairs, 2)]


if __name__ == "__main__":
    rows = main(Path(sys.argv[1]), sys.argv[2:])
    OUT.write_text(json.dumps({"machine": machine(), "runs": rows}, indent=1) + "\n")
    for row in rows:
        print(row)
