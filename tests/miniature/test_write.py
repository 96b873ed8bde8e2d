"""The written mirror: equal bytes for a seed, parallel test sets, rows that the registry's tasks
read as the hub's.
"""

import hashlib
import io
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from xstilts.data.records import read_rows
from xstilts.errors import PlanError
from xstilts.miniature.drawings import RGB
from xstilts.miniature.invented_languages import LANGUAGES
from xstilts.miniature.splits import has_rows
from xstilts.miniature.tokenizers import train_tokenizer
from xstilts.miniature.write import Sizes, write_miniature
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import Mirror, open_mirror
from xstilts.sources.source_files import missing_reason
from xstilts.tasks.languages import INVENTED
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example, Source, Task

SMALL = Sizes(text=60, train=30, select=12, test=25, pictures=60)
FOREIGN = [code for code in LANGUAGES if code != "en"]
#: The tasks that the miniature has rows for.
HELD = {name for name, task in TASKS.items() if has_rows(task)}
#: Evaluations whose rows are the same in all languages (TyDiQA's are not, and Tatoeba and BUCC have
#: no English rows).
PARALLEL = ["xnli", "pawsx", "xcopa", "udpos", "wikiann", "xquad", "mlqa", "mewslix"]
EVERYWHERE = [
    name
    for name, task in TASKS.items()
    if has_rows(task) and task.trained_target is not None and "test" in task.splits
]

#: What the demo's plan reads.
DEMO = [
    ("tau/commonsense_qa", ""), ("stanfordnlp/snli", ""), ("rajpurkar/squad", ""), ("jxie/coco_captions", ""),
    ("google/xquad", ""), ("google/xtreme", "udpos"), ("mteb/tatoeba-bitext-mining", ""), ("xstilts/miniature-text", ""),
]  # fmt: skip

Read = Callable[..., list[Example]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("miniature")
    write_miniature(made, sizes=SMALL)
    return made


@pytest.fixture(scope="module")
def read(folder: Path) -> Read:
    """(task, split, language) → its records."""
    mirror = open_mirror(str(folder))

    def load(name: str, split: str = "test", language: str = "en") -> list[Example]:
        task = TASKS[name]
        first = task.splits[split]
        source = next(
            one
            for one in (first, *first.alternatives)
            if missing_reason(mirror, one, language) is None
        )
        rows = load_rows(mirror, source, language)
        return read_rows(task, rows, range(len(rows)), language, None)[0]

    return load


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def held(mirror: Mirror) -> Iterator[tuple[Task, str, str, Source]]:
    """Every (task, split, language, source) of the registry that the mirror claims to hold."""
    for task in TASKS.values():
        for split, first in task.splits.items():
            for source in (first, *first.alternatives):
                for language in (*task.languages, *(INVENTED if source.by_language else ())):
                    if missing_reason(mirror, source, language) is None:
                        yield task, split, language, source


# ---- seeds, languages, sizes ----


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_miniature(tmp_path, sizes=SMALL)
    assert files(tmp_path) == files(folder)


def test_the_rows_behind_the_figures_of_the_demo_are_unchanged(folder: Path) -> None:
    """A changed digest means other scores in README and docs: measure them again, and raise
    EDITION.
    """
    total = hashlib.sha256()
    for name in sorted(str(path.relative_to(folder)) for path in folder.rglob("*.parquet")):
        if any(name.startswith(f"{path}/{config}") for path, config in DEMO):
            for row in pq.read_table(folder / name).to_pylist():
                row.pop("image", None)
                total.update(json.dumps([name, row], sort_keys=True).encode())
    assert total.hexdigest() == "023b04fc03e32705f2595880647794c8ebb1b2cd70229f9aec7bc927a17ba7f4"


def test_another_seed_gives_other_rows_in_the_same_files(folder: Path, tmp_path: Path) -> None:
    write_miniature(tmp_path, seed=1, sizes=SMALL)
    first, other = files(folder), files(tmp_path)
    assert other.keys() == first.keys()
    assert not [name for name in first if name.endswith(".parquet") and other[name] == first[name]]


def test_a_further_language_does_not_change_the_rows_of_others(
    folder: Path, tmp_path: Path
) -> None:
    write_miniature(tmp_path, languages=["qab"], sizes=SMALL)
    fewer, all_of_them = files(tmp_path), files(folder)
    rows = [name for name in fewer if name.endswith(".parquet")]
    assert any("/en/" in name for name in rows)
    assert not [name for name in rows if "qaa" in name]
    assert all(fewer[name] == all_of_them[name] for name in rows)


def test_a_language_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="unknown language xx; allowed: en, qaa"):
        write_miniature(tmp_path, languages=["qaa", "xx"])


def test_splits_have_the_requested_number_of_rows(read: Read) -> None:
    assert [len(read("mnli", split)) for split in ("train", "select")] == [30, 12]
    assert {
        len(read(task, "test", "qaa"))
        for task in ("xnli", "xcopa", "udpos", "wikiann", "xquad", "tatoeba")
    } == {25}
    assert [len(read("coco_captions", split)) for split in ("train", "select")] == [60, 12]


# ---- parallel test sets ----


@pytest.mark.parametrize("language", FOREIGN)
@pytest.mark.parametrize("task", PARALLEL)
def test_row_i_has_the_same_id_in_every_language(read: Read, task: str, language: str) -> None:
    assert [one.id for one in read(task, language=language)] == [one.id for one in read(task)]


@pytest.mark.parametrize("language", FOREIGN)
@pytest.mark.parametrize("task", ["xnli", "pawsx", "xcopa"])
def test_row_i_has_the_same_label_in_every_language(read: Read, task: str, language: str) -> None:
    assert [one.label for one in read(task, language=language)] == [one.label for one in read(task)]


@pytest.mark.parametrize("language", FOREIGN)
@pytest.mark.parametrize("task", ["udpos", "wikiann"])
def test_row_i_has_the_same_tags_in_every_language_in_its_own_order(
    read: Read, task: str, language: str
) -> None:
    foreign, english = (
        [Counter(one.tags) for one in read(task, language=code)] for code in (language, "en")
    )
    assert foreign == english


@pytest.mark.parametrize("language", FOREIGN)
def test_row_i_says_the_same_word_for_word(read: Read, language: str) -> None:
    spoken = LANGUAGES[language]
    for foreign, english in zip(read("udpos", language=language), read("udpos"), strict=True):
        assert sorted(foreign.tokens) == sorted(spoken.spell(word) for word in english.tokens)


@pytest.mark.parametrize("language", FOREIGN)
def test_tatoebas_english_side_is_the_same_in_every_language_and_has_no_row_twice(
    read: Read, language: str
) -> None:
    english = [one.text_pair for one in read("tatoeba", language=language)]
    assert english == [one.text_pair for one in read("tatoeba", language="qaa")]
    assert len(set(english)) == len(english)


def test_training_and_test_rows_are_not_the_same(read: Read) -> None:
    texts = [
        {(one.text, one.text_pair) for one in read(task, split)}
        for task, split in (("mnli", "train"), ("xnli", "test"))
    ]
    assert not texts[0] & texts[1]


# ---- what the tasks read ----


def test_the_mirror_contains_the_expected_tasks(folder: Path) -> None:
    assert {task.name for task, *_ in held(open_mirror(str(folder)))} == HELD


def test_every_split_of_every_task_exists_in_english_or_in_all_other_languages(
    folder: Path,
) -> None:
    mirror = open_mirror(str(folder))
    found = {(task.name, split) for task, split, *_ in held(mirror)}
    assert found == {(name, split) for name in HELD for split in TASKS[name].splits}


def test_every_task_of_the_mirror_loads_without_a_bad_row(folder: Path) -> None:
    mirror = open_mirror(str(folder))
    for task, split, language, source in held(mirror):
        rows = load_rows(mirror, source, language)
        found, bad, _ = read_rows(task, rows, range(len(rows)), language, None)
        assert not bad, (task.name, split, language, source.path)
        assert found, (task.name, split, language, source.path)


@pytest.mark.parametrize("task", [*EVERYWHERE, "miniature_text", "multilingual_text"])
def test_every_language_of_the_miniature_has_every_evaluation(folder: Path, task: str) -> None:
    (first,) = TASKS[task].splits.values()
    mirror, sources = open_mirror(str(folder)), (first, *first.alternatives)
    pairs = TASKS[task].format in ("retrieval", "mining")  # of English and another language
    missing = [
        code
        for code in LANGUAGES
        if all(missing_reason(mirror, source, code) for source in sources)
    ]
    assert missing == (["en"] if pairs else [])


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_answer_is_in_its_context_at_the_stated_position(folder: Path, language: str) -> None:
    table = pq.read_table(
        folder / f"google/xquad/xquad.{language}/validation-00000-of-00001.parquet"
    )
    for row in table.to_pylist():
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert text
        assert row["context"][start : start + len(text)] == text


def test_a_third_of_the_questions_of_squad_v2_has_no_answer(read: Read) -> None:
    answered = [
        bool(one.answers) for split in ("train", "select") for one in read("squad_v2", split)
    ]
    assert 0.1 < 1 - sum(answered) / len(answered) < 0.6


def test_a_question_of_tydiqa_is_read_in_its_own_language_only(read: Read) -> None:
    ids = {
        code: {one.id.partition("-")[0] for one in read("tydiqa", language=code)}
        for code in LANGUAGES
    }
    assert ids == {code: {"english" if code == "en" else code} for code in LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_lareqa_asks_for_the_sentence_with_the_answer(
    read: Read, folder: Path, language: str
) -> None:
    found = read("lareqa", language=language)
    sentences = {one.id: one.text for one in found if not one.relevant}
    questions = [one for one in found if one.relevant]
    assert len(questions) == SMALL.test
    raw = json.loads((folder / f"lareqa/xquad-r/{language}.json").read_text(encoding="utf-8"))[
        "data"
    ]
    answers = {
        qa["id"]: qa["answers"][0]["text"]
        for article in raw
        for part in article["paragraphs"]
        for qa in part["qas"]
    }
    assert all(answers[one.id] in sentences[one.relevant[0]].partition(".")[0] for one in questions)


def test_a_question_of_lareqa_has_the_same_id_in_every_language(read: Read) -> None:
    queries = [
        [example.id for example in read("lareqa", language=code) if example.relevant]
        for code in LANGUAGES
    ]
    assert all(ids == queries[0] for ids in queries)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_mention_of_mewsli_x_has_its_entity_in_the_pool(read: Read, language: str) -> None:
    pool = [one.id for one in read("mewsli_candidates", "text")]
    assert len(set(pool)) == len(pool)
    assert {name for one in read("mewslix", language=language) for name in one.relevant} <= {*pool}


def test_the_entities_of_mewsli_x_are_described_in_every_language(folder: Path) -> None:
    table = pq.read_table(folder / "izhx/mewsli-x/candidate_entities/test-00000-of-00001.parquet")
    assert {*table.column("description_language").to_pylist()} == {*LANGUAGES}


def test_a_swapped_sentence_of_paws_has_the_same_words(read: Read) -> None:
    for one in read("pawsx"):
        first, second = (Counter(text.split()) for text in (one.text, one.text_pair or ""))
        assert not second - first or not first - second
        assert one.text != one.text_pair


def test_a_word_of_a_dependency_tree_has_one_head_and_a_sentence_one_root(folder: Path) -> None:
    for row in pq.read_table(
        folder / "universal-dependencies/universal_dependencies/en_ewt/train-00000-of-00001.parquet"
    ).to_pylist():
        heads = [int(head) for head in row["head"]]
        assert heads.count(0) == row["deprel"].count("root") == 1
        for place in range(len(heads)):
            seen = {place + 1}
            while heads[place]:
                assert heads[place] not in seen
                seen.add(heads[place])
                place = heads[place] - 1


def test_a_box_of_refcoco_contains_the_color_in_its_phrase(read: Read) -> None:
    for one in read("refcoco", "train"):
        (data,) = one.images
        left, top, right, bottom = (
            float(corner) for corner in one.targets[0].strip("[]").split(", ")
        )
        with Image.open(io.BytesIO(data)) as picture:
            inside = picture.crop(
                tuple(round(share * picture.width) for share in (left, top, right, bottom))
            )
        wanted = RGB[one.text.split()[1]]
        assert any(
            max(abs(a - b) for a, b in zip(pixel, wanted, strict=True)) < 16
            for pixel in colours(inside)
        )


def colours(picture: Any) -> list[tuple[int, ...]]:
    return [colour for _, colour in picture.convert("RGB").getcolors(maxcolors=1 << 16)]


def test_gqas_questions_are_about_their_images(read: Read) -> None:
    for one in read("gqa", "train"):
        if one.targets[0] in RGB:
            with Image.open(io.BytesIO(one.images[0])) as picture:
                wanted = RGB[one.targets[0]]
                near = [
                    max(abs(a - b) for a, b in zip(c, wanted, strict=True)) < 16
                    for c in colours(picture)
                ]
            assert any(near)


def test_the_caption_of_an_image_describes_it(read: Read) -> None:
    rows = read("snli_ve", "train")
    assert all(one.caption for one in rows)
    entailed = [one for one in rows if one.label == 0]
    assert entailed
    assert all(one.text in one.caption for one in entailed)


@pytest.mark.parametrize("task", ["mnli", "qqp", "hellaswag"])
@pytest.mark.parametrize("language", FOREIGN)
def test_translated_training_rows_are_the_first_of_the_english_ones(
    folder: Path, task: str, language: str
) -> None:
    mirror, source = open_mirror(str(folder)), Source(f"translated/{task}", language, "train")
    foreign, english = (
        load_rows(mirror, source, language),
        load_rows(mirror, TASKS[task].splits["train"], "en"),
    )
    count = len(foreign)
    assert 0 < count <= len(english)
    assert foreign["label"][:] == english["label"][:count]
    found, bad, _ = read_rows(TASKS[task], foreign, range(count), language, None)
    assert len(found) == count
    assert not bad


def test_columns_and_types_are_those_of_the_files_on_the_hub(folder: Path, hub: Path) -> None:
    """Where a slice of the real set is at hand. Of columns that nothing reads the miniature may
    lack some.
    """
    compared = []
    for path in sorted({source.path for _, _, _, source in held(open_mirror(str(folder)))}):
        for config in sorted((folder / path).glob("*/")):
            real = next(iter(sorted((hub / path / config.name).glob("*.parquet"))), None)
            if real is not None:
                ours = pq.read_schema(next(iter(sorted(config.glob("*.parquet")))))
                theirs = pq.read_schema(real)
                assert {f.name: f.type for f in ours} == {f.name: f.type for f in theirs}, config
                features = [
                    json.loads(one.metadata[b"huggingface"])["info"]["features"]
                    for one in (ours, theirs)
                ]
                assert features[0] == features[1], config
                compared.append(path)
    assert len(set(compared)) > 15


def test_answers_of_training_rows_are_at_the_stated_position(folder: Path) -> None:
    for split in ("train", "validation"):
        for row in pq.read_table(
            folder / f"rajpurkar/squad/plain_text/{split}-00000-of-00001.parquet"
        ).to_pylist():
            (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
            assert row["context"][start : start + len(text)] == text


def test_the_word_lists_are_in_one_order_in_all_languages(read: Read) -> None:
    lists = [
        [one.id for one in read("miniature_text", "text", code) if one.id.startswith("word/")]
        for code in LANGUAGES
    ]
    assert len(lists[0]) > 50
    assert all(found == lists[0] for found in lists)


# ---- unknown tokens ----


def unknown_share(tokenizer: Any, texts: list[str]) -> float:
    """Share of unknown tokens. Byte-level tokenizers have no such token and would drop what they
    do not know, so a text that does not come back counts as well.
    """
    found = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    lost = sum(
        _plain(tokenizer.decode(ids)) != _plain(text)
        for ids, text in zip(found, texts, strict=True)
    )
    unknown: int = sum(ids.count(tokenizer.unk_token_id) for ids in found)
    return max(unknown / sum(map(len, found)), lost / len(texts))


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


@pytest.mark.parametrize("family", ["xlm_r", "llava", "qwen_vl"])
def test_the_miniature_has_no_unknown_tokens_in_any_language(read: Read, family: str) -> None:
    texts = [one.targets[0] for code in LANGUAGES for one in read("miniature_text", "text", code)]
    tokenizer = train_tokenizer(family, texts, 4096)
    for code in LANGUAGES:
        found = [
            text for one in read("xnli", language=code) for text in (one.text, one.text_pair or "")
        ]
        assert unknown_share(tokenizer, found) < 0.01


@pytest.mark.parametrize("family", ["xlm_r", "llava", "qwen_vl"])
def test_real_text_has_no_unknown_tokens_in_any_language(hub: Path, family: str) -> None:
    """Trained on the first half of each language's sentences, measured on the second."""
    mirror, halves = open_mirror(str(hub)), {}
    for code in sorted(
        path.name for path in (hub / "unimelb-nlp/wikiann").iterdir() if path.is_dir()
    ):
        rows = load_rows(mirror, Source("unimelb-nlp/wikiann", code, "validation"), code)
        sentences = [" ".join(tokens) for tokens in rows["tokens"]]
        halves[code] = sentences[: len(sentences) // 2], sentences[len(sentences) // 2 :]
    tokenizer = train_tokenizer(
        family, [text for seen, _ in halves.values() for text in seen], 6000
    )
    assert len(halves) > 40
    assert {
        code: share
        for code, (_, text) in halves.items()
        if (share := unknown_share(tokenizer, text)) >= 0.01
    } == {}
