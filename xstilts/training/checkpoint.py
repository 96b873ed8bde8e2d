"""A finetune step in flight, as files: weights, heads, optimiser and progress. No random state
is kept, since every random stream is a function of seed, stage and update.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xstilts.training.loop import Progress
from xstilts.training.selection import Best


def save_state(
    folder: Path,
    trainable: Mapping[str, Tensor],
    heads: nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    best: Best,
) -> dict[str, Path]:
    """Writes trainable.safetensors, heads.safetensors, optimiser.safetensors and progress.json,
    and where English dev has been looked at best.trainable.safetensors and
    best.heads.safetensors; name → path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        name: folder / name
        for name in ("trainable.safetensors", "heads.safetensors", "optimiser.safetensors")
    }
    save_file(
        {k: v.detach().contiguous().cpu() for k, v in trainable.items()},
        files["trainable.safetensors"],
    )
    save_file(
        {k: v.detach().contiguous().cpu() for k, v in heads.state_dict().items()},
        files["heads.safetensors"],
    )
    moments: dict[str, Tensor] = {}
    for index, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            moments[f"{index}.{key}"] = torch.as_tensor(value).detach().contiguous().cpu()
    save_file(moments, files["optimiser.safetensors"])
    for name, tensors in (
        ("best.trainable.safetensors", best.weights),
        ("best.heads.safetensors", best.heads),
    ):
        if tensors:
            files[name] = folder / name
            save_file({k: v.contiguous() for k, v in tensors.items()}, files[name])
    files["progress.json"] = folder / "progress.json"
    files["progress.json"].write_text(json.dumps(asdict(progress)))
    return files


def load_state(
    files: Mapping[str, Path], heads: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], Progress, Best]:
    """Inverse of save_state: fills heads and optimiser; returns the trainable tensors, the
    progress and the best.
    """
    heads.load_state_dict(load_file(files["heads.safetensors"]))
    moments: dict[int, dict[str, Any]] = {}
    for name, value in load_file(files["optimiser.safetensors"]).items():
        index, _, key = name.partition(".")
        moments.setdefault(int(index), {})[key] = value
    state = optimiser.state_dict()
    state["state"] = moments
    optimiser.load_state_dict(state)
    progress = Progress(**json.loads(files["progress.json"].read_text()))
    best = Best(
        *(
            load_file(files[name]) if name in files else {}
            for name in ("best.trainable.safetensors", "best.heads.safetensors")
        )
    )
    return load_file(files["trainable.safetensors"]), progress, best
