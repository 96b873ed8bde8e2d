"""The files that the pages are made from: Jinja templates, style, script."""

from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING

from xstilts.analysis.result_texts import p_text, points

if TYPE_CHECKING:
    from jinja2 import Template


def text(name: str) -> str:
    """A file of this package."""
    return files("xstilts.analysis.page").joinpath(name).read_text(encoding="utf-8")


def template(name: str, **filters: Callable[..., str]) -> "Template":
    """A template of xstilts.analysis, which escapes what it shows and fails for an unknown name.

    Args:
        name: path of the template.
        filters: besides `points` and `p`.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("xstilts.analysis", "."),
        autoescape=select_autoescape(["j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"points": points, "p": p_text, **filters}
    return environment.get_template(name)
