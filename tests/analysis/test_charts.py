"""Charts: what their SVG shows, and that texts in it are texts."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.sample_report import HOSTILE
from xstilts.analysis.page import charts, language_charts, palette, render
from xstilts.analysis.page.language_facts import by_family, by_size, covariate_rows
from xstilts.analysis.page.view import wide_style
from xstilts.analysis.step_records import thinned


def row(**more: Any) -> dict[str, Any]:
    default = {
        "label": "llava", "language": "non_en", "effect": 1.0, "ci_low": 0.5, "ci_high": 1.5, "clear": True, "p": "0.010",
        "mde": "1.0", "backbone": "llava", "evaluation": "xnli",
    }  # fmt: skip
    return default | more


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_forest_has_each_label_once_a_panel_per_estimand_and_the_numbers() -> None:
    rows = [row(), row(label="xlm-r"), row(language="gap", clear=False)]
    dots = [{"label": "llava", "language": "non_en", "effect": 0.9, "seed": "seed 0"}]
    shown = texts(render.inline_svg(charts.forest(rows, dots, 0.9), "f"))
    assert [text for text in shown if text in ("llava", "xlm-r")] == ["llava", "xlm-r"]
    assert {"Non-English", "Gap (English − non-English)"} <= set(shown)
    assert shown.count("+1.0 [+0.5, +1.5]") == 3
    assert any("90% intervals" in text for text in shown)


def test_characters_that_xml_cannot_contain_are_replaced() -> None:
    """At one of them, vl-convert ends the process."""
    rows = [row(label="a\x1b[31m\ufffe\x00b")]
    assert "a\ufffd[31m\ufffd\ufffdb" in texts(
        render.inline_svg(charts.forest(rows, [], 0.95), "f")
    )


@pytest.mark.parametrize(("significant", "marks"), [(True, 1), (False, 0)])
def test_the_mark_of_an_effect_is_filled_if_it_is_significant(
    significant: bool, marks: int
) -> None:
    svg = render.inline_svg(charts.forest([row(clear=significant)], [], 0.95), "f")
    filled = rf'fill="{palette.SERIES[0]}" stroke="{palette.SERIES[0]}"'
    assert len(re.findall(filled, svg)) == marks


def test_hostile_texts_stay_texts() -> None:
    svg = render.inline_svg(charts.forest([row(label=HOSTILE)], [], 0.95), "f")
    assert HOSTILE.split()[0] in " ".join(texts(svg))
    assert "<img" not in svg


def test_ids_of_two_charts_of_a_page_differ() -> None:
    chart = charts.forest([row()], [], 0.95)
    first, second = (re.findall(r'id="([^"]+)"', render.inline_svg(chart, name)) for name in "ab")
    assert not set(first) & set(second)


def test_the_same_rows_give_the_same_bytes() -> None:
    chart = language_charts.languages([row(language="de")], by_family(["de"]), "family")
    assert render.inline_svg(chart, "f") == render.inline_svg(chart, "f")


def test_a_chart_is_written_in_three_formats(tmp_path: Path) -> None:
    render.write_files(charts.forest([row()], [], 0.95), tmp_path, "forest")
    heads = {path.suffix: path.read_bytes()[:4] for path in tmp_path.iterdir()}
    assert heads == {".svg": b"<svg", ".pdf": b"%PDF", ".png": b"\x89PNG"}


def test_languages_are_ordered_by_family_or_by_size() -> None:
    codes = ["sw", "en", "yo", "de", "zh"]
    assert [fact["code"] for fact in by_family(codes)] == ["en", "de", "sw", "yo", "zh"]
    assert [(fact["code"], fact["size"]) for fact in by_size(codes)] == [
        ("en", "≥ 100 GiB"), ("de", "30 to 100 GiB"), ("zh", "30 to 100 GiB"), ("sw", "< 3 GiB"), ("yo", "unseen"),
    ]  # fmt: skip


def test_a_language_s_effect_is_its_mean_over_evaluations() -> None:
    import pandas as pd

    effects = pd.DataFrame([row(language="de"), row(language="de", evaluation="xquad", effect=2.0)])
    (fact,) = covariate_rows(effects, {("llava", "de"): 1.3})
    assert (fact["effect"], fact["tokens"], fact["script"], fact["cc100"]) == (
        1.5,
        1.3,
        "Latin",
        66.6,
    )


def test_a_thinned_curve_keeps_the_mean_and_the_last_update() -> None:
    assert thinned(range(6), [6, 4, 3, 1, 1, 0], 3) == [(1, 5.0), (3, 2.0), (5, 0.5)]


def relative_luminance(color: str) -> float:
    channels = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize("name", [name for name in palette.COLORS if name not in ("line", "paper")])
def test_every_color_of_text_has_enough_contrast(name: str, scheme: int) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1."""
    light, dark = sorted(
        relative_luminance(palette.COLORS[each][scheme]) for each in (name, "paper")
    )
    assert (dark + 0.05) / (light + 0.05) >= 4.5


def test_the_style_of_wide_tables_escapes_names_of_languages() -> None:
    tables = [
        {"wide": False, "languages": ["en"]},
        {"wide": True, "languages": ["avg", "</style>"]},
    ]
    assert wide_style(tables) == (
        '@media print{#scores-2 td:nth-child(3)::before{content:"average\\20 "}'
        '#scores-2 td:nth-child(4)::before{content:"\\3c \\2f style\\3e \\20 "}}'
    )
