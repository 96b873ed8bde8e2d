"""Rows that cannot be used, in every format that they can come in: counted, named with a reason,
left out, never a crash.
"""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from xstilts.data.encode import encode
from xstilts.data.records import make_records, read_records, read_rows
from xstilts.errors import DataError
from xstilts.miniature.backbones import build_tiny
from xstilts.models.processor import Processor, load_processor
from xstilts.sources.json_rows import JsonRows
from xstilts.sources.mirrors import open_mirror
from xstilts.step import Step
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example

GOOD = 30
Row = dict[str, Any]


def saved(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def png() -> bytes:
    return saved(Image.new("RGB", (24, 24), "red"))


def span(context: str = "the cat sat", text: str = "cat", start: int = 4) -> Row:
    answers = {"text": [text], "answer_start": [start]}
    return {"id": "7", "title": "", "context": context, "question": "who?", "answers": answers}


def options(*texts: str | None) -> Row:
    return {
        "id": "7",
        "question": "is it?",
        "choices": {"label": ["A", "B"], "text": list(texts)},
        "answerKey": "A",
    }


def picture(data: bytes | None) -> Row:
    return {
        "identifier": "7",
        "sentence": "it is red",
        "label": 1,
        "image": {"bytes": data, "path": None},
    }


#: One task a format → a good row of it.
ROWS: dict[str, Row] = {
    "snli": {"premise": "a dog", "hypothesis": "an animal", "label": 0},
    "commonsense_qa": options("yes", "no"),
    "siqa": {
        "context": "it rained",
        "question": "why?",
        "answerA": "a",
        "answerB": "b",
        "answerC": "c",
        "label": "2",
    },
    "panx_en": {"tokens": ["anna", "sees"], "ner_tags": [1, 0]},
    "squad": span(),
    "squad_dual": span(),
    "squad_v2": span(),
    "tatoeba": {"sentence1": "hallo", "sentence2": "hello", "lang": "deu-eng"},
    "mewsli_candidates": {"entity_id": "Q1", "description": "a town"},
    "text_lm": {"text": "a line of text"},
    "nlvr": picture(png()),
    "coco_captions": {
        "cocoid": 7,
        "caption": "a red square",
        "image": {"bytes": png(), "path": None},
    },
}


def changed(task: str, **values: Any) -> Row:
    return {**ROWS[task], **values}


def without(task: str, column: str) -> Row:
    return {key: value for key, value in ROWS[task].items() if key != column}


def staged(
    folder: Path, task: str, write: Callable[[Path], None], changes: Row | None = None, **more: Any
) -> tuple[list[Example], dict[str, Any], Path]:
    """The records step over a file of the task's own layout that `write` makes: name without its
    end.
    """
    split = next(name for name in ("select", "test", "text") if name in TASKS[task].splits)
    source = TASKS[task].splits[split]
    language = TASKS[task].languages[0]
    config = source.config_for(language)
    target = folder / "mirror" / source.path / str(config)
    target.mkdir(parents=True, exist_ok=True)
    write(target / source.split)
    spec = {
        "task": task, "split": split, "language": language, "rows": None, "labels": "true",
        "source": {"path": source.path, "config": config, "split": source.split, "identity": {}},
        **(changes or {}),
    }  # fmt: skip
    files, info = make_records(
        Step("records", spec, {}, more), open_mirror(str(folder / "mirror")), folder / "out"
    )
    return read_records(files["records.parquet"]), info, files["records.parquet"]


def as_parquet(rows: list[Row]) -> Callable[[Path], None]:
    return lambda path: pq.write_table(
        pa.Table.from_pylist(rows), path.with_name(path.name + ".parquet")
    )


def as_lines(*lines: bytes) -> Callable[[Path], None]:
    return lambda path: path.with_name(path.name + ".jsonl").write_bytes(b"\n".join(lines)) and None


def line(row: Row) -> bytes:
    return json.dumps(row).encode()


IMAGES = ("nlvr", "coco_captions")
BAD = [
    # a missing field, in a format of each kind
    ("snli", without("snli", "hypothesis"), "KeyError: 'hypothesis'"),
    ("snli", changed("snli", premise=None), "premise is null"),
    ("snli", changed("snli", label=None), "label is null"),
    ("commonsense_qa", without("commonsense_qa", "choices"), "KeyError: 'choices'"),
    ("commonsense_qa", options("yes", None), "text is null"),
    ("siqa", without("siqa", "answerC"), "KeyError: 'answerC'"),
    ("panx_en", without("panx_en", "tokens"), "KeyError: 'tokens'"),
    ("panx_en", changed("panx_en", tokens=["anna", None]), "tokens is null"),
    ("squad", without("squad", "answers"), "KeyError: 'answers'"),
    ("squad", changed("squad", answers=None), "TypeError"),
    ("squad_dual", without("squad_dual", "context"), "KeyError: 'context'"),
    ("tatoeba", changed("tatoeba", sentence2=None), "sentence2 is null"),
    ("mewsli_candidates", without("mewsli_candidates", "description"), "KeyError: 'description'"),
    ("text_lm", without("text_lm", "text"), "KeyError: 'text'"),
    # a label out of range
    ("snli", changed("snli", label=7), "label 7 is not between 0 and 2"),
    ("siqa", changed("siqa", label="4"), "label 3 is not between 0 and 2"),
    ("commonsense_qa", changed("commonsense_qa", answerKey="E"), "answerKey 'E' is not one of"),
    ("panx_en", changed("panx_en", ner_tags=[1, 7]), "ner_tags 7 is not between 0 and 6"),
    ("panx_en", changed("panx_en", ner_tags=[1]), "2 tokens and 1 tags"),
    # an answer that does not stand in the context
    ("squad", span(text="dog"), "'dog' is not at character 4"),
    ("squad", span("a cat, a cat", "cat", 4), "'cat' is not at character 4"),
    ("squad", span(start=5), "'cat' is not at character 5"),  # the answer is elsewhere, once
    ("squad", span("the cat", "cat", -3), "'cat' is not at character -3"),
    ("squad_v2", span("the cat", "cat", -1), "'cat' is not at character -1"),
    ("squad_dual", span(text="dog"), "'dog' is not at character 4"),
    # empty text
    ("snli", changed("snli", premise=""), "a required text is empty"),
    ("snli", changed("snli", hypothesis=" \n"), "a required text is empty"),
    (
        "commonsense_qa",
        changed("commonsense_qa", question=""),
        "a required text is empty",
    ),
    ("commonsense_qa", options("yes", ""), "a required text is empty"),
    ("panx_en", changed("panx_en", tokens=["anna", " "]), "a required text is empty"),
    ("panx_en", changed("panx_en", tokens=[], ner_tags=[]), "0 tokens and 0 tags"),
    ("squad", changed("squad", question=" "), "a required text is empty"),
    ("squad", span("", "", 0), "is not at character 0"),
    ("tatoeba", changed("tatoeba", sentence1=""), "a required text is empty"),
    (
        "mewsli_candidates",
        changed("mewsli_candidates", description=""),
        "a required text is empty",
    ),
    # text that is none, or was decoded wrongly
    ("snli", changed("snli", premise=5), "premise must be text, not a number"),
    ("tatoeba", changed("tatoeba", sentence1="caf\ud8e9"), "surrogate"),
    ("panx_en", changed("panx_en", tokens=["caf\udce9", "x"]), "surrogate"),
    ("squad", span("the \udce9cat sat", "cat", 5), "surrogate"),
]


@pytest.mark.parametrize(
    ("task", "row", "reason"), BAD, ids=[f"{task}: {reason}" for task, _, reason in BAD]
)
def test_a_bad_row_is_counted_reported_and_left_out(
    tmp_path: Path, task: str, row: Row, reason: str
) -> None:
    examples, info, _ = staged(tmp_path, task, as_lines(*[line(ROWS[task])] * GOOD, line(row)))
    assert (len(examples), info["rows"], info["bad_rows"]) == (GOOD, GOOD, 1)
    assert info["bad"][0]["row"] == GOOD
    assert reason in info["bad"][0]["reason"]


@pytest.mark.parametrize("task", IMAGES)
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png()[:50], "image cannot be decoded"),
        (b"GIF89a nothing of the kind", "image cannot be decoded"),
        (b"", "image has no bytes"),
        (None, "image has no bytes"),
    ],
    ids=["truncated", "no picture", "empty", "null"],
)
def test_an_image_that_cannot_be_decoded_is_a_bad_row(
    tmp_path: Path, task: str, data: bytes | None, reason: str
) -> None:
    bad = changed(task, image={"bytes": data, "path": None})
    examples, info, _ = staged(tmp_path, task, as_parquet([ROWS[task]] * GOOD + [bad]))
    assert len(examples) == GOOD
    assert reason in info["bad"][0]["reason"]


@pytest.mark.parametrize("task", IMAGES)
@pytest.mark.parametrize(
    ("size", "bad"), [((1, 300), True), ((300, 1), True), ((1, 200), False), ((1, 1), False)]
)
def test_an_image_with_an_extreme_aspect_ratio_is_a_bad_row(
    tmp_path: Path, task: str, size: tuple[int, int], bad: bool
) -> None:
    row = changed(task, image={"bytes": saved(Image.new("RGB", size)), "path": None})
    examples, info, _ = staged(tmp_path, task, as_parquet([ROWS[task]] * GOOD + [row]))
    assert info["bad_rows"] == bad
    assert len(examples) == GOOD + (not bad)
    if bad:
        assert f"image has {size[0]} × {size[1]} pixels" in info["bad"][0]["reason"]


@pytest.mark.parametrize("condition", ["real", "blank", "shuffled", "removed", "caption"])
def test_all_image_conditions_leave_out_the_same_rows(tmp_path: Path, condition: str) -> None:
    """A picture, a label and a caption of 40 rows are bad: whatever a condition shows, 37 are
    left.
    """
    rows = [
        {"image": {"bytes": saved(Image.new("RGB", (8, 8), (i, 0, 0))), "path": None}, "premise": f"premise {i}",
         "hypothesis": "an animal", "label": 0, "id": str(i)}
        for i in range(40)
    ]  # fmt: skip
    rows[3]["image"] = {"bytes": saved(Image.new("RGB", (1, 300))), "path": None}
    rows[5]["label"], rows[7]["premise"] = 9, " "
    spec = {"images": condition} if condition != "real" else {}
    examples, info, _ = staged(tmp_path, "snli_ve", as_parquet(rows), spec, most_bad=0.1)
    assert [example.id for example in examples] == [str(i) for i in range(40) if i not in (3, 5, 7)]
    assert [bad["row"] for bad in info["bad"]] == [3, 5, 7]


@pytest.mark.parametrize("without", ["absent", None, " "], ids=["absent", "null", "blank"])
@pytest.mark.parametrize("condition", ["real", "removed", "caption"])
def test_a_row_without_the_user_s_caption_is_a_bad_row_of_all_conditions(
    tmp_path: Path, condition: str, without: str | None
) -> None:
    pictures = [saved(Image.new("RGB", (8, 8), (i, 0, 0))) for i in range(30)]
    folder = tmp_path / "mirror" / "captions" / "nlvr"
    folder.mkdir(parents=True)
    captions: list[Row] = [
        {"sha256": hashlib.sha256(data).hexdigest(), "caption": f"red {i}" if i != 4 else without}
        for i, data in enumerate(pictures)
    ]
    if without == "absent":
        del captions[4]
    pq.write_table(pa.Table.from_pylist(captions), folder / "select-00000-of-00001.parquet")
    spec = {
        "captions": {"path": "captions/nlvr", "config": None, "split": "select", "identity": {}},
        **({"images": condition} if condition != "real" else {}),
    }  # fmt: skip
    examples, info, _ = staged(
        tmp_path, "nlvr", as_parquet([picture(data) for data in pictures]), spec
    )
    assert (len(examples), info["bad_rows"]) == (29, 1)
    assert info["bad"] == [
        {
            "row": 4,
            "reason": "ValueError: an image has no caption, and the plan has an arm with captions",
        }
    ]


def test_two_captions_of_one_image_fail_the_step(tmp_path: Path) -> None:
    folder = tmp_path / "mirror" / "captions" / "nlvr"
    folder.mkdir(parents=True)
    name = hashlib.sha256(png()).hexdigest()
    captions = [{"sha256": name, "caption": caption} for caption in ("red", "blue")]
    pq.write_table(pa.Table.from_pylist(captions), folder / "select-00000-of-00001.parquet")
    spec = {
        "captions": {"path": "captions/nlvr", "config": None, "split": "select", "identity": {}},
        "images": "caption",
    }
    with pytest.raises(DataError, match=f"two different captions of the image {name}; remove one"):
        staged(tmp_path, "nlvr", as_parquet([picture(png())] * 3), spec)


@pytest.mark.parametrize("data", [b"no picture", png()[:50]], ids=["no picture", "truncated"])
def test_an_image_whose_size_a_task_needs_is_a_bad_row_if_corrupt(data: bytes) -> None:
    row = {
        "question_id": "0",
        "answer": "the dog",
        "bbox": [0, 0, 1, 1],
        "image": {"bytes": data, "path": None},
    }
    examples, bad, _ = read_rows(TASKS["refcoco"], [row], [0], "en", None)
    assert examples == []
    assert "image cannot be decoded" in bad[0]["reason"]


def several(task: str) -> tuple[Any, str]:
    """A row with three examples, the second of which cannot be used; and why."""
    shown = [{"bytes": png(), "path": None}]
    turns = [{"user": "who ?", "assistant": answer} for answer in ("yes", "", "no")]
    span = {"start": 0, "end": 3}
    queries = [{"example_id": n, "entity_id": "Q1", "mention_span": span} for n in "abc"]
    queries[1] = {**queries[1], "mention_span": {"start": 9, "end": 9}}
    questions = [
        {"id": n, "question": n and "who ?", "answers": [{"answer_start": 0}]}
        for n in ("a", "", "c")
    ]
    return {
        "vqa_v2": ({"images": shown, "texts": turns}, "is empty"),
        "nlvr2": ({"images": shown * 2, "texts": turns}, "is neither yes nor no"),
        "mewslix": (
            {"context": {"text": "Ben sees.", "document_id": "d"}, "mentions": queries},
            "mention_span 9-9",
        ),
        "lareqa": (
            {"paragraphs": [{"context": "Ben.", "sentence_breaks": [[0, 4]], "qas": questions}]},
            "is empty",
        ),
    }[task]


@pytest.mark.parametrize(
    ("task", "kept"), [("vqa_v2", 2), ("nlvr2", 2), ("mewslix", 2), ("lareqa", 3)]
)
def test_a_bad_example_does_not_affect_the_others_of_its_row(task: str, kept: int) -> None:
    row, reason = several(task)
    examples, bad, _ = read_rows(TASKS[task], [row], [0], "en", None)
    assert len(examples) == kept
    assert len(bad) == 1
    assert reason in bad[0]["reason"]


@pytest.mark.parametrize("entity", ["", " \n"])
def test_a_ranking_pair_needs_both_texts(entity: str) -> None:
    examples, bad, _ = read_rows(
        TASKS["mewsli_pairs"], [{"mention": "Ben", "entity": entity}], [0], "en", None
    )
    assert (len(examples), len(bad)) == (0, 1)


def test_json_that_is_nested_too_deep_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    examples, bad, _ = read_rows(TASKS["snli"], JsonRows([path], None), [0], "en", None)
    assert examples == []
    assert "nested too deep" in bad[0]["reason"]


def test_a_decompression_bomb_is_a_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    large = io.BytesIO()
    Image.new("RGB", (60, 60)).save(large, "PNG")
    small = io.BytesIO()
    Image.new("RGB", (10, 10)).save(small, "PNG")
    rows = [picture(small.getvalue())] * GOOD + [picture(large.getvalue())]
    _, info, _ = staged(tmp_path, "nlvr", as_parquet(rows))
    assert "image cannot be decoded" in info["bad"][0]["reason"]


@pytest.mark.parametrize(
    "bad", ['{"premise": "café"'.encode("latin-1"), b'{"premise": "a', b"[1, 2]", b"\xff\xfe\x00"]
)
def test_a_line_in_another_encoding_or_with_invalid_json_is_a_bad_row(
    tmp_path: Path, bad: bytes
) -> None:
    examples, info, _ = staged(tmp_path, "snli", as_lines(*[line(ROWS["snli"])] * GOOD, bad))
    assert (len(examples), info["bad_rows"]) == (GOOD, 1)


def test_bytes_in_another_encoding_in_a_parquet_column_are_a_bad_row(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        premises = pa.array([b"a dog"] * GOOD + ["café".encode("latin-1")], pa.binary()).view(
            pa.string()
        )
        columns = {
            "premise": premises,
            "hypothesis": ["an animal"] * (GOOD + 1),
            "label": [0] * (GOOD + 1),
        }
        pq.write_table(pa.table(columns), path.with_name(path.name + ".parquet"))

    examples, info, _ = staged(tmp_path, "snli", write)
    assert len(examples) == GOOD
    assert info["bad"] == [{"row": GOOD, "reason": info["bad"][0]["reason"]}]
    assert "UnicodeDecodeError" in info["bad"][0]["reason"]


def test_a_column_of_bytes_is_not_text(tmp_path: Path) -> None:
    rows = [changed("snli", premise=b"a dog")] * 3
    with pytest.raises(DataError, match="premise must be text, not bytes"):
        staged(tmp_path, "snli", as_parquet(rows))


def test_a_plan_sets_the_allowed_share_of_bad_rows(tmp_path: Path) -> None:
    lines = [line(ROWS["snli"])] * 8 + [line(changed("snli", label=9))] * 2
    with pytest.raises(DataError, match=r"2 bad rows of 10, more than 5%; row 8: .*most_bad_rows"):
        staged(tmp_path / "a", "snli", as_lines(*lines))
    assert staged(tmp_path / "b", "snli", as_lines(*lines), most_bad=0.2)[1]["bad_rows"] == 2


# ---- a text of 100,000 characters ----

LONG = "the big dog sees anna in the park . " * 2800  # 100,800 characters


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Processor:
    settings = {"hidden": 16, "ff": 16, "layers": 1, "heads": 2, "vocab_size": 400}
    return load_processor(
        build_tiny("xlm_r", 0, [LONG[:200]], settings, tmp_path_factory.mktemp("m")), "xlm_r"
    )


def encoded(
    folder: Path, task: str, row: Row, processor: Processor, objective: str
) -> dict[str, Any]:
    """What the encode step says of a set whose one row is very long."""
    examples, info, path = staged(folder, task, as_lines(line(row)))
    assert (len(examples), info["bad_rows"]) == (1, 0)
    lengths = {"max_length": 128, "stride": 32, "question_length": 32}
    spec = {
        "task": task, "split": "select", "language": "en", "objective": objective, "family": "xlm_r",
        "lengths": lengths, "subtoken": "first",
    }  # fmt: skip
    return encode(Step("encode", spec), path, processor, folder)[1]


@pytest.mark.parametrize(
    ("task", "row", "objective"),
    [
        ("snli", changed("snli", premise=LONG), "head"),
        ("snli", changed("snli", hypothesis=LONG), "lm"),
        ("commonsense_qa", changed("commonsense_qa", question=LONG), "head"),
        ("tatoeba", changed("tatoeba", sentence1=LONG), "head"),
        ("mewsli_candidates", changed("mewsli_candidates", description=LONG), "head"),
        ("squad", span(LONG, "dog", 8), "lm"),
    ],
)
def test_a_text_of_100_000_characters_is_cut_and_the_cut_is_counted(
    tmp_path: Path, processor: Processor, task: str, row: Row, objective: str
) -> None:
    info = encoded(tmp_path, task, row, processor, objective)
    assert info["truncated"] == 1
    assert info["tokens"] <= 2 * 128


def test_a_plain_text_of_100_000_characters_becomes_windows_and_is_not_cut(
    tmp_path: Path, processor: Processor
) -> None:
    info = encoded(tmp_path, "text_lm", changed("text_lm", text=LONG), processor, "lm")
    assert info["truncated"] == 0
    assert info["tokens"] > len(processor.tokenizer(LONG, add_special_tokens=False)["input_ids"])


def test_a_question_of_100_000_characters_is_a_bad_row(
    tmp_path: Path, processor: Processor
) -> None:
    with pytest.raises(
        DataError, match=r"commonsense_qa select en: 1 of 1 records do not fit, more than 5%"
    ):
        encoded(
            tmp_path, "commonsense_qa", changed("commonsense_qa", question=LONG), processor, "lm"
        )


def test_a_context_of_100_000_characters_becomes_windows_and_is_not_cut(
    tmp_path: Path, processor: Processor
) -> None:
    info = encoded(tmp_path, "squad", span(LONG, "dog", 8), processor, "head")
    assert info["truncated"] == 0
    assert info["unanswerable_windows"] > 100


def test_a_sentence_of_100_000_characters_becomes_pieces_and_is_not_cut(
    tmp_path: Path, processor: Processor
) -> None:
    words = LONG.split()
    info = encoded(
        tmp_path, "panx_en", {"tokens": words, "ner_tags": [0] * len(words)}, processor, "head"
    )
    assert info["truncated"] == 0
    assert info["tokens"] > len(words)
