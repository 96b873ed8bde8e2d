"""The image ladder: what each rung shows."""

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from xstilts.data.image_conditions import with_images
from xstilts.data.records import read_rows
from xstilts.errors import DataError
from xstilts.miniature.write import Sizes, write_miniature
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import open_mirror
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example, Source


def png(colour: str, size: tuple[int, int] = (6, 4)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def rows(count: int = 4) -> list[Example]:
    colours = ("red", "blue", "green", "white")
    return [
        Example(
            id=str(i),
            text=f"hypothesis {i}",
            label=0,
            images=(png(colours[i]),),
            caption=f"premise {i}",
        )
        for i in range(count)
    ]


def test_blank_keeps_the_size_and_shows_one_colour() -> None:
    half = Image.new("RGB", (6, 4), "white")
    half.paste((0, 0, 0), (0, 0, 3, 4))
    out = io.BytesIO()
    half.save(out, "PNG")
    (found,) = with_images([Example(id="0", images=(out.getvalue(),))], "blank")
    with Image.open(io.BytesIO(found.images[0])) as picture:
        assert picture.size == (6, 4)
        assert picture.getcolors() == [(24, (128, 128, 128))]


def test_shuffled_gives_every_row_another_picture_and_the_same_again() -> None:
    given = rows()
    found = with_images(given, "shuffled")
    assert all(one.images != other.images for one, other in zip(given, found, strict=True))
    assert sorted(one.images for one in given) == sorted(one.images for one in found)
    assert found == with_images(given, "shuffled")


def test_rows_of_one_picture_stay_together_when_shuffled() -> None:
    red, blue = png("red"), png("blue")
    given = [Example(id=str(i), images=(data,)) for i, data in enumerate((red, red, blue))]
    assert [one.images for one in with_images(given, "shuffled")] == [(blue,), (blue,), (red,)]


def test_removed_leaves_the_text() -> None:
    found = with_images(rows(1), "removed")[0]
    assert (found.images, found.text) == ((), "hypothesis 0")


def test_the_caption_makes_visual_entailment_the_row_of_snli() -> None:
    found = with_images(rows(1), "caption")[0]
    assert (found.text, found.text_pair, found.images) == ("premise 0", "hypothesis 0", ())


def test_a_caption_joins_the_context_and_leaves_the_question_as_it_is() -> None:
    """The context may be cut and the question may not, so all image conditions have the same bad
    rows.
    """
    example = Example(
        id="0",
        text="a hint",
        question="who ?",
        choices=("a", "b"),
        images=(png("red"),),
        caption="a red square",
        label=0,
    )
    (shown,) = with_images([example], "caption")
    assert (shown.text, shown.question, shown.images) == ("a red square a hint", "who ?", ())


def test_rows_without_captions_are_refused() -> None:
    with pytest.raises(DataError, match="1 rows have no caption"):
        with_images([Example(id="7", text="x", images=(png("red"),))], "caption")


def test_captions_of_the_user_s_stand_for_pictures_by_their_bytes() -> None:
    red, blue = png("red"), png("blue")
    captions = {
        hashlib.sha256(data).hexdigest(): text
        for data, text in ((red, "a red square"), (blue, "a blue one"))
    }
    given = [
        Example(id="7", text="which colour?", targets=("red",), images=(red,)),
        Example(id="8", text="same?", label=0, images=(red, blue)),
    ]
    found = with_images(given, "caption", captions)
    assert [(one.text, one.question, one.text_pair, one.images) for one in found] == [
        ("a red square", "which colour?", None, ()), ("a red square a blue one", None, "same?", ())
    ]  # fmt: skip


def test_a_row_s_own_caption_comes_before_the_user_s() -> None:
    captions = {hashlib.sha256(rows(1)[0].images[0]).hexdigest(): "something else"}
    assert with_images(rows(1), "caption", captions) == with_images(rows(1), "caption")


def test_a_picture_of_two_without_words_is_refused() -> None:
    red, blue = png("red"), png("blue")
    with pytest.raises(DataError, match="1 rows have no caption"):
        with_images(
            [Example(id="8", text="x", images=(red, blue))],
            "caption",
            {hashlib.sha256(red).hexdigest(): "a"},
        )


def test_one_picture_cannot_be_shuffled() -> None:
    with pytest.raises(DataError, match="fewer than two"):
        with_images(rows(1), "shuffled")


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniature")
    write_miniature(folder, sizes=Sizes(text=16, train=24, select=6, test=6, pictures=60))
    return folder


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.modality == "image"])
def test_every_image_task_stands_on_every_rung_with_the_same_rows(
    name: str, miniature: Path
) -> None:
    table = load_rows(open_mirror(str(miniature)), TASKS[name].splits["train"], "en")
    given, bad, _ = read_rows(TASKS[name], table, range(len(table)), "en", None)
    assert given
    assert not bad
    captions = {}
    if not TASKS[name].captioned:
        table = load_rows(
            open_mirror(str(miniature)), Source(f"captions/{name}", None, "train"), "en"
        )
        captions = dict(zip(table["sha256"], table["caption"], strict=True))
    for rung in ("blank", "shuffled", "removed", "caption"):
        found = with_images(given, rung, captions)
        assert [(one.id, one.label, one.targets, one.choices) for one in found] == [
            (one.id, one.label, one.targets, one.choices) for one in given
        ]
        shown = [len(one.images) for one in found]
        assert shown == (
            [0] * len(given)
            if rung in ("removed", "caption")
            else [len(one.images) for one in given]
        )
        if rung in ("blank", "shuffled"):
            assert all(one.images != other.images for one, other in zip(found, given, strict=True))
