"""Values of a plan that are allowed and unusual enough to warn of."""

from collections.abc import Iterator, Mapping

from xstilts.plan.backbone_plan import Override
from xstilts.plan.schema import Plan

#: Learning rates above this diverge with every recipe of the project; its highest is 3e-3.
MOST_RATE = 0.1


def cautions(plan: Plan) -> list[str]:
    """One line for each unusual value, with its key path."""
    lines = list(_rates("override", plan.override))
    for name, backbone in plan.backbones.items():
        lines += _rates(f"backbones.{name}.override", backbone.override or {})
    return lines


def _rates(path: str, overrides: Mapping[str, Override]) -> Iterator[str]:
    for task, override in overrides.items():
        if override.lr is not None and override.lr > MOST_RATE:
            yield (
                f"{path}.{task}.lr: {override.lr:g} is far above usual learning rates (1e-6 to "
                "1e-2), so training will probably diverge"
            )
