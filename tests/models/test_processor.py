"""Images become what vision towers take, without torchvision."""

import importlib.util
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from xstilts.data.image_conditions import blank
from xstilts.errors import DataError
from xstilts.miniature.backbones import build_tiny, save
from xstilts.models import processor as processor_module
from xstilts.models.backbone import load_backbone
from xstilts.models.batch import Segment, pack
from xstilts.models.families import FAMILIES
from xstilts.models.llava import tokens_per_image
from xstilts.models.processor import load_processor
from xstilts.models.qwen_vl import image_only
from xstilts.models.special_tokens import from_template
from xstilts.tasks.pictures import size_of, upright


def test_it_works_where_torchvision_cannot_be_imported(folder, picture, tmp_path):
    (tmp_path / "picture.png").write_bytes(picture(40, 24))
    code = f"""
import sys; sys.modules["torchvision"] = None
from pathlib import Path; from xstilts.models.processor import load_processor
data = Path({str(tmp_path / "picture.png")!r}).read_bytes()
for family, where in (("llava", {str(folder("llava"))!r}), ("qwen_vl", {str(folder("qwen_vl"))!r})):
    print(family, load_processor(where, family).image_inputs(data).tokens)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["llava 4", "qwen_vl 15"]


@pytest.mark.parametrize(("width", "height"), [(16, 16), (40, 24), (60, 80), (300, 40), (7, 9)])
def test_sizes_tokens_and_placeholders_agree(width, height, folder, picture):
    data = picture(width, height)
    llava, qwen = (load_processor(folder(f), f) for f in ("llava", "qwen_vl"))
    shown = llava.image_inputs(data)
    assert shown.pixel_values.shape == (1, 3, 16, 16)
    assert (shown.grid, shown.tokens, llava.grid(data)) == ((), 4, [])
    assert llava.image_placeholder(data) == [llava.image_token_id] * 4 + llava.newline
    assert llava.tokenizer.decode(llava.newline).strip(" ") == "\n"

    shown = qwen.image_inputs(data)
    assert list(shown.grid) == qwen.grid(data)
    assert shown.pixel_values.shape == (shown.grid[1] * shown.grid[2], 3 * 2 * 4 * 4)
    assert shown.tokens == shown.grid[1] * shown.grid[2] // 4 <= 16
    text = qwen.tokenizer.decode(qwen.image_placeholder(data))
    assert text == "<|vision_start|>" + "<|image_pad|>" * shown.tokens + "<|vision_end|>"


def test_pixels_and_tokens_are_those_of_the_stock_processor(folder, picture):
    kinds = {
        "llava": transformers.LlavaProcessor,
        "qwen_vl": image_only(transformers.Qwen2_5_VLProcessor),
    }
    for family, kind in kinds.items():
        data, stock = picture(40, 24), kind.from_pretrained(folder(family))
        ours = load_processor(folder(family), family)
        made = stock(text=["<image>" if family == "llava" else "<|image_pad|>"], images=[Image.open(io.BytesIO(data))],
                     return_tensors="pt")  # fmt: skip
        shown = ours.image_inputs(data)
        assert torch.equal(made["pixel_values"], shown.pixel_values)
        assert int((made["input_ids"] == ours.image_token_id).sum()) == shown.tokens


def saved(image, kind="PNG", **more):
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_pixels_the_grid_and_the_blank_picture(
    kind, orientation, folder
):
    """A picture that is 24 × 40 when shown, its left half red and its right half blue, stored in
    each of the eight ways.
    """
    shown = Image.new("RGB", (24, 40), "red")
    shown.paste((0, 0, 255), (12, 0, 24, 40))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    exif = Image.Exif()
    exif[274] = orientation
    stored = shown.transpose(undo[orientation]) if orientation > 1 else shown
    lossless = (
        {"lossless": True}
        if kind == "WEBP"
        else {"quality": 100, "subsampling": 0}
        if kind == "JPEG"
        else {}
    )
    data = saved(stored, kind, exif=exif, **lossless)
    read = upright(data)
    assert read.size == size_of(data) == (24, 40)
    assert [read.getpixel(at)[0] > 200 for at in ((2, 2), (2, 37), (21, 2), (21, 37))] == [
        True,
        True,
        False,
        False,
    ]
    qwen = load_processor(folder("qwen_vl"), "qwen_vl")
    assert qwen.grid(data) == qwen.grid(saved(shown)) == list(qwen.image_inputs(data).grid)
    assert size_of(blank(data)) == (24, 40)


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    assert np.asarray(upright(saved(Image.fromarray(values))))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_float_grey_is_read_where_its_range_is_known():
    unit, bytes_ = (np.array([[0, top / 2, top]], dtype=np.float32) for top in (1.0, 255.0))
    for values in (unit, bytes_):
        assert np.asarray(upright(saved(Image.fromarray(values), "TIFF")))[0, :, 0].tolist() == [
            0,
            128,
            255,
        ]
    with pytest.raises(ValueError, match="no known range"):
        upright(saved(Image.fromarray(unit * 70_000), "TIFF"))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_shown_on_white(mode):
    clear, more = ((0,), {"transparency": 0}) if mode == "P" else ((0,) * len(mode), {})
    data = saved(Image.new(mode, (4, 4), clear if len(clear) > 1 else 0), **more)
    assert upright(data).getpixel((1, 1)) == (255, 255, 255)


def test_a_budget_of_pixels_or_tokens_bounds_every_picture(folder, picture):
    """Tokens of 8 × 8 pixels; the folder allows 16 of them."""
    qwen = load_processor(folder("qwen_vl"), "qwen_vl")
    for width, height in [(40, 24), (640, 480), (1, 200), (200, 1), (2000, 11), (3, 3)]:
        data = picture(width, height)
        for most in (1, 3, 16, 64):
            bounded = qwen.within(
                {"image_tokens": most, "min_pixels": None, "max_pixels": 640 * 480}
            )
            grid = bounded.grid(data)
            assert 1 <= grid[1] * grid[2] // 4 <= most
            assert (
                qwen.image_inputs(data, grid).tokens == grid[1] * grid[2] // 4
            )  # training has the folder's bounds
    assert qwen.within({"max_pixels": 12 * 64}).grid(picture(640, 480)) == [1, 6, 8]
    assert qwen.within({"min_pixels": 12 * 64}).grid(picture(8, 8)) == [1, 8, 8]
    assert qwen.within({}).grid(picture(640, 480)) == qwen.grid(picture(640, 480))


def test_pictures_of_a_fixed_size_must_fit_the_budget(folder):
    llava = load_processor(folder("llava"), "llava")
    assert llava.within({"image_tokens": 4}).pictures.count == 4
    with pytest.raises(
        DataError,
        match=r"each image is 4 tokens for this backbone, .* image_tokens: 3; set image_tokens",
    ):
        llava.within({"image_tokens": 3})


def test_pixels_that_do_not_fill_the_encoded_grid_are_refused(folder, picture):
    qwen = load_processor(folder("qwen_vl"), "qwen_vl")
    with pytest.raises(
        ValueError,
        match=r"fills \(1, 6, 10\) patches \(t, h, w\), and its encoded row has \(2, 6, 10\)",
    ):
        qwen.image_inputs(picture(40, 24), [2, 6, 10])


TOWERS = {
    "clip": (transformers.CLIPVisionConfig, 1),
    "siglip": (transformers.SiglipVisionConfig, 0),
}


@pytest.mark.parametrize(("tower", "strategy", "tokens"), [
    ("clip", "default", 9), ("clip", "full", 10), ("siglip", "full", 9), ("siglip", "default", 8),
])  # fmt: skip
def test_tokens_of_an_image_follow_the_tower_s_size_and_class_token(
    tower, strategy, tokens, folder, picture, tmp_path
):
    """A stock LLaVA of either tower, 28 pixels in patches of 9: the model takes as many features
    as were counted.
    """
    tokenizer = load_processor(folder("llava"), "llava").tokenizer
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = transformers.LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, **sizes)
    vision = TOWERS[tower][0](**sizes, image_size=28, patch_size=9)
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.image_token_id, vision_feature_select_strategy=strategy,
        vision_feature_layer=-1,
    )  # fmt: skip
    square = {"height": 28, "width": 28}
    images = (
        transformers.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=square)
        if tower == "clip"
        else transformers.SiglipImageProcessorPil(size=square)
    )
    save(
        transformers.LlavaForConditionalGeneration(config),
        transformers.LlavaProcessor(images, tokenizer),
        tmp_path,
    )
    processor, backbone = load_processor(tmp_path, "llava"), load_backbone(tmp_path, "llava").eval()
    data = picture(40, 30)
    segment = Segment([*processor.image_placeholder(data), 5, 6], [processor.image_inputs(data)])
    assert processor.pictures.count == tokens
    with torch.no_grad():
        assert backbone(pack([segment], backbone)).shape[0] == len(segment.input_ids)


def test_published_towers_have_their_published_numbers_of_tokens():
    """LLaVA-1.5: 576; llava-interleave-qwen: SigLIP 384/14 under `full`, 729."""
    clip = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    assert tokens_per_image(transformers.LlavaConfig(), clip) == 576
    tower = transformers.SiglipVisionConfig(image_size=384, patch_size=14)
    config = transformers.LlavaConfig(
        vision_config=tower, vision_feature_select_strategy="full", vision_feature_layer=-1
    )
    assert (
        tokens_per_image(
            config, transformers.SiglipImageProcessorPil(size={"height": 384, "width": 384})
        )
        == 729
    )


def test_a_tower_of_another_kind_or_size_is_refused():
    clip = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}
    )
    with pytest.raises(
        ValueError, match="makes images of 224 × 224 pixels, and the vision tower takes 336 × 336"
    ):
        tokens_per_image(transformers.LlavaConfig(), clip)
    pixtral = transformers.LlavaConfig(vision_config=transformers.PixtralVisionConfig())
    with pytest.raises(
        ValueError,
        match="vision tower 'pixtral' is not supported; supported: clip_vision_model, siglip",
    ):
        tokens_per_image(pixtral, clip)


def test_transparent_and_grey_pictures(folder):
    processor = load_processor(folder("llava"), "llava")
    for mode in ("RGBA", "L", "P"):
        out = io.BytesIO()
        Image.new(mode, (20, 20), 3).save(out, "PNG")
        assert processor.image_inputs(out.getvalue()).pixel_values.shape == (1, 3, 16, 16)


def test_text_families_and_bad_bytes_are_refused(folder):
    with pytest.raises(ValueError, match="xlm_r does not take images"):
        load_processor(folder("xlm_r"), "xlm_r").image_inputs(b"")
    with pytest.raises(OSError, match="not a picture of the formats"):
        load_processor(folder("llava"), "llava").image_inputs(b"no picture")
    with pytest.raises(ValueError, match="unknown family 'ber'; known: xlm_r, xlm_r_xl, bert"):
        load_processor(folder("llava"), "ber")


@pytest.mark.parametrize("family", [name for name, of in FAMILIES.items() if not of.causal])
def test_layouts_of_encoders_are_those_of_their_tokenizers(family, folder):
    processor = load_processor(folder(family), family)
    assert processor.layout == from_template(processor.tokenizer)


def test_a_tokenizer_without_a_template_is_refused(folder):
    tokenizer = load_processor(folder("qwen_vl"), "qwen_vl").tokenizer
    with pytest.raises(ValueError, match="puts no special tokens around a text; add a post-proc"):
        from_template(tokenizer)


def test_a_sentencepiece_tokenizer_without_the_library_is_an_error(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(processor_module, "find_spec", lambda name: None)
    for file in folder("llama").iterdir():
        if file.name != "tokenizer.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(DataError, match=r"has tokenizer\.model and no tokenizer\.json; install"):
        load_processor(tmp_path, "llama")
    (tmp_path / "tokenizer.json").write_bytes((folder("llama") / "tokenizer.json").read_bytes())
    assert load_processor(tmp_path, "llama").unknown_word == 0


def test_the_stock_processor_needs_the_fix_without_torchvision(folder):
    if importlib.util.find_spec("torchvision"):
        pytest.skip("torchvision is here: the stock class loads")
    with pytest.raises((OSError, AttributeError)):
        transformers.AutoProcessor.from_pretrained(folder("qwen_vl"))
    assert image_only(transformers.Qwen2_5_VLProcessor).__name__ == "Qwen2_5_VLProcessor"


@pytest.mark.parametrize("family", ["xlm_r", "bert", "llama"])
def test_the_longest_sequence_fits_the_positions_of_the_model(family, tmp_path) -> None:
    """XLM-R leaves its first positions unused."""
    where = build_tiny(
        family,
        0,
        ["the big dog"] * 5,
        {"hidden": 32, "layers": 1, "max_length": 64},
        tmp_path / "m",
    )
    processor, backbone = load_processor(where, family), load_backbone(where, family)
    assert processor.max_tokens == 64
    assert len(backbone.positions(Segment([9] * 64))) == 64
    with pytest.raises(ValueError, match="a segment of 65 tokens"):
        backbone.positions(Segment([9] * 65))
