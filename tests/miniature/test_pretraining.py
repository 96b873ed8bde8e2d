"""The short pre-training of a tiny backbone: what is put in by hand, what is drawn, what it may
read.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from xstilts.data.encoded import Images
from xstilts.data.records import write_records
from xstilts.miniature.backbones import build_model, build_tiny
from xstilts.miniature.pretraining import build_backbone, distance, ids, pretrain
from xstilts.miniature.word_list import (
    Document,
    align_words,
    documents,
    switched,
    translations,
)
from xstilts.models.processor import Processor, load_processor
from xstilts.tasks.task import Example

CONCEPTS = ("dog", "cat", "ball", "tree", "house", "bird", "fish", "king")
WORDS = [
    Document(
        language,
        f"word/noun/{concept}",
        concept if language == "en" else f"{language}{concept}"[::-1],
    )
    for language in ("en", "qaa", "qab")
    for concept in CONCEPTS
]
#: A name is spelt alike in all languages.
SHARED = [Document(language, "word/name/anna", "anna") for language in ("en", "qaa", "qab")]
SENTENCES = [
    " ".join(["anna", *(word.text for word in WORDS if word.language == language)])
    for language in ("en", "qaa", "qab")
    for _ in range(3)
]
SMALL: dict[str, Any] = {"hidden": 64, "ff": 32, "layers": 1, "heads": 2, "vocab_size": 420}
SMALL |= {"vision_hidden": 16, "vision_ff": 16, "vision_layers": 1, "vision_heads": 2}


@pytest.fixture
def started() -> tuple[Any, Processor]:
    """A fresh tiny encoder that knows the words, one token each."""
    model, tokenizer = build_model("xlm_r", 0, SENTENCES, SMALL)
    return model, Processor("xlm_r", tokenizer)


def table(model: Any) -> Tensor:
    weight: Tensor = model.get_input_embeddings().weight.detach()
    return weight


def vectors(
    model: Any, processor: Processor, words: Sequence[Document]
) -> dict[tuple[str, str], Tensor]:
    """(language, kind) → the vector of the word's token."""
    found = {}
    for word in words:
        (token,) = processor.tokenizer(word.text, add_special_tokens=False)["input_ids"]
        found[word.language, word.kind] = table(model)[token].clone()
    return found


# ---- the aligned start ----


def test_translations_share_most_of_their_vector(started: tuple[Any, Processor]) -> None:
    model, processor = started
    align_words(model, processor, WORDS, 0.9, 0.1, 0)
    found = vectors(model, processor, WORDS)
    alike: list[float] = []
    unlike: list[float] = []
    for (one, first), (two, second) in combinations(found.items(), 2):
        (alike if one[1] == two[1] else unlike).append(
            float(F.cosine_similarity(first, second, dim=0))
        )
    assert min(alike) > 0.6
    assert sum(alike) / len(alike) == pytest.approx(0.81, abs=0.05)  # 0.9²
    assert abs(sum(unlike) / len(unlike)) < 0.1


def test_aligned_vectors_are_as_long_as_those_that_they_replace(
    started: tuple[Any, Processor],
) -> None:
    model, processor = started
    before = float(table(model).std())
    align_words(model, processor, WORDS, 0.9, 0.1, 0)
    after = torch.stack(list(vectors(model, processor, WORDS).values()))
    assert float(after.std()) == pytest.approx(before, rel=0.1)


def test_a_word_that_languages_share_keeps_one_vector(started: tuple[Any, Processor]) -> None:
    model, processor = started
    count = align_words(model, processor, [*SHARED[:1], *WORDS, *SHARED[1:]], 0.9, 0.1, 0)
    found = vectors(model, processor, SHARED)
    other, _ = build_model("xlm_r", 0, SENTENCES, SMALL)
    align_words(other, processor, SHARED[:1], 0.9, 0.1, 0)
    assert count == len(WORDS) + 1
    assert all(torch.equal(vector, found["en", "word/name/anna"]) for vector in found.values())
    assert torch.equal(
        found["en", "word/name/anna"], vectors(other, processor, SHARED[:1])["en", "word/name/anna"]
    )


def test_words_of_several_tokens_are_left_as_they_are(started: tuple[Any, Processor]) -> None:
    model, processor = started
    before = table(model).clone()
    assert (
        align_words(model, processor, [Document("en", "word/noun/x", "never seen")], 0.9, 0.1, 0)
        == 0
    )
    assert torch.equal(table(model), before)


@pytest.mark.parametrize(("aligned", "words"), [(0.0, WORDS), (0.9, [])])
def test_without_words_or_a_share_nothing_is_aligned(
    started: tuple[Any, Processor], aligned: float, words: list[Document]
) -> None:
    model, processor = started
    before = table(model).clone()
    assert align_words(model, processor, words, aligned, 0.1, 0) == 0
    assert torch.equal(table(model), before)


# ---- switched words ----


def test_switching_keeps_length_and_order(started: tuple[Any, Processor]) -> None:
    _, processor = started
    known, row = translations(processor, WORDS), ids(processor, SENTENCES[0], 128)
    for seed in range(20):
        changed = switched(row, known, Random(seed))
        assert len(changed) == len(row)
        assert all(new in known.get(old, [old]) for old, new in zip(row, changed, strict=True))


def test_switching_leaves_what_the_word_list_does_not_know(started: tuple[Any, Processor]) -> None:
    _, processor = started
    row = ids(processor, "anna anna", 128)
    assert all(
        switched(row, translations(processor, WORDS), Random(seed)) == row for seed in range(20)
    )


def test_about_half_of_the_known_words_are_drawn_anew_from_all_languages(
    started: tuple[Any, Processor],
) -> None:
    _, processor = started
    known, row = translations(processor, WORDS), ids(processor, " ".join(CONCEPTS), 128)
    places = [place for place, token in enumerate(row) if token in known]
    changed = [switched(row, known, Random(seed)) for seed in range(200)]
    share = sum(new[place] != row[place] for new in changed for place in places) / (
        200 * len(places)
    )
    assert len(places) == len(CONCEPTS)
    assert share == pytest.approx(
        0.5 * 2 / 3, abs=0.05
    )  # a third of what is drawn is the word itself


def test_translations_of_a_word_are_all_its_languages_words(started: tuple[Any, Processor]) -> None:
    _, processor = started
    known = translations(processor, WORDS)
    dogs = [
        processor.tokenizer(word.text, add_special_tokens=False)["input_ids"][0]
        for word in WORDS[:: len(CONCEPTS)]
    ]
    assert all(known[dog] == dogs for dog in dogs)


# ---- what is read ----

FULL = Example(
    id="r1", text="a text", text_pair="its pair", question="a question ?", choices=("one", "two"), label=1,
    tokens=("three", "words", "here"), tags=("B-PER", "I-PER", "O"), answers=(("a", 0),), targets=("first", "second"),
)  # fmt: skip


def read(example: Example, folder: Path) -> list[Document]:
    return documents(write_records([example], folder)["records.parquet"], "en")


def test_every_text_of_a_record_is_read(tmp_path: Path) -> None:
    texts = [
        "a text",
        "its pair",
        "a question ?",
        "three words here",
        "one",
        "two",
        "first",
        "second",
    ]
    assert [document.text for document in read(FULL, tmp_path)] == texts
    assert {
        (document.language, document.kind, document.images) for document in read(FULL, tmp_path)
    } == {("en", "text", ())}


def test_labels_tags_and_answers_are_never_read(tmp_path: Path) -> None:
    other = replace(
        FULL,
        label=0,
        tags=("O", "O", "B-LOC"),
        answers=(("text", 2),),
        relevant=("r2",),
        cluster="c",
    )
    assert read(FULL, tmp_path / "one") == read(other, tmp_path / "two")


def test_empty_texts_are_skipped(tmp_path: Path) -> None:
    assert read(Example(id="r1", text=" ", targets=("said",)), tmp_path) == [
        Document("en", "text", "said")
    ]


def test_a_row_of_the_word_list_has_its_class_and_concept(tmp_path: Path) -> None:
    (found,) = read(Example(id="word/noun/dog", targets=("dog",)), tmp_path)
    assert found == Document("en", "word/noun/dog", "dog")


def test_a_caption_names_its_picture(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    from hashlib import sha256

    (found,) = read(Example(id="r1", targets=("a dog",), images=(picture(16, 16),)), tmp_path)
    assert found.images == (sha256(picture(16, 16)).hexdigest(),)


# ---- the build ----


def build(
    family: str, seed: int, folder: Path, shown: bytes, **pretrain: Any
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """A whole build step of a few updates: the files by name, and its info."""
    plain = [Example(id=f"text/{i}", targets=(text,)) for i, text in enumerate(SENTENCES)]
    listed = [
        Example(id=word.kind, targets=(word.text,)) for word in WORDS if word.language == "en"
    ]
    text = write_records([*listed, *plain], folder / "text")
    captions = write_records(
        [Example(id="c", targets=("anna dog",), images=(shown,))], folder / "captions"
    )
    few = {"updates": 3, "caption_updates": 2, "rows_per_step": 4, **SMALL, **pretrain}
    few.pop("vocab_size")
    spec = {
        "family": family, "seed": seed, "tokenizer": {"vocab_size": 420}, "pretrain": few,
        "text": {"tokenizer": ["miniature_text"], "pretrain": ["miniature_text", "coco_captions"]},
    }  # fmt: skip
    roles = {"text:miniature_text:en": text, "text:coco_captions:en": captions}
    texts = {role: files["records.parquet"] for role, files in roles.items()}
    made, info = build_backbone(
        spec, texts, {"captions": captions["images.parquet"]}, folder / "model"
    )
    return {path.name: path.read_bytes() for path in made.iterdir()}, info


@pytest.mark.parametrize("family", ["xlm_r", "llava", "qwen_vl"])
def test_a_seed_gives_the_same_backbone_to_the_bit_and_another_seed_another(
    family: str, tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    torch.manual_seed(1)
    first, info = build(family, 0, tmp_path / "first", picture(16, 16))
    torch.manual_seed(2)  # the global stream has no say
    again, info_again = build(family, 0, tmp_path / "again", picture(16, 16))
    other, _ = build(family, 1, tmp_path / "other", picture(16, 16))
    assert first == again
    assert info == info_again
    assert first["model.safetensors"] != other["model.safetensors"]
    assert first["tokenizer.json"] == other["tokenizer.json"]


def test_a_build_reports_documents_and_losses(
    tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    _, info = build("llava", 0, tmp_path, picture(16, 16))
    assert (info["updates"], info["documents"]) == (3, len(CONCEPTS) + len(SENTENCES) + 1)
    assert all(0 < info[key] < 20 for key in ("loss", "caption_loss"))


def test_an_unknown_setting_is_refused(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    with pytest.raises(ValueError, match=r"build.pretrain: unknown settings \['depth'\]"):
        build("xlm_r", 0, tmp_path, picture(16, 16), depth=2)


@pytest.mark.parametrize("family", ["llava", "qwen_vl"])
def test_captions_train_only_tower_and_projector(
    family: str, tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    processor = load_processor(build_tiny(family, 0, SENTENCES, SMALL, tmp_path), family)
    pictures = write_records(
        [Example(id="c", targets=("anna",), images=(picture(16, 16),))], tmp_path / "captions"
    )
    seen = documents(pictures["records.parquet"], "en")
    model, _ = build_model(family, 0, SENTENCES, SMALL)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    given = {"updates": 0, "caption_updates": 2, "rows_per_step": 2}
    pretrain(model, family, processor, seen, Images([pictures["images.parquet"]]), given, 0)
    changed = {
        name
        for name, parameter in model.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert changed
    assert all("visual" in name or "vision" in name or "projector" in name for name in changed)


def test_languages_with_the_same_mean_have_no_distance() -> None:
    states = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    assert distance(states, ["en", "en", "qaa", "qaa"]).item() == 0.0


def test_the_distance_is_one_if_only_the_means_vary() -> None:
    states = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    assert distance(states, ["en", "en", "qaa", "qaa"]).item() == 1.0


def test_code_switched_tokens_do_not_count_as_a_language() -> None:
    states = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert distance(states, ["en", ""]).item() == 0.0
