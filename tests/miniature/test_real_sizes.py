"""The miniature with pictures and texts of real sizes: the same rows, but larger."""

import hashlib
import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from xstilts.miniature.splits import Sizes
from xstilts.miniature.write import write_miniature

SIZES = Sizes(text=4, train=8, select=4, test=6, pictures=60)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("small", "real")}
    for name, folder in folders.items():
        write_miniature(folder, languages=["en", "qaa"], sizes=SIZES, pictures=name)
    return folders


def rows(folder: Path, name: str) -> list[dict]:
    return pq.read_table(folder / f"{name}-00000-of-00001.parquet").to_pylist()


def shown(row: dict) -> list[bytes]:
    images = row.get("images") or ([row["image"]] if row.get("image") else [])
    return [image["bytes"] for image in images]


PICTURES = (
    ("jxie/coco_captions/default/train", (640, 480)), ("Multimodal-Fatima/SNLI-VE_train/default/train", (500, 375)),
    ("HuggingFaceM4/the_cauldron/vqav2/train", (427, 640)), ("HuggingFaceM4/the_cauldron/nlvr2/train", (1024, 768)),
)  # fmt: skip


@pytest.mark.parametrize(("name", "size"), PICTURES)
def test_pictures_have_the_sizes_of_their_data_set(written, name, size):
    sizes = [
        Image.open(io.BytesIO(data)).size
        for row in rows(written["real"], name)
        for data in shown(row)
    ]
    assert size in sizes
    if name.endswith(("coco_captions/default/train", "nlvr2/train")):
        assert {(3000, 200), (32, 32), (200, 3000)} <= set(sizes)
    assert {(56, 56)} == {
        Image.open(io.BytesIO(data)).size
        for row in rows(written["small"], name)
        for data in shown(row)
    }


@pytest.mark.parametrize("name", [name for name, _ in PICTURES])
def test_texts_begin_with_those_of_the_miniature_and_answers_stay(written, name):
    small, real = (rows(written[key], name) for key in ("small", "real"))
    assert len(small) == len(real)
    words = []
    for before, after in zip(small, real, strict=True):
        assert before.get("label") == after.get("label")
        for key in ("caption", "premise", "hypothesis"):
            if isinstance(before.get(key), str):
                assert after[key].startswith(before[key])
                words.append(len(after[key].split()))
        for old, new in zip(before.get("texts") or (), after.get("texts") or (), strict=True):
            assert new["user"].startswith(old["user"])
            assert new["assistant"] == old["assistant"]
            words.append(len(new["user"].split()))
    assert min(words) >= 8
    assert max(words) >= 45


def test_a_picture_that_several_rows_show_stays_one_picture(written):
    name = "Multimodal-Fatima/SNLI-VE_train/default/train"
    by_image: dict[int, set[bytes]] = {}
    for row in rows(written["real"], name):
        by_image.setdefault(row["id_image"], set()).update(shown(row))
    assert all(len(pictures) == 1 for pictures in by_image.values())
    assert len(set.union(*by_image.values())) == len(by_image)


def test_the_mirror_has_a_caption_for_every_picture(written):
    captions = {row["sha256"] for row in rows(written["real"], "captions/nlvr2/train")}
    pictures = {
        hashlib.sha256(data).hexdigest()
        for row in rows(written["real"], "HuggingFaceM4/the_cauldron/nlvr2/train")
        for data in shown(row)
    }
    assert pictures == captions


def test_contexts_are_paragraphs_and_answers_stay_in_their_place(written):
    lengths = {}
    for language in ("en", "qaa"):
        for row in rows(written["real"], f"google/xquad/xquad.{language}/validation"):
            (answer,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
            assert row["context"][start : start + len(answer)] == answer
            lengths.setdefault(language, []).append(len(row["context"].split()))
    assert lengths["en"] == lengths["qaa"]  # parallel, word for word
    assert min(lengths["en"]) >= 80
    assert max(lengths["en"]) >= 400


def test_boxes_move_with_their_picture(written):
    small, real = (rows(written[key], "lmms-lab/RefCOCO/default/val") for key in ("small", "real"))
    for before, after in zip(small, real, strict=True):
        size = Image.open(io.BytesIO(shown(after)[0])).size
        shares = [
            [value / side for value, side in zip(row["bbox"], (*sides, *sides), strict=True)]
            for row, sides in ((before, (56, 56)), (after, size))
        ]
        assert shares[0] == pytest.approx(shares[1])
