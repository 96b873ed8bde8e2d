"""Pictures become what the towers take, with no torchvision."""

import importlib.util
import io
import subprocess
import sys

import pytest
import torch
import transformers
from PIL import Image

from xstilts.models.processor import image_only, load_processor


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
    kinds = {"llava": transformers.LlavaProcessor, "qwen_vl": image_only(transformers.Qwen2_5_VLProcessor)}
    for family, kind in kinds.items():
        data, stock = picture(40, 24), kind.from_pretrained(folder(family))
        ours = load_processor(folder(family), family)
        made = stock(text=["<image>" if family == "llava" else "<|image_pad|>"], images=[Image.open(io.BytesIO(data))],
                     return_tensors="pt")  # fmt: skip
        shown = ours.image_inputs(data)
        assert torch.equal(made["pixel_values"], shown.pixel_values)
        assert int((made["input_ids"] == ours.image_token_id).sum()) == shown.tokens


def test_transparent_and_grey_pictures(folder):
    processor = load_processor(folder("llava"), "llava")
    for mode in ("RGBA", "L", "P"):
        out = io.BytesIO()
        Image.new(mode, (20, 20), 3).save(out, "PNG")
        assert processor.image_inputs(out.getvalue()).pixel_values.shape == (1, 3, 16, 16)


def test_text_families_and_bad_bytes_are_refused(folder):
    with pytest.raises(ValueError, match="xlm_r takes no pictures"):
        load_processor(folder("xlm_r"), "xlm_r").image_inputs(b"")
    with pytest.raises(OSError, match="cannot identify"):
        load_processor(folder("llava"), "llava").image_inputs(b"no picture")
    with pytest.raises(ValueError, match="not one of xlm_r"):
        load_processor(folder("llava"), "bert")


def test_the_stock_processor_needs_the_fix_without_torchvision(folder):
    if importlib.util.find_spec("torchvision"):
        pytest.skip("torchvision is here: the stock class loads")
    with pytest.raises((OSError, AttributeError)):
        transformers.AutoProcessor.from_pretrained(folder("qwen_vl"))
    assert image_only(transformers.Qwen2_5_VLProcessor).__name__ == "Qwen2_5_VLProcessor"
