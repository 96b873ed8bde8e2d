"""What differs between families of backbones, as data. One file per family fills in a `Contract`.

Importing a contract imports no torch, numpy or transformers: `xstilts plan` reads contracts too.
Functions of a family import what they need when they are called.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xstilts.models.special_tokens import Layout

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xstilts.models.batch import PackedBatch, Segment
    from xstilts.models.picture_inputs import Pictures


@dataclass(frozen=True)
class UsualPicture:
    """A photograph of 640 × 480 pixels, for cost estimates.

    Attributes:
        tokens: Its tokens with the budget of the recipes.
        tiles: Images of fixed size that the vision tower makes of it; 0: any number of patches.
        beside: Its tokens beside other pictures, as one tile; 0: the same.
    """

    tokens: int
    tiles: int = 0
    beside: int = 0


@dataclass(frozen=True)
class Vision:
    """How a family sees images.

    Attributes:
        frozen: Name prefixes, within the whole model, of vision tower and projector.
        token: The placeholder token. An image is a run of it in `input_ids`.
        before: Text between the previous token and the run, such as a start token.
        after: Text after the run.
        pictures: Model folder → preparation of images.
        features: (core, batch) → states of all image tokens, in order.
        usual: The cost of a photograph.
        budget: image_tokens, min_pixels, max_pixels of one image; empty: those of the recipes.
            Miniature recipes do not use it.
    """

    frozen: tuple[str, ...]
    token: str
    before: str
    after: str
    pictures: Callable[[Path], "Pictures"]
    features: Callable[["nn.Module", "PackedBatch"], Any]
    usual: UsualPicture
    budget: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TinyTokenizer:
    """The tokenizer of a tiny backbone, trained from scratch without unknown tokens.

    Attributes:
        kind: `words`: BPE over words marked with ▁, with UTF-8 bytes for unknown characters.
            `bytes`: BPE over bytes.
        special: Special tokens, which get the first ids.
        names: Arguments of PreTrainedTokenizerFast that name special tokens.
        single: Template of one text, such as `<s> $A </s>`; None: no special tokens.
        pair: Template of two texts.
    """

    kind: Literal["words", "bytes"]
    special: tuple[str, ...]
    names: Mapping[str, Any]
    single: str | None = None
    pair: str | None = None


@dataclass(frozen=True)
class Tiny:
    """How a tiny backbone of the family is built and pre-trained.

    Attributes:
        tokenizer: Its tokenizer.
        model: (tokenizer, settings of xstilts.miniature.backbones) → (transformers model with its
            LM head, tokenizer or processor). Keeps the family's real geometry of positions and
            images.
        gain: Factor of key = query at initialization.
        updates: Updates of pre-training.
        lr: Peak learning rate of pre-training.
    """

    tokenizer: TinyTokenizer
    model: Callable[[Any, Mapping[str, Any]], tuple[Any, Any]]
    gain: float
    updates: int
    lr: float


@dataclass(frozen=True)
class Contract:
    """One family of backbones.

    Attributes:
        family: Its name in plans.
        model_class: The transformers class with the LM head.
        core: Name of the submodule that returns hidden states.
        text: Name of the text stack: what trains, and what LoRA adapts.
        lm_head: Name of the submodule from hidden states to vocabulary logits.
        causal: Whether text attention has a causal mask. A plan may switch it to bidirectional.
            Causal families learn text by the next token, others by masked tokens.
        pool: The token that represents a segment.
        subtoken: The sub-token of a word that carries its tag.
        layout: Tokenizer → special tokens around one or two texts.
        lora: Regular expression of the modules that LoRA adapts. It must match the whole name.
        positions: (segment, config) → position ids of the segment alone: [n], or [4, n].
        tiny: How tiny backbones are made.
        vision: None for text-only families.
        token_types: Whether the second text of a pair has token type ids of its own.
        max_tokens: Most tokens of a sequence; None: more than any recipe uses.
        recipes: The family whose recipes are used; empty: its own.
        parameters: Hub id → number of parameters that a token passes through, for cost estimates.
        recorded: Name in step specs, and so in fingerprints and random streams, where it is not
            `family`: that of the first version. Plans may use it as well.
        model_types: `model_type` in the config.json of its models, and others that it can load. A
            folder with another one is refused.
        lora_parameters: Ends of the names of 3-D parameters that LoRA adapts besides the modules:
            the fused weights of experts. Their adapters have no dropout.
    """

    family: str
    model_class: str
    core: str
    text: str
    causal: bool
    pool: Literal["first", "last"]
    subtoken: Literal["first", "last"]
    layout: Callable[[Any], Layout]
    lora: str
    positions: Callable[["Segment", Any], "Tensor"]
    tiny: Tiny
    lm_head: str = "lm_head"
    vision: Vision | None = None
    token_types: bool = False
    max_tokens: int | None = None
    recipes: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)
    recorded: str = ""
    model_types: tuple[str, ...] = ()
    lora_parameters: tuple[str, ...] = ()

    @property
    def recorded_name(self) -> str:
        """The name of the family in step specs and random streams."""
        return self.recorded or self.family

    @property
    def recipe_family(self) -> str:
        """The family whose recipes are used."""
        return self.recipes or self.family

    @property
    def attention(self) -> str:
        """Attention of the text stack where a plan does not choose."""
        return "causal" if self.causal else "bidirectional"

    @property
    def implementation(self) -> str | dict[str, str]:
        """transformers' `attn_implementation`: packed attention for text only."""
        if self.vision is None:
            return "packed"
        return {"text_config": "packed", "vision_config": "sdpa"}
