"""The written mirror: equal bytes for a seed, parallel test sets, rows that the registry's tasks read as the hub's."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from xstilts.data.miniature.languages import LANGUAGES
from xstilts.data.miniature.write import Sizes, write_miniature
from xstilts.data.records import read_rows
from xstilts.data.source import Mirror, load_rows, missing_reason, open_mirror
from xstilts.errors import PlanError
from xstilts.models.tokenizers import train_tokenizer
from xstilts.tasks.languages import INVENTED
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example, Source, Task

SMALL = Sizes(text=60, train=30, select=12, test=25, pictures=8)
FOREIGN = [code for code in LANGUAGES if code != "en"]
#: The tasks of the registry that docs/miniature.md promises rows for.
HELD = {
    "commonsense_qa", "snli", "squad", "anli", "coco_captions", "nlvr", "mnli", "siqa", "copa", "ud_en", "panx_en",
    "xnli", "xcopa", "udpos", "wikiann", "xquad", "tatoeba", "tatoeba_squad", "miniature_text",
}  # fmt: skip

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
        rows = load_rows(mirror, task.splits[split], language)
        return read_rows(task, rows, range(len(rows)), language, None)[0]

    return load


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def held(mirror: Mirror) -> Iterator[tuple[Task, str, str, Source]]:
    """Every (task, split, language, source) of the registry that the mirror claims to hold."""
    for task in TASKS.values():
        for split, first in task.splits.items():
            for source in (first, *first.alternatives):
                apart = "{language}" in f"{source.config}{source.split}"
                for language in (*task.languages, *(INVENTED if apart else ())):
                    if missing_reason(mirror, source, language) is None:
                        yield task, split, language, source


# ---- seeds, languages, sizes ----


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_miniature(tmp_path, sizes=SMALL)
    assert files(tmp_path) == files(folder)


def test_another_seed_gives_other_rows_under_the_same_names(folder: Path, tmp_path: Path) -> None:
    write_miniature(tmp_path, seed=1, sizes=SMALL)
    first, other = files(folder), files(tmp_path)
    assert other.keys() == first.keys()
    assert not [name for name in first if name.endswith(".parquet") and other[name] == first[name]]


def test_a_language_more_changes_no_rows_of_the_others(folder: Path, tmp_path: Path) -> None:
    write_miniature(tmp_path, languages=["qab"], sizes=SMALL)
    fewer, all_of_them = files(tmp_path), files(folder)
    rows = [name for name in fewer if name.endswith(".parquet")]
    assert any("/en/" in name for name in rows)
    assert not [name for name in rows if "qaa" in name]
    assert all(fewer[name] == all_of_them[name] for name in rows)


def test_a_language_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no such language xx; it has en, qaa"):
        write_miniature(tmp_path, languages=["qaa", "xx"])


def test_splits_have_the_rows_that_were_asked_for(read: Read) -> None:
    assert [len(read("mnli", split)) for split in ("train", "select")] == [30, 12]
    assert {len(read(task, "test", "qaa")) for task in ("xnli", "xcopa", "udpos", "wikiann", "xquad", "tatoeba")} == {
        25
    }
    assert [len(read("coco_captions", split)) for split in ("train", "select")] == [8, 12]


# ---- parallel test sets ----


@pytest.mark.parametrize("language", FOREIGN)
@pytest.mark.parametrize("task", ["xnli", "xcopa", "udpos", "wikiann", "xquad"])
def test_row_i_has_the_same_id_in_every_language(read: Read, task: str, language: str) -> None:
    assert [one.id for one in read(task, language=language)] == [one.id for one in read(task)]


@pytest.mark.parametrize("language", FOREIGN)
@pytest.mark.parametrize("task", ["xnli", "xcopa"])
def test_row_i_has_the_same_label_in_every_language(read: Read, task: str, language: str) -> None:
    assert [one.label for one in read(task, language=language)] == [one.label for one in read(task)]


@pytest.mark.parametrize("language", FOREIGN)
@pytest.mark.parametrize("task", ["udpos", "wikiann"])
def test_row_i_has_the_same_tags_in_every_language_in_its_own_order(read: Read, task: str, language: str) -> None:
    foreign, english = ([Counter(one.tags) for one in read(task, language=code)] for code in (language, "en"))
    assert foreign == english


@pytest.mark.parametrize("language", FOREIGN)
def test_row_i_says_the_same_word_for_word(read: Read, language: str) -> None:
    spoken = LANGUAGES[language]
    for foreign, english in zip(read("udpos", language=language), read("udpos"), strict=True):
        assert sorted(foreign.tokens) == sorted(spoken.spell(word) for word in english.tokens)


@pytest.mark.parametrize("language", FOREIGN)
def test_tatoebas_english_side_is_the_same_in_every_language_and_has_no_row_twice(read: Read, language: str) -> None:
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


def test_the_mirror_holds_the_tasks_that_it_promises(folder: Path) -> None:
    assert {task.name for task, *_ in held(open_mirror(str(folder)))} >= HELD


def test_every_task_that_the_mirror_holds_loads_without_a_bad_row(folder: Path) -> None:
    mirror = open_mirror(str(folder))
    for task, split, language, source in held(mirror):
        rows = load_rows(mirror, source, language)
        found, bad, _ = read_rows(task, rows, range(len(rows)), language, None)
        assert not bad, (task.name, split, language, source.path)
        assert found, (task.name, split, language, source.path)


@pytest.mark.parametrize("task", ["xnli", "xcopa", "udpos", "wikiann", "xquad", "tatoeba", "miniature_text"])
def test_every_language_of_the_miniature_has_every_evaluation(folder: Path, task: str) -> None:
    (source,) = TASKS[task].splits.values()
    missing = {code: missing_reason(open_mirror(str(folder)), source, code) for code in LANGUAGES}
    assert [code for code, reason in missing.items() if reason] == (["en"] if task == "tatoeba" else [])


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_answer_stands_in_its_context_where_the_row_says(folder: Path, language: str) -> None:
    table = pq.read_table(folder / f"google/xquad/xquad.{language}/validation-00000-of-00001.parquet")
    for row in table.to_pylist():
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert text
        assert row["context"][start : start + len(text)] == text


def test_answers_of_training_rows_stand_where_the_row_says(folder: Path) -> None:
    for split in ("train", "validation"):
        for row in pq.read_table(folder / f"rajpurkar/squad/plain_text/{split}-00000-of-00001.parquet").to_pylist():
            (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
            assert row["context"][start : start + len(text)] == text


def test_the_word_lists_are_in_one_order_in_all_languages(read: Read) -> None:
    lists = [
        [one.id for one in read("miniature_text", "text", code) if one.id.startswith("word/")] for code in LANGUAGES
    ]
    assert len(lists[0]) > 50
    assert all(found == lists[0] for found in lists)


# ---- unknown tokens ----


def unknown_share(tokenizer: Any, texts: list[str]) -> float:
    """Share of unknown tokens. Byte-level tokenizers have no such token and would drop what they do not know, so a text
    that does not come back counts as well."""
    found = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    lost = sum(_plain(tokenizer.decode(ids)) != _plain(text) for ids, text in zip(found, texts, strict=True))
    unknown: int = sum(ids.count(tokenizer.unk_token_id) for ids in found)
    return max(unknown / sum(map(len, found)), lost / len(texts))


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


@pytest.mark.parametrize("family", ["xlm_r", "llava", "qwen_vl"])
def test_the_miniature_has_no_unknown_tokens_in_any_language(read: Read, family: str) -> None:
    texts = [one.targets[0] for code in LANGUAGES for one in read("miniature_text", "text", code)]
    tokenizer = train_tokenizer(family, texts, 4096)
    for code in LANGUAGES:
        found = [text for one in read("xnli", language=code) for text in (one.text, one.text_pair or "")]
        assert unknown_share(tokenizer, found) < 0.01


@pytest.mark.parametrize("family", ["xlm_r", "llava", "qwen_vl"])
def test_real_text_has_no_unknown_tokens_in_any_language(hub: Path, family: str) -> None:
    """Trained on the first half of each language's sentences, measured on the second."""
    mirror, halves = open_mirror(str(hub)), {}
    for code in sorted(path.name for path in (hub / "unimelb-nlp/wikiann").iterdir() if path.is_dir()):
        rows = load_rows(mirror, Source("unimelb-nlp/wikiann", code, "validation"), code)
        sentences = [" ".join(tokens) for tokens in rows["tokens"]]
        halves[code] = sentences[: len(sentences) // 2], sentences[len(sentences) // 2 :]
    tokenizer = train_tokenizer(family, [text for seen, _ in halves.values() for text in seen], 6000)
    assert len(halves) > 40
    assert {
        code: share for code, (_, text) in halves.items() if (share := unknown_share(tokenizer, text)) >= 0.01
    } == {}
