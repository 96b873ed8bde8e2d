"""Colors of the page and its charts, in light and dark.

Charts are drawn in the light colors. The page's style sheet replaces each by its variable, so one
SVG serves both.
"""

from collections.abc import Mapping

#: Name → (light, dark). Every color has a contrast of at least 4.5 on its paper, except lines.
COLORS: Mapping[str, tuple[str, str]] = {
    "ink": ("#1c2733", "#e8edf2"),
    "soft": ("#52606d", "#a9b5c1"),
    "line": ("#dbe1e7", "#3a4652"),
    "paper": ("#ffffff", "#151b22"),
    "s0": ("#0067a3", "#62b8f2"),
    "s1": ("#b93c0a", "#ff9d6c"),
    "s2": ("#00704f", "#52d3a8"),
    "s3": ("#86369a", "#d899e8"),
    "s4": ("#7d6200", "#e5c453"),
    "s5": ("#44546b", "#b0bccd"),
    "s6": ("#ab1b56", "#ff8ab8"),
    "s7": ("#006d74", "#58d0d6"),
}
LIGHT = {name: light for name, (light, _) in COLORS.items()}
INK, SOFT, LINE, PAPER = (LIGHT[name] for name in ("ink", "soft", "line", "paper"))
SERIES = [light for name, light in LIGHT.items() if name.startswith("s") and name != "soft"]


def style() -> str:
    """CSS: the variables of both schemes, and charts that follow them."""
    light, dark = (
        "".join(f"--{name}:{pair[scheme]};" for name, pair in COLORS.items()) for scheme in (0, 1)
    )
    charts = "".join(
        f'.chart svg [{attribute}="{color}"]{{{attribute}:var(--{name})}}'
        for name, color in LIGHT.items()
        for attribute in ("fill", "stroke")
    )
    return (
        f":root{{color-scheme:light dark;{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{charts}"
    )
