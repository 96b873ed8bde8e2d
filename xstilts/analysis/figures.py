"""Figures as inline SVG: nothing is loaded from anywhere."""

import io
from collections.abc import Sequence
from typing import Any

import pandas as pd

from xstilts.analysis.answer import clear

_INK, _ACCENT, _GREY = "#1f2933", "#1f6f8b", "#9aa5b1"


def _svg(figure: Any) -> str:
    import matplotlib.pyplot as plt

    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _axes(height: float) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "svg.hashsalt": "xstilts",
            "font.size": 10,
        }
    )
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9.5, height))
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GREY)
    axes.axvline(0, color=_GREY, linewidth=1)
    axes.tick_params(colors=_INK, left=False)
    return figure, axes


def forest(rows: pd.DataFrame, label: Sequence[str], level: float) -> str:
    """Effects with their intervals, one line a row; filled where the adjusted p value is below 1
    − level.
    """
    figure, axes = _axes(0.36 * len(rows) + 0.9)
    for place, row in enumerate(rows.to_dict("records")):
        filled = clear(row["p_adjusted"], 1 - level)
        axes.plot(
            [row["ci_low"], row["ci_high"]],
            [place, place],
            color=_ACCENT,
            linewidth=2,
            solid_capstyle="round",
        )
        axes.plot(
            row["effect"],
            place,
            "o",
            color=_ACCENT,
            markerfacecolor=_ACCENT if filled else "white",
            markersize=7,
        )
    axes.set_yticks(range(len(rows)), label)
    axes.invert_yaxis()
    axes.set_xlabel(f"effect, points ({100 * level:g} % interval)", color=_INK)
    return _svg(figure)


def by_language(rows: pd.DataFrame, level: float) -> str:
    """The headline's effect in each language: one mark a backbone and evaluation, languages down
    the side.
    """
    languages = list(dict.fromkeys(rows["language"]))
    series = list(dict.fromkeys(zip(rows["backbone"], rows["evaluation"], strict=True)))
    figure, axes = _axes(0.3 * len(languages) + 1.4)
    colours = [
        "#1f6f8b",
        "#c05746",
        "#6a994e",
        "#7b5ea7",
        "#d08c21",
        "#4a5568",
        "#b56576",
        "#2a9d8f",
        "#8d6e63",
        "#577590",
    ]
    for index, (backbone, evaluation) in enumerate(series):
        chosen = rows[(rows["backbone"] == backbone) & (rows["evaluation"] == evaluation)]
        places = [
            languages.index(language) + (index / max(1, len(series) - 1) - 0.5) * 0.5
            for language in chosen["language"]
        ]
        colour = colours[index % len(colours)]
        axes.hlines(
            places, chosen["ci_low"], chosen["ci_high"], color=colour, linewidth=1, alpha=0.45
        )
        axes.plot(
            chosen["effect"],
            places,
            "o",
            color=colour,
            markersize=4.5,
            label=f"{backbone}, {evaluation}",
        )
    axes.set_yticks(range(len(languages)), languages)
    axes.invert_yaxis()
    axes.set_xlabel(f"effect, points ({100 * level:g} % interval)", color=_INK)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)
    return _svg(figure)
