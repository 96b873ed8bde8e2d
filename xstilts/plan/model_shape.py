"""The shape of a model from its config.json: matrices and parameters of text stack, vision tower
and LM head. Exact for every supported model type, and without torch or transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xstilts.errors import DataError
from xstilts.models.config_shape import ENCODERS, HEAD_NORMS, PLAIN, QKV_BIAS

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Matrix:
    """A linear map of a text layer.

    Attributes:
        role: `attention` (query, key, value), `out` (attention output), `up` (into the
            feed-forward network), `down` (out of it), or `router` (of experts).
        inputs: Its width.
        outputs: Width of the result.
        bias: Whether it has a bias.
        copies: Number of experts that have one each.
    """

    role: str
    inputs: int
    outputs: int
    bias: bool = False
    copies: int = 1

    @property
    def parameters(self) -> int:
        return self.copies * (self.inputs + self.bias) * self.outputs


@dataclass(frozen=True)
class VisionShape:
    """A frozen vision tower with its projector.

    Attributes:
        hidden: Width of its states.
        ff: Width of its feed-forward network.
        layers: Number of layers.
        kept: How many layers' states exist until the features are read.
        patches_per_token: Patches that become one image token; 0: an image has `patches`.
        patches: Patches of an image of fixed size, with the class token; 0: any number.
        pixels: Numbers that a patch has as input.
        parameters: Its parameters and those of the projector.
    """

    hidden: int
    ff: int
    layers: int
    kept: int
    patches_per_token: int
    patches: int
    pixels: int
    parameters: int


@dataclass(frozen=True)
class Shape:
    """A model as memory arithmetic sees it.

    Attributes:
        decoder: Whether layers are those of Llama (RMSNorm, gated feed-forward network); else those
            of BERT.
        hidden: Width of the states.
        layers: Number of text layers.
        matrices: Linear maps of one layer.
        experts_per_token: Experts that a token passes through; 0: no experts.
        vectors: Parameters of one layer outside its matrices.
        heads_norm: Whether queries and keys are normalized per head.
        vocabulary: Rows of the embedding table.
        tied: Whether the LM head uses the embedding table.
        other: Text parameters outside layers, embedding table and LM head.
        head: Parameters of the LM head besides a tied table.
        vision: None for text-only models.
    """

    decoder: bool
    hidden: int
    layers: int
    matrices: tuple[Matrix, ...]
    experts_per_token: int
    vectors: int
    heads_norm: bool
    vocabulary: int
    tied: bool
    other: int
    head: int
    vision: VisionShape | None = None

    @property
    def table(self) -> int:
        """Parameters of the embedding table."""
        return self.vocabulary * self.hidden

    @property
    def block(self) -> int:
        """Parameters of one text layer."""
        return sum(matrix.parameters for matrix in self.matrices) + self.vectors

    @property
    def linear(self) -> int:
        """Parameters of all matrices in the text layers."""
        return self.layers * sum(matrix.parameters for matrix in self.matrices)

    @property
    def text(self) -> int:
        """Parameters that full tuning trains: text stack and LM head."""
        return self.table + self.layers * self.block + self.other + self.head

    @property
    def frozen(self) -> int:
        """Parameters that never train: vision tower and projector."""
        return self.vision.parameters if self.vision else 0

    @property
    def parameters(self) -> int:
        return self.text + self.frozen

    def width(self, role: str) -> int:
        """Summed outputs of the matrices with this role, of one expert."""
        return sum(matrix.outputs for matrix in self.matrices if matrix.role == role)

    def adapters(self, r: int) -> int:
        """Parameters of LoRA adapters of rank `r` on all matrices but routers."""
        adapted = [matrix for matrix in self.matrices if matrix.role != "router"]
        return self.layers * sum(r * m.copies * (m.inputs + m.outputs) for m in adapted)

    @property
    def adapted(self) -> int:
        """Parameters of the matrices that LoRA adapts."""
        return self.layers * sum(
            m.copies * m.inputs * m.outputs for m in self.matrices if m.role != "router"
        )


#: Values that a published config.json may leave out, because they are transformers' defaults.
DEFAULTS: Mapping[str, Config] = {
    "llama": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32000,
        "tie_word_embeddings": False,
    },
    "mistral": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
        "tie_word_embeddings": False,
    },
}


def known_shape(config: Config | None) -> Shape | None:
    """The shape of a model; None without a config.json, or for a model type without arithmetic:
    its steps run as the plan says, and `xstilts plan` shows no memory for it.
    """
    if config is None:
        return None
    try:
        return shape_of(config)
    except DataError:
        return None


def shape_of(config: Config) -> Shape:
    """The shape of the model with this config.json. DataError for an unknown model type, or if a
    size is missing.
    """
    kind = str(config.get("model_type", ""))
    try:
        if kind in ENCODERS:
            return _encoder(config, kind)
        text = config.get("text_config") or {
            key: value for key, value in config.items() if key != "vision_config"
        }
        name = str(text.get("model_type") or kind).removesuffix("_text")
        if name not in QKV_BIAS | HEAD_NORMS | PLAIN:
            raise DataError(f"memory of a model of type {name!r} is not known")
        # Models with images have the key at the top, and its default there is false.
        tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
        return _decoder({**DEFAULTS.get(name, {}), **text}, name, bool(tied), _vision(config, text))
    except KeyError as error:
        raise DataError(f"a config.json of type {kind!r} has no {error.args[0]}") from error


def _decoder(text: Config, name: str, tied: bool, vision: VisionShape | None) -> Shape:
    hidden, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
    kv_heads = int(text.get("num_key_value_heads") or heads)
    size = int(text.get("head_dim") or hidden // heads)
    bias = name in QKV_BIAS or bool(text.get("attention_bias"))
    experts = int(text.get("num_experts") or 0)
    ff = int(text["moe_intermediate_size"] if experts else text["intermediate_size"])
    copies = experts or 1
    matrices = [
        Matrix("attention", hidden, heads * size, bias),
        Matrix("attention", hidden, kv_heads * size, bias),
        Matrix("attention", hidden, kv_heads * size, bias),
        Matrix("out", heads * size, hidden, bool(text.get("attention_bias"))),
        Matrix("up", hidden, ff, copies=copies),
        Matrix("up", hidden, ff, copies=copies),
        Matrix("down", ff, hidden, copies=copies),
    ]
    if experts:
        matrices.append(Matrix("router", hidden, experts))
    vocabulary = int(text["vocab_size"])
    normed = name in HEAD_NORMS
    return Shape(
        decoder=True,
        hidden=hidden,
        layers=int(text["num_hidden_layers"]),
        matrices=tuple(matrices),
        experts_per_token=int(text["num_experts_per_tok"]) if experts else 0,
        vectors=2 * hidden + (2 * size if normed else 0),
        heads_norm=normed,
        vocabulary=vocabulary,
        tied=tied,
        other=hidden,
        head=0 if tied else vocabulary * hidden,
        vision=vision,
    )


def _encoder(config: Config, kind: str) -> Shape:
    hidden, ff = int(config["hidden_size"]), int(config["intermediate_size"])
    vocabulary, norm = int(config["vocab_size"]), 2 * hidden
    positions = int(config["max_position_embeddings"]) + int(config["type_vocab_size"])
    tied = bool(config.get("tie_word_embeddings", True))
    return Shape(
        decoder=False,
        hidden=hidden,
        layers=int(config["num_hidden_layers"]),
        matrices=(
            *(Matrix("attention", hidden, hidden, True) for _ in range(3)),
            Matrix("out", hidden, hidden, True),
            Matrix("up", hidden, ff, True),
            Matrix("down", ff, hidden, True),
        ),
        experts_per_token=0,
        vectors=2 * norm,
        heads_norm=False,
        vocabulary=vocabulary,
        tied=tied,
        # XL normalizes after the last layer, the others after the embeddings.
        other=positions * hidden + norm,
        head=hidden * (hidden + 1) + norm + vocabulary + (0 if tied else vocabulary * hidden),
    )


def _vision(config: Config, text: Config) -> VisionShape | None:
    vision = config.get("vision_config")
    if not vision:
        return None
    kind, width = str(config["model_type"]), int({**DEFAULTS["llama"], **text}["hidden_size"])
    return (
        _qwen_vision(vision, kind, width)
        if kind.startswith("qwen")
        else _llava_vision(config, vision, kind, width)
    )


def _llava_vision(config: Config, vision: Config, kind: str, width: int) -> VisionShape:
    """CLIP or SigLIP, and a projector of two layers."""
    hidden, ff, layers = (
        int(vision[key]) for key in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    clip = str(vision["model_type"]).startswith("clip")
    patch, size = int(vision["patch_size"]), int(vision["image_size"])
    patches, pixels = (size // patch) ** 2 + clip, 3 * patch * patch
    layer = 4 * hidden * (hidden + 1) + 2 * hidden * ff + ff + hidden + 4 * hidden
    # CLIP: class token, and norms before and after; SigLIP: bias of the patches, one norm.
    ends = (pixels + patches) * hidden + (5 * hidden if clip else 3 * hidden)
    chosen = config.get("vision_feature_layer", -2)
    joined = hidden * (len(chosen) if isinstance(chosen, list) else 1)
    bias = bool(config.get("multimodal_projector_bias", True))
    projector = (joined + bias) * width + (width + bias) * width
    newline = 0 if kind == "llava" else width
    return VisionShape(
        hidden=hidden,
        ff=ff,
        layers=layers,
        kept=layers + 1,
        patches_per_token=0,
        patches=patches,
        pixels=pixels,
        parameters=layers * layer + ends + projector + newline,
    )


def _qwen_vision(vision: Config, kind: str, width: int) -> VisionShape:
    """A tower whose patches are merged into tokens."""
    layers, patch = int(vision["depth"]), int(vision["patch_size"])
    merged = int(vision["spatial_merge_size"]) ** 2
    pixels = 3 * int(vision["temporal_patch_size"]) * patch * patch
    if kind == "qwen2_vl":
        hidden = int(vision["embed_dim"])
        ff = int(hidden * vision["mlp_ratio"])
    else:
        hidden, ff = int(vision["hidden_size"]), int(vision["intermediate_size"])
    gated = kind == "qwen2_5_vl"
    norm = hidden if gated else 2 * hidden
    network = 3 * hidden * ff + 2 * ff + hidden if gated else 2 * hidden * ff + ff + hidden
    layer = 2 * norm + 4 * hidden * (hidden + 1) + network
    wide = merged * hidden
    merger = wide * (wide + 1) + (wide + 1) * width
    parameters = layers * layer + pixels * hidden + merger + norm
    deep: list[int] = []
    if kind.startswith("qwen3_vl"):
        deep = list(vision["deepstack_visual_indexes"])
        parameters += (1 + int(vision["num_position_embeddings"])) * hidden  # bias of the patches
        parameters += len(deep) * (2 * wide + merger)
    return VisionShape(
        hidden=hidden,
        ff=ff,
        layers=layers,
        kept=1,
        patches_per_token=merged,
        patches=0,
        pixels=pixels,
        parameters=parameters,
    )
