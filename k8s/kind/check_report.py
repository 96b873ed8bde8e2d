"""Checks that a report is complete for its plan: python k8s/kind/check_report.py PLAN REPORT."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from xstilts.plan.load import load_plan

FILES = ("report.html", "report.md", "summary.json", "results.parquet", "effects.parquet")


def problems(plan_text: str, report: Path) -> Iterator[str]:
    """What is missing from a report, or wrong in it. English is the training language, so only
    the other languages are required.
    """
    absent = [
        name
        for name in FILES
        if not (report / name).is_file() or not (report / name).stat().st_size
    ]
    if absent:
        yield f"{report}: missing or empty: {', '.join(absent)}"
        return
    plan = load_plan(plan_text)
    summary = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    for part in ("missing", "not_applicable", "skipped_languages"):
        yield from (f"summary.json: {part}: {json.dumps(entry)}" for entry in summary[part])
    rows = pq.read_table(report / "results.parquet").to_pylist()
    there = {(row["backbone"], row["arm"], row["evaluation"], row["language"]) for row in rows}
    languages = [language for language in plan.languages or () if language != "en"]
    for backbone in plan.backbones:
        for arm in sorted({"none", *plan.arms}):
            for evaluation in plan.evaluations:
                for language in languages:
                    if (backbone, arm, evaluation, language) not in there:
                        yield (
                            f"results.parquet: missing score: {backbone}, {arm} on {evaluation} "
                            f"in {language}"
                        )
    for row in rows:
        value = row["value"]
        if value is None or not math.isfinite(value) or not 0 <= value <= 100:
            yield (
                f"results.parquet: invalid score {value}: {row['arm']} on {row['evaluation']} "
                f"in {row['language']}"
            )
    contrasts = {row["contrast"] for row in pq.read_table(report / "effects.parquet").to_pylist()}
    yield from (
        f"effects.parquet: missing effect of {name!r}"
        for name in plan.contrasts
        if name not in contrasts
    )
    if plan.headline and summary["headline"] != plan.headline:
        yield f"summary.json: headline {summary['headline']!r}, expected {plan.headline!r}"


if __name__ == "__main__":
    plan_file, folder = map(Path, sys.argv[1:3])
    failures = list(problems(plan_file.read_text(encoding="utf-8"), folder))
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    if failures:
        sys.exit(1)
    print(f"passed: {folder} has every score and effect of {plan_file.name}")
