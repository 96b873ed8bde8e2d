"""Real image geometry and real tokenizers: every arm, image condition and family of
plans/modality.yaml keeps its texts.

No model weights: each family's published image settings and tokenizer, on drawn pictures of real
sizes, with rows in the columns of each task's real source and texts of real lengths.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import transformers
from PIL import Image

from xstilts.data.encode import encode
from xstilts.data.encoded import EncodedRows
from xstilts.data.image_conditions import apply_condition
from xstilts.data.records import read_rows, write_records
from xstilts.data.sequence import IGNORED
from xstilts.data.wording import verbalize
from xstilts.models.families import contract
from xstilts.models.llava import tokens_per_image
from xstilts.models.picture_inputs import FixedPictures, GridPictures
from xstilts.models.processor import Processor
from xstilts.models.tiled_pictures import TiledPictures
from xstilts.plan.backbone_plan import BackbonePlan
from xstilts.plan.load import load_plan
from xstilts.plan.schema import Plan
from xstilts.plan.step_recipes import Recipes
from xstilts.plan.tables import Tables
from xstilts.step import Step
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import SHOWN, Example

PLAN = Path(__file__).parents[2] / "pipelines" / "plans" / "modality.yaml"
SIZES = ((640, 480), (336, 336), (1024, 256))
#: (family, size) → tokens of a picture: LLaVA-1.5 24 × 24; Qwen2.5-VL rounds each side to 28
#: pixels. LLaVA-NeXT and OneVision: a thumbnail of 24 × 24 or 27 × 27, the rows and columns of the
#: tiles without padding, and the ends of the rows.
TOKENS = {
    **{("llava", size): 576 for size in SIZES},
    ("qwen2_5_vl", (640, 480)): 23 * 17, ("qwen2_5_vl", (336, 336)): 12 * 12, ("qwen2_5_vl", (1024, 256)): 37 * 9,
    ("llava_next", (640, 480)): 24**2 + 36 * 49, ("llava_next", (336, 336)): 24**2 + 24 * 25,
    ("llava_next", (1024, 256)): 24**2 + 18 * 73, ("llava_onevision", (640, 480)): 27**2 + 40 * 55,
    ("llava_onevision", (336, 336)): 27**2 + 27 * 28, ("llava_onevision", (1024, 256)): 27**2 + 21 * 82,
}  # fmt: skip
#: OneVision shows a picture beside others without tiles.
BESIDE_OTHERS = {"llava_onevision": 27**2 + 1}
TOKENIZERS = {
    "xlm_r": "xlm-roberta-tokenizer",
    "llama": "llama2-tokenizer",
    "qwen2": "qwen2-tokenizer",
    "llava": "llama2-tokenizer",
    "llava_next": "llama2-tokenizer",
    "llava_onevision": "qwen2-tokenizer",
    "qwen2_5_vl": "qwen2-tokenizer",
}
CONDITIONS = ("real", "blank", "shuffled", "removed", "caption")
PREMISE = "Two men in green shirts are standing over a stove while a woman in a red apron hands them a large pot of soup ."
LONG = (
    "The museum, which opened its doors in 1904 after the great fire, holds some twelve thousand paintings. "
    * 12
)


def picture(size: tuple[int, int], number: int) -> dict[str, Any]:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    image.putpixel((number, 0), (255, 0, 0))
    out = io.BytesIO()
    image.save(out, "PNG")
    return {"bytes": out.getvalue(), "path": f"{number}.png"}


def _entailment(number: int, image: dict[str, Any]) -> dict[str, Any]:
    return {
        "image": image, "filename": f"{number}.jpg", "premise": f"{PREMISE} ({number})", "label": number % 3,
        "hypothesis": "The people in the kitchen are preparing a meal for a large group of hungry guests .",
    }  # fmt: skip


def _captioned(number: int, image: dict[str, Any]) -> dict[str, Any]:
    caption = f"A man riding a wave on top of surfboard number {number} while several people watch him from the sandy beach."
    return {"image": image, "filename": f"COCO_{number}.jpg", "cocoid": number, "caption": caption}


def _asked(number: int, image: dict[str, Any]) -> dict[str, Any]:
    turn = {
        "user": "What is the man who stands to the left of the bus holding in his right hand?",
        "assistant": "umbrella",
    }
    return {"images": [image], "texts": [{**turn, "source": "VQAv2"}]}


def _stated(number: int, image: dict[str, Any]) -> dict[str, Any]:
    sentence = f"There are exactly {number} black squares not touching any side of the box with the yellow triangles."
    return {"identifier": f"{number}-0", "image": image, "sentence": sentence, "label": number % 2}


def _two_shown(number: int, image: dict[str, Any]) -> dict[str, Any]:
    sentence = "One image shows two dogs that face each other, and the other image shows a single dog on a leash."
    turn = {
        "user": f"{sentence} Is the statement correct? ({number})",
        "assistant": "Yes" if number % 2 else "No",
    }
    return {
        "images": [image, picture(SIZES[(number + 1) % 3], number + 20)],
        "texts": [{**turn, "source": "NLVR2"}],
    }


def _entailed(number: int) -> dict[str, Any]:
    return {
        "premise": f"{PREMISE} ({number})",
        "hypothesis": "The people are preparing a meal .",
        "label": number % 3,
    }


def _duplicate(number: int) -> dict[str, Any]:
    questions = {
        "question1": "How can I learn to play the piano by myself?",
        "question2": "How do I teach myself the piano?",
    }
    return {**questions, "label": number % 2, "idx": number}


def _ending(number: int) -> dict[str, Any]:
    context = "A man is sitting on a roof beside a ladder. He takes off his gloves and looks at the loose shingles."
    endings = [
        f"{verb} the shingles and throws them into the garden."
        for verb in ("pulls", "eats", "wraps", "paints")
    ]
    return {
        "ind": number,
        "ctx_a": context,
        "ctx_b": "he",
        "endings": endings,
        "label": str(number % 4),
        "source_id": "7",
    }


def _answered(number: int) -> dict[str, Any]:
    answers = {"text": ["1904"], "answer_start": [LONG.index("1904")]}
    question = "In which year did the museum open its doors to the public?"
    return {
        "id": str(number),
        "title": "Museum",
        "context": LONG[:900],
        "question": question,
        "answers": answers,
    }


def _commonsense(number: int) -> dict[str, Any]:
    choices = {
        "label": list("ABCDE"),
        "text": ["bank", "library", "department store", "mall", "new york city"],
    }
    question = "A revolving door is convenient for two direction travel, but it also serves as a security measure at a what?"
    return {
        "id": str(number),
        "question": question,
        "question_concept": "door",
        "choices": choices,
        "answerKey": "A",
    }


ROWS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "snli_ve": _entailment, "coco_captions": _captioned, "vqa_v2": _asked, "nlvr": _stated, "commonsense_qa": _commonsense,
    "nlvr2": _two_shown, "snli": _entailed, "qqp": _duplicate, "hellaswag": _ending, "squad": _answered,
    "text_lm": lambda number: {"text": LONG},
}  # fmt: skip


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(PLAN)


@pytest.fixture(scope="module")
def processors(real_tokenizers: Path) -> Mapping[str, Processor]:
    """Family → its real tokenizer and the image settings that its makers publish: LLaVA-1.5's
    CLIP 336/14, LLaVA-1.6's five shapes of tiles, OneVision's SigLIP 384/14 with up to 6 × 6 tiles,
    Qwen2.5-VL's folder with 4 to 16,384 tokens a picture.
    """
    load = transformers.AutoTokenizer.from_pretrained
    loaded = {folder: load(real_tokenizers / folder) for folder in set(TOKENIZERS.values())}
    of = {name: loaded[folder] for name, folder in TOKENIZERS.items()}
    of["llava_onevision"] = load(real_tokenizers / TOKENIZERS["llava_onevision"])
    clip = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    config = transformers.LlavaConfig()  # LLaVA-1.5 7B
    of["llava_onevision"].add_tokens(["<image>"], special_tokens=True)
    tiles = transformers.LlavaNextImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    nine = transformers.LlavaOnevisionImageProcessorPil()
    qwen = transformers.Qwen2VLImageProcessorPil(min_pixels=4 * 28 * 28, max_pixels=16384 * 28 * 28)
    return {
        **{name: Processor(name, of[name]) for name in ("xlm_r", "llama", "qwen2")},
        "llava_next": Processor("llava_next", of["llava_next"], TiledPictures(tiles, 24)),
        "llava_onevision": Processor("llava_onevision", of["llava_onevision"], TiledPictures(nine, 27, 9, True)),
        "llava": Processor("llava", of["llava"], FixedPictures(clip, tokens_per_image(config, clip))),
        "qwen2_5_vl": Processor("qwen2_5_vl", of["qwen2_5_vl"], GridPictures(qwen)),
    }  # fmt: skip


@pytest.fixture(scope="module")
def examples() -> Mapping[str, list[Example]]:
    """Task → twelve examples of its own `to_example`, four pictures of each size."""
    pictures = [picture(SIZES[number % 3], number) for number in range(12)]
    made = {}
    for name, row in ROWS.items():
        shown = TASKS[name].modality == "image"
        rows = [row(number, pictures[number]) if shown else row(number) for number in range(12)]
        made[name], bad, dropped = read_rows(TASKS[name], rows, range(12), "en", None)
        assert (len(made[name]), bad, dropped) == (12, [], 0)
    return made


def arms(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """(task, objective, image condition) of every arm, and of every image task under every
    condition and objective.
    """
    for arm in plan.arms.values():
        yield from ((part.task, part.objective or "head", arm.images) for part in arm.parts)
    for task in (TASKS[name] for name in ROWS):
        if task.modality == "image":
            yield from (
                (task.name, objective, images)
                for objective in task.objectives
                for images in CONDITIONS
            )


def test_the_rows_below_cover_every_task_of_the_plan(plan: Plan) -> None:
    assert {task for task, _, _ in arms(plan)} == set(ROWS)


@pytest.mark.parametrize("family", TOKENIZERS)
def test_every_arm_and_image_condition_keeps_its_texts_and_images(
    plan: Plan,
    processors: Mapping[str, Processor],
    examples: Mapping[str, list[Example]],
    family: str,
    tmp_path: Path,
) -> None:
    backbone = BackbonePlan.model_validate(
        {"hub": "o/m", "family": family, "tuning": {"mode": "lora"}}
    )
    recipes, of = Recipes(plan, Tables.shipped()), processors[family]
    captions = {
        hashlib.sha256(data).hexdigest(): PREMISE
        for name in ROWS
        for one in examples[name]
        for data in one.images
    }
    checked = 0
    for number, (name, objective, images) in enumerate(dict.fromkeys(arms(plan))):
        task = TASKS[name]
        if of.pictures is None and task.modality == "image" and images in SHOWN:
            continue
        shown = (
            apply_condition(examples[name], images, captions)
            if task.modality == "image"
            else examples[name]
        )
        spec = {
            "task": name, "split": "train", "language": "en", "objective": objective, "family": family, "subtoken": "last",
            "lengths": recipes.lengths(name, backbone, objective), "image_budget": recipes.image_budget(name, backbone),
        }  # fmt: skip
        folder = tmp_path / str(number)
        records = write_records(shown, folder)["records.parquet"]
        files, info = encode(Step("encode", spec), records, of, folder)
        rows = EncodedRows(files["encoded.parquet"])
        assert (info["bad_rows"], info["truncated"]) == (0, 0), (name, objective, images)
        if name == "text_lm":
            assert len(rows) > len(shown)
            continue
        assert len(rows) == len(shown)
        for example, row in zip(shown, rows.rows(range(len(rows))), strict=True):
            check_texts(of, example, name, objective, row)
            sizes = [Image.open(io.BytesIO(data)).size for data in example.images]
            pictured = sum(
                BESIDE_OTHERS[family]
                if len(sizes) > 1 and family in BESIDE_OTHERS
                else TOKENS[family, size]
                for size in sizes
            )
            token = of.image_token_id if of.pictures else -1
            assert [segment.count(token) for segment in row.segments] == [pictured] * len(
                row.segments
            )
            checked += 1
    assert checked >= (300 if of.pictures else 120)


def check_texts(of: Processor, example: Example, name: str, objective: str, row: Any) -> None:
    """The row reads, in this order, as its texts, instruction and answer do; an answer in words
    is trained token by token.
    """
    special = {of.tokenizer.mask_token_id, of.image_token_id if of.pictures else None}
    read = [
        _letters(of.tokenizer.decode([t for t in segment if t not in special]))
        for segment in row.segments
    ]
    if objective == "head":
        assert all(
            _letters(text or "") in segment
            for text in (example.text, example.text_pair)
            for segment in read
        )
        return
    words = verbalize(TASKS[name], example)
    if (
        not words.texts and of.family == "xlm_r"
    ):  # a caption without its picture: some of its tokens are masked
        given = zip(row.segments[0], row.labels, strict=True)
        trained = [token if label == IGNORED else label for token, label in given][1:-1]
    else:
        assert _letters("".join([*(text for text, _ in words.texts), words.instruction])) in read[0]
        trained = [label for label in row.labels if label != IGNORED]
    end = [] if of.family == "xlm_r" else [of.tokenizer.eos_token_id]
    assert trained == [*of.tokenizer(words.answer, add_special_tokens=False)["input_ids"], *end]


def _letters(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("family", ["llava", "llava_next", "llava_onevision", "qwen2_5_vl"])
def test_the_usual_picture_of_cost_estimates_is_that_of_the_processors(
    processors: Mapping[str, Processor], family: str
) -> None:
    of, size = processors[family], (640, 480)
    data, vision = picture(size, 0)["bytes"], of.contract.vision
    assert vision is not None
    assert vision.usual.tokens == TOKENS[family, size]
    assert (vision.usual.beside or vision.usual.tokens) == BESIDE_OTHERS.get(
        family, TOKENS[family, size]
    )
    pixels = of.image_inputs(data, of.grid(data)).pixel_values
    if vision.usual.tiles:
        assert pixels.shape[0] == vision.usual.tiles
    else:
        assert pixels.shape[0] == 4 * vision.usual.tokens  # patches, merged 2 × 2


@pytest.mark.parametrize(
    ("family", "side"), [("qwen2_vl", 28), ("qwen3_vl", 32), ("qwen3_vl_moe", 32)]
)
def test_the_usual_picture_of_other_qwen_families(family: str, side: int) -> None:
    """Each side is rounded to tokens of 28 or 32 pixels; 640 × 480 is within the bounds."""
    vision = contract(family).vision
    assert vision is not None
    assert vision.usual.tokens == round(640 / side) * round(480 / side)
    assert vision.usual.tiles == 0


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
@pytest.mark.parametrize("size", SIZES)
def test_pixels_fill_the_tokens_that_encoding_counted(
    plan: Plan, processors: Mapping[str, Processor], family: str, size: tuple[int, int]
) -> None:
    """Encoding has the recipe's budget, training the model folder's settings and the row's grid."""
    backbone = next(one for one in plan.backbones.values() if one.family == family)
    data = picture(size, 0)["bytes"]
    encoding = processors[family].within(
        Recipes(plan, Tables.shipped()).image_budget("vqa_v2", backbone)
    )
    grid = encoding.grid(data)
    inputs = processors[family].image_inputs(data, grid)
    assert (
        inputs.tokens
        == TOKENS[family, size]
        == encoding.image_placeholder(data).count(encoding.image_token_id)
    )
    if family == "qwen2_5_vl":
        assert inputs.pixel_values.shape[0] == 4 * inputs.tokens  # patches of 14, merged 2 × 2
    else:
        assert inputs.pixel_values.shape == (1, 3, 336, 336)
