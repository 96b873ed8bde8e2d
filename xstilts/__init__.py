"""xstilts: what do multimodal intermediate tasks do to zero-shot cross-lingual transfer?

import xstilts

plan = xstilts.load_plan("plan.yaml")
report = xstilts.run("plan.yaml")
xstilts.effects(report)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xstilts.api import Expansion, Plan, effects, expand, load_plan, results, run

__version__ = "0.1.0"
__all__ = [
    "Expansion",
    "Plan",
    "__version__",
    "effects",
    "expand",
    "load_plan",
    "results",
    "run",
]


def __getattr__(name: str) -> Any:
    """Loads the API on first use, so that `import xstilts` costs a component nothing."""
    if name in __all__:
        from xstilts import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
