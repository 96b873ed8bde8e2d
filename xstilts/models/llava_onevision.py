"""LLaVA-OneVision: a SigLIP tower, a Qwen2 decoder and images of any resolution. An image beside
others in its example is shown without tiles, as in the makers' training.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xstilts.models.contract import TinyTokenizer, UsualPicture
from xstilts.models.llava import CHAT_TEMPLATE, LLAVA, VISION, normalization, pixels_of, tower_sizes
from xstilts.models.llava_next import positions, tiles_of, tiny_decoder

if TYPE_CHECKING:
    from xstilts.models.batch import PackedBatch
    from xstilts.models.tiled_pictures import TiledPictures

_MAXIMUM = "anyres_max_"


def _pictures(folder: Path) -> "TiledPictures":
    config, pictures = tiles_of(folder)
    most = int(config.vision_aspect_ratio.removeprefix(_MAXIMUM))
    return replace(pictures, most_tiles=most, untiled_in_company=True)


def _features(core: Any, batch: "PackedBatch") -> Any:
    assert batch.image_grids is not None
    grids = batch.image_grids.tolist()
    examples, at = [], 0  # number of images of each segment
    while at < len(grids):
        examples.append(grids[at][2])
        at += grids[at][2]
    return core.get_image_features(
        pixel_values=pixels_of(core, batch),
        image_sizes=[grid[:2] for grid in grids],
        batch_num_images=examples,
        return_dict=True,
    )


def _tiny(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    import transformers as tf

    from xstilts.models.qwen_vl import image_only

    size, patch = settings["image_size"], settings["patch_size"]
    # The resolutions of the published model, in tiles.
    pinpoints = [[size * height, size * width] for height in range(1, 7) for width in range(1, 7)]
    config = tf.LlavaOnevisionConfig(
        vision_config=tf.SiglipVisionConfig(**tower_sizes(settings)),
        text_config=tf.Qwen2Config(**tiny_decoder(tokenizer, settings)),
        image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id,
        image_grid_pinpoints=pinpoints,
        tie_word_embeddings=True,
    )
    images = tf.LlavaOnevisionImageProcessorPil(
        size={"height": size, "width": size},
        image_grid_pinpoints=pinpoints,
        **normalization(settings),
    )
    processor = image_only(tf.LlavaOnevisionProcessor)(
        images,
        tokenizer,
        None,
        num_image_tokens=(size // patch) ** 2,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )
    return tf.LlavaOnevisionForConditionalGeneration(config), processor


LLAVA_ONEVISION = replace(
    LLAVA,
    family="llava_onevision",
    model_class="LlavaOnevisionForConditionalGeneration",
    model_types=("llava_onevision",),
    positions=positions,
    vision=replace(
        VISION,
        frozen=(*VISION.frozen, "model.image_newline"),
        pictures=_pictures,
        features=_features,
        usual=UsualPicture(tokens=2929, tiles=5, beside=730),
        # No image has more: 27 × 27 of the thumbnail, at most 1.1² × 9 × 27 × 27 of the tiles, and
        # 6 × 27 line ends.
        budget={"image_tokens": 8829},
    ),
    recipes="llava",
    parameters={
        "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": 0.89e9,
        "llava-hf/llava-onevision-qwen2-7b-ov-hf": 8.03e9,
    },
    tiny=replace(
        LLAVA.tiny,
        tokenizer=TinyTokenizer(
            kind="bytes",
            special=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"),
            names={
                "eos_token": "<|im_end|>",
                "pad_token": "<|endoftext|>",
                "extra_special_tokens": {"image_token": "<image>", "video_token": "<video>"},
            },
        ),
        model=_tiny,
    ),
)
