"""Models with random weights from published configurations, and rows of text and pictures."""

import copy
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.input import photo
from xstilts.miniature.stand_ins import small_config
from xstilts.models.backbone import Backbone, wrap
from xstilts.models.batch import ImageInput, PackedBatch, Segment, pack
from xstilts.models.families import FAMILIES, contract
from xstilts.models.lora import add_lora, trainable_state
from xstilts.models.published import PUBLISHED
from xstilts.models.special_tokens import Layout

#: `cuda`, or `cpu` to try the programs with tiny models.
DEVICE = torch.device(os.environ.get("XSTILTS_GPU_CHECK_DEVICE", "cuda"))
RANK = 16
#: Rows of the vocabulary where a model has real widths and few layers.
_VOCABULARY = 4096
_EXPERTS = 16
#: Numbers of layers and lists of layers, which `few layers` takes from the stand-in.
_DEPTHS = ("num_hidden_layers", "depth", "fullatt_block_indexes", "deepstack_visual_indexes")
_IMAGE_IDS = ("image_token_index", "image_token_id", "video_token_index", "video_token_id",
              "vision_start_token_id", "vision_end_token_id")  # fmt: skip


def hub_of(family: str) -> str | None:
    """The first published model of a family; None if none is known."""
    kinds = contract(family).model_types
    return next((hub for hub, of in PUBLISHED.items() if of.config["model_type"] in kinds), None)


def families() -> dict[str, str]:
    """Family → hub id, of those with a published configuration."""
    return {family: hub for family in FAMILIES if (hub := hub_of(family))}


def config_of(hub: str, size: str) -> dict[str, Any]:
    """config.json of a model.

    size: `tiny`; `few layers`: published widths and heads, with the depth of the tiny model; or
    `whole`. All but `whole` have a small vocabulary.
    """
    small = small_config(PUBLISHED[hub])
    config: dict[str, Any] = copy.deepcopy(dict(PUBLISHED[hub].config))
    if size == "whole":
        return config
    if size == "tiny":
        config = small
    for part in ("text_config", "vision_config"):
        ours, theirs = config.get(part, {}), small.get(part, {})
        ours.update({key: theirs[key] for key in _DEPTHS if key in theirs})
    config.update({key: small[key] for key in _DEPTHS if key in small})
    text = config.get("text_config", config)
    text["vocab_size"] = _VOCABULARY
    if "num_experts" in text:
        text["num_experts"] = min(_EXPERTS, text["num_experts"])
    present = [key for key in _IMAGE_IDS if key in config]
    return config | {key: _VOCABULARY - 1 - place for place, key in enumerate(present)}


def build(
    config: dict[str, Any], family: str, device: torch.device, dtype: torch.dtype, seed: int = 0
) -> Backbone:
    """A backbone with random weights, drawn on the device, and random LoRA adapters."""
    import transformers as tf

    kind = getattr(tf, contract(family).model_class)
    layout = Layout((), (), ()) if contract(family).token_types else None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        with device:
            made = tf.AutoConfig.for_model(**copy.deepcopy(config))
            model = _drawn(kind, made, dtype).eval()
        backbone = wrap(model, family, layout=layout)
        add_lora(backbone, RANK, 2 * RANK)
        for tensor in trainable_state(backbone).values():
            tensor.normal_(std=0.02)
    return backbone


def _drawn(kind: Any, config: Any, dtype: torch.dtype) -> Any:
    """A model of a class of transformers, or of one of its automatic classes."""
    make = getattr(kind, "_from_config", None) or kind.from_config
    return make(config, dtype=dtype)


def picture(hub: str, seed: int = 0) -> ImageInput | None:
    """A photo of 640 × 480 pixels as the model's vision tower takes it; None without one."""
    of = PUBLISHED[hub]
    vision = contract(family_of(hub)).vision
    if vision is None:
        return None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(of.config))
        (folder / "preprocessor_config.json").write_text(json.dumps(of.images))
        return vision.pictures(folder).inputs(photo(seed, 640, 480), [])


def family_of(hub: str) -> str:
    kind = PUBLISHED[hub].config["model_type"]
    return next(name for name, of in FAMILIES.items() if kind in of.model_types)


def segments(
    backbone: Backbone, lengths: Sequence[int], shown: ImageInput | None = None, seed: int = 0
) -> list[Segment]:
    """Segments of random text of these lengths, each after a picture if there is one."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = int(backbone.config.get_text_config().vocab_size)
    made = []
    for length in lengths:
        text = torch.randint(10, vocabulary - 100, (length,), generator=generator)
        # Ids in the middle of a large vocabulary may be special tokens of pictures.
        ids = (text % (min(vocabulary, 32000) - 100) + 10).tolist()
        pixels = [shown] if shown else []
        image = [int(backbone.config.image_token_id)] * shown.tokens if shown else []
        made.append(Segment([*image, *ids], pixels))
    return made


@dataclass(frozen=True)
class Task:
    """A micro-batch whose last `answer` tokens of each segment have a loss.

    places: of these tokens. labels: their next tokens.
    """

    batch: PackedBatch
    places: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Task":
        moved = (t.to(device, non_blocking=True) for t in (self.places, self.labels))
        return Task(self.batch.to(device), *moved)


def task(backbone: Backbone, rows: Sequence[Segment], answer: int = 16) -> Task:
    batch = pack(rows, backbone)
    ends = batch.cu_seq_lens[1:].tolist()
    places = torch.tensor([place for end in ends for place in range(end - answer - 1, end - 1)])
    return Task(batch, places, batch.input_ids[places + 1])


def loss_sum(backbone: Backbone, made: Task) -> Tensor:
    """Summed cross-entropy of the answers, as xstilts.models.heads.lm_loss computes it."""
    states = backbone(made.batch)
    logits = backbone.lm_logits(states[made.places]).float()
    return F.cross_entropy(logits, made.labels, reduction="sum")


def gradients(backbone: Backbone, made: Task) -> tuple[float, dict[str, Tensor]]:
    """(loss per token, gradient of each adapter on the host in float32)."""
    for parameter in backbone.parameters():
        parameter.grad = None
    loss = loss_sum(backbone, made) / len(made.places)
    loss.backward()
    trained = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    return float(loss), {
        name: p.grad.float().cpu() for name, p in trained.items() if p.grad is not None
    }


def synchronize() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
