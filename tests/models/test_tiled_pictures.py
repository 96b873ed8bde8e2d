"""Images of any resolution, with the published geometry: tokens are those of transformers'
processors, and a budget scales an image down.
"""

import io
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.llava_next import modeling_llava_next
from transformers.models.llava_onevision import modeling_llava_onevision

from tests.models.conftest import png
from xstilts.errors import DataError
from xstilts.models.backbone import load_backbone
from xstilts.models.batch import Segment, pack
from xstilts.models.families import contract
from xstilts.models.processor import load_processor
from xstilts.models.qwen_vl import image_only
from xstilts.models.tiled_pictures import TiledPictures
from xstilts.tasks.pictures import MAX_RATIO

#: (width, height): landscape, square, portrait, wide, tall, tiny, one pixel, the most elongated.
SIZES = (
    (640, 480), (336, 336), (480, 640), (1024, 256), (3000, 200), (200, 3000), (5, 7), (1, 1), (200, 1), (3, 600),
    (1920, 1080), (672, 672), (2304, 2304), (383, 385),
)  # fmt: skip
#: llava-hf/llava-v1.6-vicuna-7b-hf, preprocessor_config.json and processor_config.json.
NEXT = transformers.LlavaNextImageProcessorPil(
    size={"shortest_edge": 336},
    crop_size={"height": 336, "width": 336},
    image_grid_pinpoints=[[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
)
#: llava-hf/llava-onevision-qwen2-7b-ov-hf: transformers' defaults.
ONEVISION = transformers.LlavaOnevisionImageProcessorPil()
PICTURES = {"next": TiledPictures(NEXT, 24), "onevision": TiledPictures(ONEVISION, 27, 9, True)}


def placeholders(model: str, width: int, height: int, company: int) -> int:
    """Tokens of a picture that the stock processor's own method writes."""
    if model == "next":
        kind, images = transformers.LlavaNextProcessor, NEXT
        more: dict[str, Any] = {"patch_size": 14, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}  # fmt: skip
    else:
        kind, images = image_only(transformers.LlavaOnevisionProcessor), ONEVISION
        more = {"num_image_tokens": 729, "vision_feature_select_strategy": "full", "vision_aspect_ratio": "anyres_max_9"}  # fmt: skip
    stock = object.__new__(kind)
    for name, value in {**more, "image_processor": images, "image_token": "<image>"}.items():
        setattr(stock, name, value)
    side = PICTURES[model].tile
    made = {
        "image_sizes": [(height, width)] * company,
        "pixel_values": np.zeros((1, 1, 3, side, side)),
        "batch_num_images": [company],
    }
    return stock.replace_image_token(made, image_idx=0).count("<image>")


def features(model: str, width: int, height: int, company: int) -> int:
    """Vectors that the stock model makes of a picture."""
    kind = {"next": modeling_llava_next, "onevision": modeling_llava_onevision}[model]
    config = {"next": transformers.LlavaNextConfig, "onevision": transformers.LlavaOnevisionConfig}[model]()  # fmt: skip
    side = config.vision_config.image_size
    tiles = kind.image_size_to_num_patches((height, width), config.image_grid_pinpoints, side)
    tiles = tiles if model == "next" or company == 1 else 1
    made = torch.zeros(tiles, (side // config.vision_config.patch_size) ** 2, 1)
    more = {"vision_feature_select_strategy": "default"} if model == "next" else {}
    core = {"next": transformers.LlavaNextModel, "onevision": transformers.LlavaOnevisionModel}[model]  # fmt: skip
    packed, _ = core.pack_image_features(
        SimpleNamespace(config=config), [made], [(height, width)], image_newline=torch.zeros(1), **more
    )  # fmt: skip
    return len(packed[0])


@pytest.mark.parametrize("company", [1, 2, 3])
@pytest.mark.parametrize("model", PICTURES)
@pytest.mark.parametrize("size", SIZES)
def test_tokens_are_those_of_the_stock_processor_and_of_the_stock_model(
    size: tuple[int, int], model: str, company: int
) -> None:
    out = io.BytesIO()
    Image.new("1", size).save(out, "PNG")
    ours = PICTURES[model]
    grid = ours.grid(out.getvalue(), company)
    assert grid == [size[1], size[0], *([company] if model == "onevision" else [])]
    assert ours.tokens(grid) == placeholders(model, *size, company) == features(model, *size, company)  # fmt: skip


@pytest.mark.parametrize("model", PICTURES)
@given(width=st.integers(1, 4000), height=st.integers(1, 4000))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_tokens_of_any_size_are_those_of_the_stock_processor(
    model: str, width: int, height: int
) -> None:
    assume(max(width, height) <= MAX_RATIO * min(width, height))
    more = [1] if model == "onevision" else []
    assert PICTURES[model].tokens([height, width, *more]) == placeholders(model, width, height, 1)


def test_published_numbers_of_tokens() -> None:
    shapes = ((640, 480), (336, 336), (1024, 256))
    assert [PICTURES["next"].tokens([h, w]) for w, h in shapes] == [2340, 1176, 1890]
    assert [PICTURES["onevision"].tokens([h, w, 1]) for w, h in shapes] == [2929, 1485, 2451]
    assert PICTURES["onevision"].tokens([480, 640, 2]) == 730  # 27 × 27 and a line end


@pytest.mark.parametrize("model", PICTURES)
def test_no_picture_has_more_tokens_than_the_family_s_budget(model: str) -> None:
    vision = contract(f"llava_{model}").vision
    assert vision is not None
    more = [1] if model == "onevision" else []
    sides = range(8, 2600, 81)
    most = max(PICTURES[model].tokens([h, w, *more]) for h in sides for w in sides)
    assert vision.budget["image_tokens"] * 0.98 < most <= vision.budget["image_tokens"]


@pytest.mark.parametrize("model", PICTURES)
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (3000, 200), (1920, 1080)])
def test_a_picture_beyond_the_budget_is_scaled_down_and_keeps_its_shape(
    model: str, size: tuple[int, int]
) -> None:
    data, whole = png(*size), PICTURES[model]
    before = whole.tokens(whole.grid(data))
    # Halfway between what the picture has and the least that it can have.
    least = min(whole.tokens([*each, *whole.grid(data)[2:]]) for each in whole.sizes(size[1], size[0]))  # fmt: skip
    limit = (before + least) // 2
    bounded = whole.within({"image_tokens": limit})
    grid = bounded.grid(data)
    assert bounded.tokens(grid) <= limit
    assert grid[1] <= size[0]
    assert grid[0] <= size[1]
    assert grid[1] / grid[0] == pytest.approx(size[0] / size[1], rel=0.02)
    shown = whole.inputs(data, grid)  # training has no budget, but the encoded row's grid
    assert (shown.grid, shown.tokens) == (tuple(grid), bounded.tokens(grid))
    resized = Image.open(io.BytesIO(data)).resize((grid[1], grid[0]), whole.images.resample)
    assert torch.equal(shown.pixel_values, whole.images(images=[resized], return_tensors="pt")["pixel_values"][0])  # fmt: skip


def test_max_pixels_bound_a_picture_and_min_pixels_do_not() -> None:
    ours = PICTURES["next"]
    height, width = ours.within({"max_pixels": 100_000}).grid(png(640, 480))
    assert 30_000 < height * width <= 100_000
    assert ours.within({"max_pixels": 100}).grid(png(640, 480)) == [8, 11]
    assert ours.within({"min_pixels": 10**6}).grid(png(64, 48)) == [48, 64]
    assert ours.within({}).grid(png(64, 48)) == [48, 64]


def test_a_picture_that_cannot_fit_the_budget_is_an_error() -> None:
    with pytest.raises(
        DataError,
        match=r"640 × 480 pixels is at least \d+ tokens for this backbone, .* image_tokens: 576; set",
    ):
        PICTURES["next"].within({"image_tokens": 576}).grid(png(640, 480))
    beside = PICTURES["onevision"].within({"image_tokens": 730})
    assert beside.grid(png(640, 480), 2) == [480, 640, 2]


def test_a_picture_beside_others_has_no_tiles_in_onevision_only(folder: Any) -> None:
    data = png(40, 24)
    for family, tiles in (("llava_next", (5, 5)), ("llava_onevision", (7, 1))):
        processor = load_processor(folder(family), family)
        grids = [processor.grid(data, company) for company in (1, 2)]
        assert tuple(len(processor.image_inputs(data, g).pixel_values) for g in grids) == tiles


def test_images_beyond_the_last_position_are_refused(folder: Any) -> None:
    """Tiny backbones have 1024 positions."""
    backbone = load_backbone(folder("llava_next"), "llava_next")
    with pytest.raises(ValueError, match="1025 tokens is longer than the 1024 positions"):
        pack([Segment([40] * 1025)], backbone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_grid_pinpoints": [[16, 32]]}, "image_grid_pinpoints of config.json and of the image processor"),
        ({"vision_feature_select_strategy": "full"}, "a tile has 5 features under .* 'full', and 2 × 2 patches"),
    ],
)  # fmt: skip
def test_a_folder_that_contradicts_itself_is_refused(
    change: dict[str, Any], message: str, folder: Any, tmp_path: Any
) -> None:
    for file in folder("llava_next").iterdir():
        if file.suffix in (".json", ".jinja"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=message):
        load_processor(tmp_path, "llava_next")
