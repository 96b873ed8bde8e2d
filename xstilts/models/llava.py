"""LLaVA-1.5 and llava-interleave: a CLIP or SigLIP tower, a two-layer projector, and a decoder
(Llama or Qwen2). Every image is the same number of <image> tokens.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xstilts.errors import DataError
from xstilts.models.contract import Contract, Tiny, TinyTokenizer, UsualPicture, Vision
from xstilts.models.decoder import lora_targets, tiny_text
from xstilts.models.positions import check_image_tokens
from xstilts.models.special_tokens import line_break

if TYPE_CHECKING:
    from torch import Tensor

    from xstilts.models.batch import PackedBatch, Segment
    from xstilts.models.picture_inputs import FixedPictures

#: Tokens that a vision tower puts before its patches: CLIP has a class token, SigLIP has none.
_BEFORE_PATCHES = {"clip_vision_model": 1, "siglip_vision_model": 0}
#: Of tiny backbones; that of LLaVA-1.5 without its system prompt.
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>\n"
    "{% elif c['type'] == 'text' %}{{ c['text'] }}"
    "{% endif %}{% endfor %}{% endif %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def _positions(segment: "Segment", config: Any) -> "Tensor":
    """[n] from 0. Image tokens count like words."""
    import torch

    check_image_tokens(segment, int(config.image_token_id))
    return torch.arange(len(segment.input_ids))


def _pictures(folder: Path) -> "FixedPictures":
    from transformers import AutoConfig, AutoImageProcessor

    from xstilts.models.picture_inputs import FixedPictures

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    images = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    try:
        return FixedPictures(images, tokens_per_image(config, images))
    except ValueError as error:
        raise DataError(f"{folder}: {error}") from error


def tokens_per_image(config: Any, images: Any) -> int:
    """Tokens of an image, or of a tile of it, from a LLaVA's configuration and image processor:
    (size / patch)² patches and the tower's class token, minus the first token under the feature
    strategy `default` (LLaVA-1.5, CLIP 336/14: 576; llava-interleave, SigLIP 384/14 under `full`:
    729).

    Raises:
        ValueError: The tower is of another kind, or the image processor makes another size.
    """
    tower = config.vision_config
    if tower.model_type not in _BEFORE_PATCHES:
        raise ValueError(
            f"vision tower {tower.model_type!r} is not supported; "
            f"supported: {', '.join(_BEFORE_PATCHES)}"
        )
    cropped = getattr(images, "do_center_crop", None)
    size = images.crop_size if cropped else images.size
    if (size["height"], size["width"]) != (tower.image_size, tower.image_size):
        raise ValueError(
            f"the image processor makes images of {size['height']} × {size['width']} pixels, "
            f"and the vision tower takes {tower.image_size} × {tower.image_size}"
        )
    patches: int = (tower.image_size // tower.patch_size) ** 2
    dropped = config.vision_feature_select_strategy == "default"
    return patches + _BEFORE_PATCHES[tower.model_type] - int(dropped)


def pixels_of(core: Any, batch: "PackedBatch") -> "Tensor":
    """The pixels of all images in the data type of the vision tower."""
    assert batch.pixel_values is not None
    return batch.pixel_values.to(core.vision_tower.dtype)


def _features(core: Any, batch: "PackedBatch") -> Any:
    return core.get_image_features(pixel_values=pixels_of(core, batch), return_dict=True)


def clip_tower(settings: Mapping[str, Any]) -> Any:
    """The configuration of a tiny CLIP tower."""
    import transformers as tf

    return tf.CLIPVisionConfig(**tower_sizes(settings), projection_dim=settings["vision_hidden"])


def tower_sizes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the configuration of a tiny CLIP or SigLIP tower."""
    return {
        "hidden_size": settings["vision_hidden"],
        "intermediate_size": settings["vision_ff"],
        "num_hidden_layers": settings["vision_layers"],
        "num_attention_heads": settings["vision_heads"],
        "image_size": settings["image_size"],
        "patch_size": settings["patch_size"],
    }


def normalization(settings: Mapping[str, Any]) -> dict[str, list[float]]:
    """Arguments of a tiny image processor."""
    return {
        "image_mean": [settings["image_mean"]] * 3,
        "image_std": [settings["image_std"]] * 3,
    }


def _tiny(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    size, patch = settings["image_size"], settings["patch_size"]
    config = tf.LlavaConfig(
        vision_config=clip_tower(settings),
        text_config=tf.LlamaConfig(**tiny_text(tokenizer, settings)),
        image_token_index=tokenizer.image_token_id,
        image_seq_length=(size // patch) ** 2,
        tie_word_embeddings=True,
    )
    images = tf.CLIPImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        **normalization(settings),
    )
    processor = tf.LlavaProcessor(
        images,
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    return tf.LlavaForConditionalGeneration(config), processor


#: Of tiny backbones with a Llama decoder.
TOKENIZER = TinyTokenizer(
    kind="bytes",
    special=("<unk>", "<s>", "</s>", "<pad>", "<image>"),
    names={
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "extra_special_tokens": {"image_token": "<image>"},
    },
    single="<s> $A",
    pair="<s> $A $B",
)

VISION = Vision(
    frozen=("model.vision_tower.", "model.multi_modal_projector."),
    token="<image>",
    before="",
    after="\n",
    pictures=_pictures,
    features=_features,
    usual=UsualPicture(tokens=576, tiles=1),
)

LLAVA = Contract(
    family="llava",
    model_class="LlavaForConditionalGeneration",
    model_types=("llava",),
    core="model",
    text="model.language_model",
    causal=True,
    pool="last",
    subtoken="last",
    layout=line_break,
    lora=lora_targets("language_model"),
    positions=_positions,
    vision=VISION,
    parameters={
        "llava-hf/llava-1.5-7b-hf": 7.1e9,
        "llava-hf/llava-1.5-13b-hf": 13.4e9,
        "llava-hf/llava-interleave-qwen-0.5b-hf": 0.89e9,
        "llava-hf/llava-interleave-qwen-7b-hf": 8.1e9,
    },
    tiny=Tiny(
        tokenizer=TOKENIZER,
        model=_tiny,
        gain=2.0,
        updates=250,
        lr=5e-3,
    ),
)
