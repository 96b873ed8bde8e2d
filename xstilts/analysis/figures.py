"""Figures as inline SVG that loads no external resource."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from xstilts.analysis.result_texts import clear

_INK, _ACCENT, _GREY = "#1f2933", "#1f6f8b", "#9aa5b1"
_SERIES = (
    "#1f6f8b", "#c05746", "#6a994e", "#7b5ea7", "#d08c21",
    "#4a5568", "#b56576", "#2a9d8f", "#8d6e63", "#577590",
)  # fmt: skip


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


def forest(effects: pd.DataFrame, labels: Sequence[str], level: float) -> str:
    """Effects with their intervals, one line per row; filled if the adjusted p-value is at most
    1 − level.
    """
    figure, axes = _axes(0.36 * len(effects) + 0.9)
    for place, row in enumerate(effects.to_dict("records")):
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
    axes.set_yticks(range(len(effects)), labels)
    axes.invert_yaxis()
    axes.set_xlabel(f"effect, points ({100 * level:g} % interval)", color=_INK)
    return _svg(figure)


def by_language(effects: pd.DataFrame, level: float) -> str:
    """The headline contrast in each language: one mark per backbone and evaluation, languages on
    the vertical axis.
    """
    languages = list(dict.fromkeys(effects["language"]))
    series = list(dict.fromkeys(zip(effects["backbone"], effects["evaluation"], strict=True)))
    offsets = np.linspace(-0.25, 0.25, len(series)) if len(series) > 1 else [0.0]
    figure, axes = _axes(0.3 * len(languages) + 1.4)
    for index, ((backbone, evaluation), offset) in enumerate(zip(series, offsets, strict=True)):
        rows = effects[(effects["backbone"] == backbone) & (effects["evaluation"] == evaluation)]
        places = [languages.index(language) + offset for language in rows["language"]]
        color = _SERIES[index % len(_SERIES)]
        axes.hlines(places, rows["ci_low"], rows["ci_high"], color=color, linewidth=1, alpha=0.45)
        axes.plot(
            rows["effect"],
            places,
            "o",
            color=color,
            markersize=4.5,
            label=f"{backbone}, {evaluation}",
        )
    axes.set_yticks(range(len(languages)), languages)
    axes.invert_yaxis()
    axes.set_xlabel(f"effect, points ({100 * level:g} % interval)", color=_INK)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)
    return _svg(figure)
