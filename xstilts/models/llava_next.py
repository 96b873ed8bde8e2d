"""LLaVA-NeXT (LLaVA-1.6): LLaVA with images of any resolution."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xstilts.errors import DataError
from xstilts.models.contract import UsualPicture
from xstilts.models.decoder import tiny_text
from xstilts.models.llava import (
    CHAT_TEMPLATE,
    LLAVA,
    VISION,
    clip_tower,
    normalization,
    pixels_of,
    tokens_per_image,
)
from xstilts.models.positions import check_image_tokens, from_zero

if TYPE_CHECKING:
    from torch import Tensor

    from xstilts.models.batch import PackedBatch, Segment
    from xstilts.models.tiled_pictures import TiledPictures


def positions(segment: "Segment", config: Any) -> "Tensor":
    """[n] from 0. Image tokens count like words. ValueError beyond the last position, which two
    images of thousands of tokens reach, or if image tokens do not match the images.
    """
    check_image_tokens(segment, int(config.image_token_id))
    return from_zero(segment, config)


def tiny_decoder(tokenizer: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the text configuration: positions for images beside a text of `max_length`."""
    positions = {"max_position_embeddings": 2 * settings["max_length"]}
    return {**tiny_text(tokenizer, settings), **positions}


def tiles_of(folder: Path) -> "tuple[Any, TiledPictures]":
    """(configuration, preparation of images) of a model folder with tiled images.

    Raises:
        DataError: The tower or the image processor do not fit the model's configuration.
    """
    from transformers import AutoConfig, AutoImageProcessor

    from xstilts.models.tiled_pictures import TiledPictures

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    images = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    side = config.vision_config.image_size // config.vision_config.patch_size
    try:
        count = tokens_per_image(config, images)
    except ValueError as error:
        raise DataError(f"{folder}: {error}") from error
    if count != side**2:
        raise DataError(
            f"{folder}: a tile has {count} features under vision_feature_select_strategy "
            f"{config.vision_feature_select_strategy!r}, and {side} × {side} patches; correct the "
            "strategy in config.json"
        )
    sizes = [[list(size) for size in of.image_grid_pinpoints] for of in (config, images)]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"{folder}: image_grid_pinpoints of config.json and of the image processor differ; "
            "make them equal"
        )
    return config, TiledPictures(images, side)


def _pictures(folder: Path) -> "TiledPictures":
    return tiles_of(folder)[1]


def _features(core: Any, batch: "PackedBatch") -> Any:
    assert batch.image_grids is not None
    return core.get_image_features(
        pixel_values=pixels_of(core, batch),
        image_sizes=batch.image_grids.tolist(),
        return_dict=True,
    )


def _tiny(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    size, patch = settings["image_size"], settings["patch_size"]
    # The shapes of the published model, in tiles.
    shapes = [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)]
    pinpoints = [[size * height, size * width] for height, width in shapes]
    config = tf.LlavaNextConfig(
        vision_config=clip_tower(settings),
        text_config=tf.LlamaConfig(**tiny_decoder(tokenizer, settings)),
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=pinpoints,
        image_seq_length=(size // patch) ** 2,
        tie_word_embeddings=True,
    )
    images = tf.LlavaNextImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        image_grid_pinpoints=pinpoints,
        **normalization(settings),
    )
    processor = tf.LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    return tf.LlavaNextForConditionalGeneration(config), processor


LLAVA_NEXT = replace(
    LLAVA,
    family="llava_next",
    model_class="LlavaNextForConditionalGeneration",
    model_types=("llava_next",),
    positions=positions,
    vision=replace(
        VISION,
        frozen=(*VISION.frozen, "model.image_newline"),
        pictures=_pictures,
        features=_features,
        usual=UsualPicture(tokens=2340, tiles=5),
        # The largest number of a published model: 24 × 24 of the thumbnail, and of 2 × 2 tiles 48
        # rows of 48 and a line end.
        budget={"image_tokens": 2928},
    ),
    recipes="llava",
    parameters={
        "llava-hf/llava-v1.6-vicuna-7b-hf": 7.1e9,
        "llava-hf/llava-v1.6-vicuna-13b-hf": 13.4e9,
        "llava-hf/llava-v1.6-mistral-7b-hf": 7.6e9,
    },
    tiny=replace(LLAVA.tiny, model=_tiny),
)
