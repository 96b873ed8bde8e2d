"""The report as a self-contained HTML page, `report.html`."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from xstilts.analysis import figures
from xstilts.analysis.estimands import AVERAGE, GAP, NON_ENGLISH
from xstilts.analysis.heat_map import heat_map
from xstilts.analysis.inputs import ReportInput
from xstilts.analysis.multiplicity import PRIMARY
from xstilts.analysis.report_markdown import hub_form_note
from xstilts.analysis.result_texts import p_text
from xstilts.analysis.summary import official_rows
from xstilts.official.forms import HUB_FORM

#: Estimands over several languages.
AGGREGATES = (AVERAGE, GAP, NON_ENGLISH)


def page(
    report: ReportInput, results: pd.DataFrame, effects: pd.DataFrame, summary: Mapping[str, Any]
) -> str:
    """The page with inline styles and figures."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("xstilts.analysis", "."),
        autoescape=select_autoescape(["j2"]),
        undefined=StrictUndefined,
    )
    level = summary["confidence"]
    averaged = official_rows(report, effects)
    of_headline = effects[effects["contrast"] == summary["headline"]]
    official = of_headline["evaluation"].map(report.official_metrics)
    single_languages = of_headline[
        ~of_headline["language"].isin(AGGREGATES) & (of_headline["metric"] == official)
    ]
    shown = pd.concat(
        [
            of_headline[of_headline["family"] == PRIMARY],
            averaged[averaged["contrast"] == summary["headline"]],
        ]
    )
    labels = [
        f"{row.backbone}, {row.evaluation}{', non-English' if row.language == NON_ENGLISH else ''}"
        for row in shown.itertuples()
    ]
    hub_languages = [row["language"] for row in summary["forms"] if row["form"] == HUB_FORM]
    return environment.get_template("report.html.j2").render(
        summary=summary,
        p_text=p_text,
        heat=heat_map(report, averaged),
        scores=score_tables(report, results),
        level=f"{100 * level:g} %",
        forest=figures.forest(shown, labels, level) if len(shown) else "",
        languages=figures.by_language(single_languages, level) if len(single_languages) else "",
        hub_form=hub_form_note(hub_languages) if hub_languages else "",
    )


def score_tables(report: ReportInput, results: pd.DataFrame) -> list[dict[str, Any]]:
    """One table per evaluation: the mean score over seeds in the official metric, by backbone, arm
    and language.
    """
    official = results["evaluation"].map(report.official_metrics)
    rows = results[(results["checkpoint"] == "selected") & (results["metric"] == official)]
    tables = []
    for evaluation, part in rows.groupby("evaluation", sort=False):
        single = part[~part["language"].isin(AGGREGATES)]
        columns = [AVERAGE, NON_ENGLISH, *dict.fromkeys(single["language"])]
        means = part.groupby(["backbone", "arm", "language"], sort=False)["value"].mean()
        tables.append(
            {
                "evaluation": evaluation,
                "metric": report.official_metrics[str(evaluation)],
                "languages": columns,
                "lines": [
                    {
                        "backbone": backbone,
                        "arm": arm,
                        "values": [means.get((backbone, arm, column)) for column in columns],
                    }
                    for backbone, arm in dict.fromkeys(
                        zip(part["backbone"], part["arm"], strict=True)
                    )
                ],
                "splits": sorted(set(single["split"])),
            }
        )
    return tables
