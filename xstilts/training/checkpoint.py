"""An unfinished finetune step as files: weights, heads, optimizer and progress. There is no random
state to save: every random stream is a function of seed, stage and update.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xstilts.input_files import read_object
from xstilts.models.sharding import on_host, sharded_like
from xstilts.training.loop import Progress
from xstilts.training.selection import Best

#: Key of the evaluations in progress.json, as in checkpoints of the first version.
_EVALUATIONS = "looks"


def save_state(
    folder: Path,
    trainable: Mapping[str, Tensor],
    heads: nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    best: Best,
    first: bool = True,
) -> dict[str, Path]:
    """Writes trainable.safetensors, heads.safetensors, optimiser.safetensors and progress.json, and
    after an evaluation best.trainable.safetensors and best.heads.safetensors. The files are the
    same whether weights are sharded or not.

    Args:
        folder: Where the files are written.
        trainable: Weights that train, by name.
        heads: Task heads.
        optimiser: Optimizer.
        progress: Progress so far.
        best: Best weights so far.
        first: Whether this is the first worker, which alone writes. All workers call this together
            if weights are sharded.

    Returns:
        Name → path; nothing on other workers.
    """
    moments = {
        f"{index}.{key}": torch.as_tensor(value)
        for index, state in optimiser.state_dict()["state"].items()
        for key, value in state.items()
    }
    weights, moments = on_host(trainable, first), on_host(moments, first)
    if not first:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        name: folder / name
        for name in ("trainable.safetensors", "heads.safetensors", "optimiser.safetensors")
    }
    save_file(weights, files["trainable.safetensors"])
    save_file(on_host(heads.state_dict()), files["heads.safetensors"])
    save_file(moments, files["optimiser.safetensors"])
    for name, tensors in (
        ("best.trainable.safetensors", best.weights),
        ("best.heads.safetensors", best.heads),
    ):
        if tensors:
            files[name] = folder / name
            save_file({k: v.contiguous() for k, v in tensors.items()}, files[name])
    files["progress.json"] = folder / "progress.json"
    values = asdict(progress)
    values[_EVALUATIONS] = values.pop("evaluations")
    files["progress.json"].write_text(json.dumps(values))
    return files


def load_state(
    files: Mapping[str, Path], heads: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], Progress, Best]:
    """Inverse of save_state: fills heads and optimizer, and returns trainable weights, progress and
    best weights.
    """
    heads.load_state_dict(load_file(files["heads.safetensors"]))
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Any]] = {}
    for name, value in load_file(files["optimiser.safetensors"]).items():
        index, _, key = name.partition(".")
        own = sharded_like(value, parameters[int(index)]) if value.ndim else value
        moments.setdefault(int(index), {})[key] = own
    state = optimiser.state_dict()
    state["state"] = moments
    optimiser.load_state_dict(state)
    values = read_object(files["progress.json"])
    evaluations = values.pop(_EVALUATIONS)
    progress = Progress(**values, evaluations=evaluations)
    best = Best(
        *(
            load_file(files[name]) if name in files else {}
            for name in ("best.trainable.safetensors", "best.heads.safetensors")
        )
    )
    return load_file(files["trainable.safetensors"]), progress, best
