"""What the rows of each image condition contain."""

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from xstilts.data.image_conditions import apply_condition
from xstilts.data.records import read_rows
from xstilts.errors import DataError
from xstilts.miniature.splits import has_rows
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


def test_blank_keeps_the_size_and_has_one_color() -> None:
    half = Image.new("RGB", (6, 4), "white")
    half.paste((0, 0, 0), (0, 0, 3, 4))
    out = io.BytesIO()
    half.save(out, "PNG")
    (after,) = apply_condition([Example(id="0", images=(out.getvalue(),))], "blank")
    with Image.open(io.BytesIO(after.images[0])) as picture:
        assert picture.size == (6, 4)
        assert picture.getcolors() == [(24, (128, 128, 128))]


def test_shuffled_gives_every_row_another_image_deterministically() -> None:
    before = rows()
    after = apply_condition(before, "shuffled")
    assert all(example.images != other.images for example, other in zip(before, after, strict=True))
    assert sorted(example.images for example in before) == sorted(
        example.images for example in after
    )
    assert after == apply_condition(before, "shuffled")


def test_rows_with_the_same_image_stay_together_when_shuffled() -> None:
    red, blue = png("red"), png("blue")
    before = [Example(id=str(i), images=(data,)) for i, data in enumerate((red, red, blue))]
    assert [example.images for example in apply_condition(before, "shuffled")] == [
        (blue,),
        (blue,),
        (red,),
    ]


def test_removed_keeps_the_text() -> None:
    after = apply_condition(rows(1), "removed")[0]
    assert (after.images, after.text) == ((), "hypothesis 0")


def test_with_captions_visual_entailment_rows_equal_those_of_snli() -> None:
    after = apply_condition(rows(1), "caption")[0]
    assert (after.text, after.text_pair, after.images) == ("premise 0", "hypothesis 0", ())


def test_a_caption_is_added_to_the_context_and_keeps_the_question() -> None:
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
    (shown,) = apply_condition([example], "caption")
    assert (shown.text, shown.question, shown.images) == ("a red square a hint", "who ?", ())


def test_rows_without_captions_are_refused() -> None:
    with pytest.raises(DataError, match="no caption for the image of 1 row, such as"):
        apply_condition([Example(id="7", text="x", images=(png("red"),))], "caption")


def test_captions_of_a_mirror_are_found_by_the_sha256_of_the_image() -> None:
    red, blue = png("red"), png("blue")
    captions = {
        hashlib.sha256(data).hexdigest(): text
        for data, text in ((red, "a red square"), (blue, "a blue one"))
    }
    before = [
        Example(id="7", text="which colour?", targets=("red",), images=(red,)),
        Example(id="8", text="same?", label=0, images=(red, blue)),
    ]
    after = apply_condition(before, "caption", captions)
    assert [(example.text, example.question, example.text_pair, example.images) for example in after] == [
        ("a red square", "which colour?", None, ()), ("a red square a blue one", None, "same?", ())
    ]  # fmt: skip


def test_the_caption_of_a_row_is_preferred_over_the_mirror_s() -> None:
    captions = {hashlib.sha256(rows(1)[0].images[0]).hexdigest(): "something else"}
    assert apply_condition(rows(1), "caption", captions) == apply_condition(rows(1), "caption")


def test_a_row_with_a_caption_for_only_one_of_two_images_is_refused() -> None:
    red, blue = png("red"), png("blue")
    with pytest.raises(DataError, match="no caption for the image of 1 row, such as"):
        apply_condition(
            [Example(id="8", text="x", images=(red, blue))],
            "caption",
            {hashlib.sha256(red).hexdigest(): "a"},
        )


def test_a_single_image_cannot_be_shuffled() -> None:
    with pytest.raises(DataError, match="fewer than two"):
        apply_condition(rows(1), "shuffled")


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniature")
    write_miniature(folder, sizes=Sizes(text=16, train=24, select=6, test=6, pictures=60))
    return folder


@pytest.mark.parametrize(
    "name", [name for name, task in TASKS.items() if task.modality == "image" and has_rows(task)]
)
def test_every_image_task_has_the_same_rows_in_every_condition(name: str, miniature: Path) -> None:
    table = load_rows(open_mirror(str(miniature)), TASKS[name].splits["train"], "en")
    before, bad, _ = read_rows(TASKS[name], table, range(len(table)), "en", None)
    assert before
    assert not bad
    captions = {}
    if not TASKS[name].captioned:
        table = load_rows(
            open_mirror(str(miniature)), Source(f"captions/{name}", None, "train"), "en"
        )
        captions = dict(zip(table["sha256"], table["caption"], strict=True))
    for condition in ("blank", "shuffled", "removed", "caption"):
        after = apply_condition(before, condition, captions)
        assert [
            (example.id, example.label, example.targets, example.choices) for example in after
        ] == [(example.id, example.label, example.targets, example.choices) for example in before]
        shown = [len(example.images) for example in after]
        assert shown == (
            [0] * len(before)
            if condition in ("removed", "caption")
            else [len(example.images) for example in before]
        )
        if condition in ("blank", "shuffled"):
            assert all(
                example.images != other.images for example, other in zip(after, before, strict=True)
            )
