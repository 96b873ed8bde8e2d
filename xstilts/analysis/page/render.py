"""Draws Vega-Lite charts without a browser: SVG for the page, files, and the embedded library."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert

from xstilts.analysis.page.palette import PAPER

#: Pixels of a PNG file per unit of a chart.
PNG_SCALE = 2.0

#: https://www.w3.org/TR/xml/#charsets
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_TAG = re.compile(r"<[^<>]+>")
_ROLE = re.compile(r' (?:role|class|pointer-events|aria-[a-z]+)="[^"]*"')
#: Vega's frames of groups, which are invisible here.
_FRAME = re.compile(r'<path class="(?:back|fore)ground"[^<>]*/>')
_ID = re.compile(r'\b(id="|url\(#|xlink:href="#)([\w-]+)')


def inline_svg(spec: Mapping[str, Any], name: str) -> str:
    """The chart as SVG for a page: ids start with `name`, numbers are short, and no element has a
    role, because the page describes the chart as a whole.
    """
    svg = _svg(spec)
    svg = _NUMBER.sub(lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), svg)
    svg = _TAG.sub(lambda match: _ROLE.sub("", match[0]), _FRAME.sub("", svg))
    return _ID.sub(lambda match: f"{match[1]}{name}-{match[2]}", svg)


def _svg(spec: Mapping[str, Any]) -> str:
    svg: str = vl_convert.vegalite_to_svg(_in_xml(spec))
    return svg


def _in_xml(value: Any) -> Any:
    """A specification whose texts have U+FFFD in place of characters that XML cannot contain:
    vl-convert ends the process at one of them.
    """
    if isinstance(value, str):
        return _NOT_XML.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {key: _in_xml(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_in_xml(inner) for inner in value]
    return value


def svg_width(svg: str) -> int:
    """The width of a chart in pixels."""
    width = re.search(r'\bwidth="([\d.]+)"', svg)
    return round(float(width[1])) if width else 640


def write_files(spec: Mapping[str, Any], folder: Path, name: str) -> None:
    """The chart as `name`.svg, .pdf and .png, on white."""
    folder.mkdir(parents=True, exist_ok=True)
    svg = _svg({**spec, "background": PAPER})
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    (folder / f"{name}.pdf").write_bytes(vl_convert.svg_to_pdf(svg))
    (folder / f"{name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=PNG_SCALE))


@cache
def library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, with their licence."""
    script = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub lacks the default
    return f"/*! {_LICENCE} */\n{script}"


_LICENCE = (
    "Vega, Vega-Lite, Vega-Embed: Copyright (c) 2015-2025 University of Washington Interactive "
    "Data Lab and contributors. BSD 3-Clause License. https://github.com/vega"
)
