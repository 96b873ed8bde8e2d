"""Each family on the GPU against the CPU: loss, and gradients of the adapters."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu import models
from benchmarks.gpu.models import DEVICE, build, config_of, families, gradients, picture, segments

#: Largest distance of gradients from those of the CPU in float32, relative to their norm.
FLOAT32 = 1e-3
#: In bfloat16 the GPU may be this much farther from float32 than the CPU in bfloat16 is.
BFLOAT16 = 2.0
LENGTHS = (7, 64, 129)


def distance(gradients: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> float:
    """Norm of the difference of all gradients, relative to the norm of the reference."""
    if gradients.keys() != reference.keys():
        raise AssertionError("other adapters have gradients")
    squared = sum(float((gradients[n] - reference[n]).double().square().sum()) for n in reference)
    return float(
        (squared / sum(float(g.double().square().sum()) for g in reference.values())) ** 0.5
    )


def compared(family: str, hub: str, size: str) -> dict[str, Any]:
    """Distances of one family's model from the CPU in float32."""
    config, shown = config_of(hub, size), picture(hub)
    made: dict[str, tuple[float, dict[str, Tensor]]] = {}
    reference = build(config, family, torch.device("cpu"), torch.float32).train()
    rows = segments(reference, LENGTHS)
    if shown:
        rows += segments(reference, (40,), shown, seed=1)
    work = models.task(reference, rows, answer=5)
    state = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    made["reference"] = gradients(reference, work)
    for name, device, dtype in (
        ("float32", DEVICE, torch.float32),
        ("bfloat16", DEVICE, torch.bfloat16),
        ("bfloat16 on the CPU", torch.device("cpu"), torch.bfloat16),
    ):
        backbone = build(config, family, device, dtype).train()
        backbone.load_state_dict(state)
        made[name] = gradients(backbone, work.to(device))
        del backbone
    loss, expected = made.pop("reference")
    result: dict[str, Any] = {"family": family, "model": hub, "size": size, "loss": loss}
    for name, (value, grads) in made.items():
        result[name] = {"loss": abs(value - loss) / loss, "gradients": distance(grads, expected)}
    low, host = result["bfloat16"]["gradients"], result["bfloat16 on the CPU"]["gradients"]
    result["passed"] = result["float32"]["gradients"] < FLOAT32 and low < BFLOAT16 * host + 1e-3
    return result


def run() -> dict[str, Any]:
    """All families, tiny and with real widths."""
    sizes = ("tiny", "few layers") if DEVICE.type == "cuda" else ("tiny",)
    rows = [compared(name, hub, size) for size in sizes for name, hub in families().items()]
    return {"models": rows, "passed": all(row["passed"] for row in rows)}
