"""Published scores beside a run's own, for plans that follow a paper.

Only numbers that were read in the source named beside them. The tables of Phang et al. 2020 were
not available in full; the mT5 authors repeat the rows of XLM-R large and of X-STILTs.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from xstilts.analysis.estimands import AVERAGE
from xstilts.analysis.inputs import ReportInput

#: The arm whose score is compared: `none`, or the best intermediate task of each evaluation.
NONE, BEST = "none", "best arm"


class PublishedRow(NamedTuple):
    """A row of a published table. scores: evaluation → (metric, score)."""

    model: str
    arm: str
    source: str
    scores: Mapping[str, tuple[str, float]]


_MT5 = (
    "google-research/multilingual-t5, README.md, table under “Results”, commit "
    "1cf881700d57c258a403ea6ab31809b2889b8d5b"
)
_METRICS = {
    "xnli": "accuracy",
    "pawsx": "accuracy",
    "wikiann": "ner_f1",
    "xquad": "squad_f1",
    "mlqa": "mlqa_f1",
    "tydiqa": "squad_f1",
}


def _row(model: str, arm: str, *scores: float) -> PublishedRow:
    pairs = zip(_METRICS.items(), scores, strict=True)
    return PublishedRow(
        model, arm, _MT5, {name: (metric, score) for (name, metric), score in pairs}
    )


#: (recipe set of the plan, hub name of the backbone) → published rows, zero-shot test scores
#: averaged over languages.
ROWS: Mapping[tuple[str, str], tuple[PublishedRow, ...]] = {
    ("phang_2020", "FacebookAI/xlm-roberta-large"): (
        _row("XLM-R large", NONE, 79.2, 86.4, 65.4, 76.6, 71.6, 65.1),
        _row("X-STILTs", BEST, 80.4, 87.7, 64.7, 77.2, 72.3, 76.0),
    )
}


def beside_published(report: ReportInput, results: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry per published score that the run has too: both, and the difference. Scores of the
    run are means over seeds.
    """
    plan = report.expanded.get("plan", {})
    selected = results[(results["checkpoint"] == "selected") & (results["language"] == AVERAGE)]
    keys = ["backbone", "arm", "evaluation", "metric"]
    means = selected.groupby(keys, sort=False)["value"].mean().reset_index().to_dict("records")
    return [
        entry
        for name, backbone in plan.get("backbones", {}).items()
        for row in ROWS.get((plan.get("recipes", ""), backbone.get("hub", "")), ())
        for entry in _entries(name, row, means)
    ]


def _entries(
    backbone: str, row: PublishedRow, means: Sequence[Mapping[Any, Any]]
) -> Iterator[dict[str, Any]]:
    for evaluation, (metric, score) in row.scores.items():
        key = (backbone, evaluation, metric)
        ours = {
            str(mean["arm"]): float(mean["value"])
            for mean in means
            if (mean["backbone"], mean["evaluation"], mean["metric"]) == key
        }
        arm = max(ours, key=lambda each: ours[each], default=NONE) if row.arm == BEST else NONE
        if arm in ours:
            yield {
                "backbone": backbone,
                "model": row.model,
                "arm": arm,
                "evaluation": evaluation,
                "metric": metric,
                "published": score,
                "score": ours[arm],
                "difference": ours[arm] - score,
                "source": row.source,
            }
