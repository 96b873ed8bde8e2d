"""A pretrained backbone as the rest of xstilts sees it: a flat batch in, hidden states of its
tokens out.

Differences between families are in their contracts (contract.py); everything else is here.
"""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xstilts.errors import DataError, counted, in_a_line
from xstilts.models import attention as packed
from xstilts.models import vision_rows
from xstilts.models.batch import PackedBatch, Segment, pack
from xstilts.models.contract import Contract
from xstilts.models.dropout import DropoutControl, install
from xstilts.models.families import check_model_type, contract
from xstilts.models.model_folder import check_folder, read_header, refused, weight_files
from xstilts.models.packing_probe import check_packing
from xstilts.models.processor import load_processor
from xstilts.models.special_tokens import Layout
from xstilts.models.token_places import FamilyPlacement


class Backbone(nn.Module):
    """A backbone with its contract.

    `dropout` holds the rates (0 at first); call `backbone.dropout.at(seed, update, stage)` before
    each update. Vision tower and projector never train here. Everything else trains, until
    `add_lora` leaves only the adapters.
    """

    def __init__(
        self,
        model: nn.Module,
        of: Contract,
        attention: str = "causal",
        layout: Layout | None = None,
    ) -> None:
        """layout: needed by families with token types."""
        super().__init__()
        self.model, self.contract, self.layout = model, of, layout
        self.dropout = DropoutControl()
        #: The dtype in which float32 weights compute; None: their own (see precision.py).
        self.autocast: torch.dtype | None = None
        #: Whether workers share the weights (see sharding.py). Then forward passes are collectives.
        self.sharded = False
        text_stack = model.get_submodule(of.text)
        install(text_stack, self.dropout, "hidden")
        if of.vision:
            vision_rows.prepare(model.get_submodule(of.core))
        frozen = of.vision.frozen if of.vision else ()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(frozen) if frozen else True)
        if attention == "bidirectional":
            _drop_causal_mask(text_stack)
        elif attention != "causal":
            raise ValueError(f"unknown attention {attention!r}; allowed: causal, bidirectional")
        config: Any = model.config
        text = config.get_text_config()
        self.config = config
        self.width, self.layers = int(text.hidden_size), int(text.num_hidden_layers)

    @property
    def family(self) -> str:
        """Name of the family in plans."""
        return self.contract.family

    @property
    def pool(self) -> str:
        """`first` or `last`: the token that represents a segment."""
        return self.contract.pool

    @property
    def subtoken(self) -> str:
        """`first` or `last`: the sub-token of a word that carries its tag."""
        return self.contract.subtoken

    @property
    def placement(self) -> FamilyPlacement:
        """Positions and token types of segments, without the model."""
        return FamilyPlacement(self.family, self.config, self.layout)

    def positions(self, segment: Segment) -> Tensor:
        """See FamilyPlacement."""
        return self.placement.positions(segment)

    def token_types(self, segment: Segment) -> Tensor | None:
        """See FamilyPlacement."""
        return self.placement.token_types(segment)

    def parameter_count(self) -> int:
        """Weights of the text stack that a token passes through: without embedding tables, which
        are looked up, and of experts only those of one token.
        """
        text, config = self.model.get_submodule(self.contract.text), self.config.get_text_config()
        tables = {id(m.weight) for m in text.modules() if isinstance(m, nn.Embedding)}
        modules = {f".{name.rpartition('.')[0]}." for name in self.contract.lora_parameters}
        passed, of = (config.num_experts_per_tok, config.num_experts) if modules else (1, 1)
        return sum(
            p.numel() * passed // of if any(part in name for part in modules) else p.numel()
            for name, p in text.named_parameters()
            if id(p) not in tables
        )

    def forward(self, batch: PackedBatch, depth: float | None = None) -> Any:
        """Last hidden states [T, width]. Those of a token depend on its own segment only. With a
        depth: `hidden_and_last`.
        """
        out = self._run(batch, **({} if depth is None else {"output_hidden_states": True}))
        last: Tensor = out.last_hidden_state[0]
        if self.sharded and last.requires_grad:
            last = last.clone()  # the backward hooks of a sharded module need a tensor of its own
        if depth is None:
            return last
        return out.hidden_states[round(depth * self.layers)][0], last

    def hidden_at(self, batch: PackedBatch, depth: float) -> Tensor:
        """Hidden states [T, width] at a relative depth: 0 the embeddings, 1 the last layer, between
        them layer round(depth × layers). XTREME-R's Tatoeba reads 14/24.
        """
        return self.hidden_and_last(batch, depth)[0]

    def hidden_and_last(self, batch: PackedBatch, depth: float) -> tuple[Tensor, Tensor]:
        """`hidden_at` and `forward` in one pass."""
        if not 0.0 <= depth <= 1.0:
            raise ValueError(f"relative depth {depth} is not between 0 and 1")
        states: tuple[Tensor, Tensor] = self(batch, depth)
        return states

    def lm_logits(self, states: Tensor) -> Tensor:
        """Vocabulary logits [n, vocabulary] of states [n, width]. Pass supervised rows only."""
        with self._autocast(states.device):
            logits: Tensor = self.model.get_submodule(self.contract.lm_head)(states)
        return logits

    def _autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, self.autocast, enabled=self.autocast is not None)

    def _run(self, batch: PackedBatch, **kwargs: Any) -> Any:
        self.dropout.begin(batch.keys, batch.offsets)
        core = self.model.get_submodule(self.contract.core)
        if batch.pixel_values is not None:
            if self.contract.vision is None:
                raise ValueError(f"family {self.family} does not take images")
            # Computed outside the core, so that the boundaries of the text stack do not reach the
            # attention of the vision tower.
            features = self.contract.vision.features(core, batch)
            vision_rows.check(features, batch, self.width)
            kwargs["mm_encoder_outputs"] = {"image": features}
        if self.contract.causal:
            kwargs["use_cache"] = False
        if batch.token_types is not None:
            kwargs["token_type_ids"] = batch.token_types[None]
        positions = batch.positions
        with self._autocast(batch.input_ids.device):  # vision towers are frozen: computed outside
            return core(
                input_ids=batch.input_ids[None],
                position_ids=positions[None] if positions.ndim == 1 else positions[:, None],
                cu_seq_lens_q=batch.cu_seq_lens,
                cu_seq_lens_k=batch.cu_seq_lens,
                max_length_q=batch.max_length,
                max_length_k=batch.max_length,
                segment_lengths=batch.lengths,
                **kwargs,
            )


class NoLMHead(nn.Module):
    """In place of an LM head whose weights are not in the model folder."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source

    def forward(self, states: Tensor) -> Tensor:
        """Always raises DataError."""
        raise DataError(
            f"{self.source} has no weights of an LM head; use objective: head, "
            "or a model with an LM head"
        )


def _drop_causal_mask(text: nn.Module) -> None:
    """Makes attention bidirectional, as LLM2Vec does. Packed attention reads each layer's
    `is_causal`.
    """
    config: Any = text.config
    config.is_causal = False
    for module in text.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False  # type: ignore[assignment]


def _probe(backbone: Backbone, name: str) -> None:
    """Refuses a backbone whose attention ignores segment boundaries (DataError)."""
    training, device = backbone.training, next(backbone.parameters()).device
    backbone.eval()
    check_packing(
        lambda segments: backbone(pack(segments, backbone).to(device)),
        int(backbone.config.get_text_config().vocab_size),
        backbone.family,
        name,
        experts=bool(backbone.contract.lora_parameters),
    )
    backbone.train(training)


def load_model(folder: Path, of: Contract, **settings: Any) -> nn.Module:
    """The transformers model in a folder.

    Args:
        folder: A hub snapshot, or what `build_tiny` wrote.
        of: The contract of its family.
        settings: Arguments of from_pretrained.

    Raises:
        DataError: The folder is of another family, does not pass `check_folder`, has other sizes
            than its config.json says, or weights are NaN, infinite or missing. transformers would
            draw missing ones at random. Without those of the LM head the model loads, and only LM
            logits are refused.
    """
    import transformers
    from transformers.utils import logging

    check_model_type(folder, of)
    check_folder(folder, of)
    kind = getattr(transformers, of.model_class)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its report of missing weights is replaced by the errors below
    try:
        with refused(folder, f"a model of family {of.family}"):
            _check_parameters(folder, kind, of)
            model, info = kind.from_pretrained(
                folder, local_files_only=True, output_loading_info=True, **settings
            )
    finally:
        logging.set_verbosity(verbosity)
    missing = sorted(info["missing_keys"])
    if lost := [name for name in missing if not name.startswith(f"{of.lm_head}.")]:
        raise DataError(
            f"{folder}: missing: {counted(len(lost), 'weight')} of family {of.family}, "
            f"such as {', '.join(lost[:3])}; use the family of the model's config.json"
        )
    _check_finite(folder, model)
    if missing:
        model.set_submodule(of.lm_head, NoLMHead(str(folder)))
    loaded: nn.Module = model
    return loaded


def _check_parameters(folder: Path, kind: Any, of: Contract) -> None:
    """DataError if the model of config.json has more parameters than the files hold, LM head
    excepted. Nothing is allocated: the model is built on torch's device `meta`.
    """
    import transformers

    auto = not hasattr(kind, "config_class")  # an Auto class, for several model types
    of_config = transformers.AutoConfig if auto else kind.config_class
    config = of_config.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        model = kind.from_config(config) if auto else kind(config)
    needed = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if not name.startswith(f"{of.lm_head}.")
    )
    stored = sum(_elements(file) for file in weight_files(folder))
    if needed > stored:
        raise DataError(
            f"{folder}: missing: config.json describes a model of {needed:,} parameters, and the "
            f"weights hold {stored:,}; use the config.json of these weights"
        )


def _elements(file: Path) -> int:
    """Numbers in a file with weights. A PyTorch file is mapped, and its pickle may construct
    nothing but tensors.
    """
    if file.suffix == ".safetensors":
        return sum(tensor.elements for tensor in read_header(file).values())
    try:
        state = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, LookupError) as error:
        raise DataError(
            f"{file}: not plain tensors ({in_a_line(str(error))[:200]}); such a file can run code "
            "when it is loaded: save the model as safetensors"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise DataError(f"{file}: not a state dict of tensors; save the model with save_pretrained")
    return sum(tensor.numel() for tensor in state.values())


def _check_finite(folder: Path, model: nn.Module) -> None:
    """DataError if a weight is NaN or infinite."""
    bad = [name for name, value in model.named_parameters() if not _is_finite(value)]
    if bad:
        raise DataError(
            f"{folder}: NaN or infinite: {counted(len(bad), 'weight')}, such as "
            f"{', '.join(bad[:3])}; fetch the model again"
        )


def _is_finite(value: Tensor) -> bool:
    if value.device.type == "meta" or value.numel() == 0:
        return True
    # The extremes are NaN if any element is. Unlike isfinite, it needs no memory.
    low, high = torch.aminmax(value.detach())
    return bool(torch.isfinite(low) & torch.isfinite(high))


def load_backbone(
    folder: Path, family: str, attention: str = "causal", dtype: torch.dtype = torch.float32
) -> Backbone:
    """Loads a model folder in evaluation mode, on the CPU.

    Raises:
        DataError: Weights are missing, or the model's attention ignores segment boundaries.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    packed.register()
    of, folder = contract(family), Path(folder)
    layout = load_processor(folder, family).layout if of.token_types else None
    model = load_model(folder, of, dtype=dtype, attn_implementation=of.implementation)
    backbone = Backbone(model, of, attention, layout).eval()
    _probe(backbone, str(folder))
    return backbone


def wrap(
    model: nn.Module, family: str, attention: str = "causal", layout: Layout | None = None
) -> Backbone:
    """A Backbone around a transformers model in memory (see miniature.backbones.build_model).

    layout: needed by families with token types.
    """
    packed.register()
    of = contract(family)
    core: Any = model.get_submodule(of.core)
    core.set_attn_implementation(of.implementation)
    backbone = Backbone(model, of, attention, layout)
    _probe(backbone, f"a {type(model).__name__} in memory")
    return backbone
