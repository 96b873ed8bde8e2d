"""A pretrained backbone as the rest of xstilts sees it: a flat batch in, the states of its tokens
out.

What differs between families is one `Contract` each (xlm_r.py, llava.py, qwen_vl.py); everything
else is here.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xstilts.models import attention as packed
from xstilts.models.batch import PackedBatch, Segment
from xstilts.models.contract import Contract
from xstilts.models.dropout import DropoutControl, install
from xstilts.models.families import contract


class Backbone(nn.Module):
    """A backbone with its contract.

    `dropout` holds the rates (0 at first) and is told the update: `backbone.dropout.at(seed,
    update, stage)`. Tower and projector never train here; all else does, until `add_lora` leaves
    only the adapters.
    """

    def __init__(self, model: nn.Module, of: Contract, attention: str = "causal") -> None:
        super().__init__()
        self.model, self.contract, self.dropout = model, of, DropoutControl()
        install(of.text(model), self.dropout, "hidden")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(of.vision) if of.vision else True)
        if attention == "bidirectional":
            _look_both_ways(of.text(model))
        elif attention != "causal":
            raise ValueError(f"attention {attention!r} is neither causal nor bidirectional")
        config: Any = model.config
        text = config.get_text_config()
        self.config = config
        self.width, self.layers = int(text.hidden_size), int(text.num_hidden_layers)

    @property
    def family(self) -> str:
        return self.contract.family

    @property
    def pool(self) -> str:
        """`first` or `last`: the token that stands for a segment."""
        return self.contract.pool

    @property
    def subtoken(self) -> str:
        """`first` or `last`: the sub-token of a word that carries its tag."""
        return self.contract.subtoken

    def positions(self, segment: Segment) -> Tensor:
        """Positions of one segment alone: [n], or [4, n] for Qwen-VL. ValueError where it cannot
        be placed.
        """
        return self.contract.positions(segment, self.config)

    def parameter_count(self) -> int:
        """Weights of the text stack that a token passes through: without the embedding tables,
        which are looked up.
        """
        text = self.contract.text(self.model)
        tables = {id(m.weight) for m in text.modules() if isinstance(m, nn.Embedding)}
        return sum(p.numel() for p in text.parameters() if id(p) not in tables)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Last hidden states [T, width]; each token's depend on its own segment only."""
        states: Tensor = self._run(batch).last_hidden_state[0]
        return states

    def hidden_at(self, batch: PackedBatch, depth: float) -> Tensor:
        """States [T, width] at a relative depth: 0 the embeddings, 1 the last layer, layer
        round(depth × layers) between (XTREME-R's Tatoeba reads 14/24).
        """
        return self.hidden_and_last(batch, depth)[0]

    def hidden_and_last(self, batch: PackedBatch, depth: float) -> tuple[Tensor, Tensor]:
        """`hidden_at` and `forward` in one pass."""
        if not 0.0 <= depth <= 1.0:
            raise ValueError(f"relative depth {depth} is not between 0 and 1")
        out = self._run(batch, output_hidden_states=True)
        return out.hidden_states[round(depth * self.layers)][0], out.last_hidden_state[0]

    def lm_logits(self, states: Tensor) -> Tensor:
        """Vocabulary logits [n, vocabulary] of the given states [n, width]: pass supervised rows
        only.
        """
        head: Any = self.model.lm_head
        logits: Tensor = head(states)
        return logits

    def _run(self, batch: PackedBatch, **kwargs: Any) -> Any:
        self.dropout.begin(batch.keys, batch.offsets)
        core = self.contract.core(self.model)
        if batch.pixel_values is not None:
            if self.contract.image_features is None:
                raise ValueError(f"{self.family} takes no pictures")
            # given on their own, so that the text stack's boundaries do not reach the tower's own
            # attention
            kwargs["mm_encoder_outputs"] = {"image": self.contract.image_features(core, batch)}
        if self.contract.vision:
            kwargs["use_cache"] = False
        positions = batch.positions
        return core(
            input_ids=batch.input_ids[None],
            position_ids=positions[None] if positions.ndim == 1 else positions[:, None],
            cu_seq_lens_q=batch.cu_seq_lens,
            cu_seq_lens_k=batch.cu_seq_lens,
            max_length_q=batch.max_length,
            max_length_k=batch.max_length,
            **kwargs,
        )


def _look_both_ways(text: nn.Module) -> None:
    """Drops the causal mask, as LLM2Vec does. The packed attention reads each layer's
    `is_causal`.
    """
    config: Any = text.config
    config.is_causal = False
    for module in text.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False  # type: ignore[assignment]


def load_backbone(
    folder: Path, family: str, attention: str = "causal", dtype: torch.dtype = torch.float32
) -> Backbone:
    """Loads a model folder (a hub snapshot, or one that `build_tiny` wrote) in evaluation mode,
    on the CPU.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    packed.register()
    of = contract(family)
    settings = {"dtype": dtype, "attn_implementation": of.implementation, "local_files_only": True}
    return Backbone(of.load(Path(folder), settings), of, attention).eval()


def wrap(model: nn.Module, family: str, attention: str = "causal") -> Backbone:
    """A Backbone around a transformers model that is already in memory (see
    `build.build_model`).
    """
    packed.register()
    of = contract(family)
    of.core(model).set_attn_implementation(of.implementation)  # type: ignore[operator]
    return Backbone(model, of, attention)
