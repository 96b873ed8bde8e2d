"""The splits of the miniature: data set, config, split, language, number of rows and row maker."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from xstilts.miniature import foreign_rows, picture_makers, rows, text_makers
from xstilts.miniature.invented_languages import LANGUAGES, InventedLanguage
from xstilts.tasks.benchmarks.tydiqa import TYDIQA_LANGUAGES
from xstilts.tasks.task import Task


@dataclass(frozen=True)
class Sizes:
    """Rows per split. text: documents per language. train: of each text set. select: of each
    English dev split. test: of each test set and language. pictures: of the train split of each
    image set. Data sets that few plans use are smaller.
    """

    text: int = 4000
    train: int = 4000
    select: int = 200
    test: int = 200
    pictures: int = 2000


@dataclass(frozen=True)
class Split:
    """A split to write, usually one Parquet file.

    config: None for a raw JSON file. make: generates `count` rows. scenes: names the random stream
    of scenes; splits with the same name are parallel.
    """

    path: str
    config: str | None
    split: str
    language: InventedLanguage
    count: int
    make: rows.RowMaker
    scenes: str


def splits(spoken: Sequence[InventedLanguage], sizes: Sizes) -> Iterable[Split]:
    english, *foreign = spoken

    def english_set(path: str, config: str, make: rows.RowMaker, **counts: int) -> Iterable[Split]:
        for split, count in counts.items():
            yield Split(path, config, split, english, count, make, f"{path}:{split}")

    def everywhere(
        path: str, config: str, split: str, make: rows.RowMaker, names: Iterable[str] | None = None
    ) -> Any:
        for language, name in zip(
            spoken, names or [language.code for language in spoken], strict=True
        ):
            yield Split(
                path, config.format(name), split, language, sizes.test, make, f"{path}:{split}"
            )

    small = min(400, sizes.train)
    train_and_select = {"train": sizes.train, "validation": sizes.select}
    three = {**train_and_select, "test": sizes.test}
    pictures = {"train": sizes.pictures, "validation": sizes.select, "test": sizes.test}
    snli, squad = rows.inference(2), rows.questions((2, 3), 1, titled=True)
    yield from english_set("tau/commonsense_qa", "default", rows.common_sense, **train_and_select)
    yield from english_set("stanfordnlp/snli", "plain_text", snli, **three)
    yield from english_set("rajpurkar/squad", "plain_text", squad, **train_and_select)
    for number, facts in ((1, 2), (2, 3), (3, 3)):
        hard, counts = (
            rows.adversarial(facts),
            {f"train_r{number}": sizes.train // 3, f"dev_r{number}": sizes.select},
        )
        yield from english_set("facebook/anli", "plain_text", hard, **counts)
    yield from english_set("jxie/coco_captions", "default", rows.captions, **pictures)
    yield from english_set("lil-lab/nlvr", "default", rows.statements_on_pictures, **pictures)
    mnli = {
        "train": sizes.train,
        "validation_matched": sizes.select,
        "validation_mismatched": sizes.select,
    }
    yield from english_set("nyu-mll/glue", "mnli", rows.glue, **mnli)
    yield from english_set("allenai/social_i_qa", "default", rows.social, **train_and_select)
    yield from english_set(
        "aps/super_glue", "copa", rows.copa, train=small, validation=min(100, sizes.select)
    )
    yield from english_set(
        "google/xtreme",
        "udpos.English",
        rows.parts_of_speech,
        train=sizes.train,
        validation=sizes.select,
    )
    yield from everywhere(
        "google/xtreme",
        "udpos.{}",
        "test",
        rows.parts_of_speech,
        [language.config for language in spoken],
    )
    yield from english_set("unimelb-nlp/wikiann", "en", rows.entities, **train_and_select)
    yield from everywhere("unimelb-nlp/wikiann", "{}", "test", rows.entities)
    for split in ("validation", "test"):
        yield from everywhere("facebook/xnli", "{}", split, rows.inference(2))
        yield from everywhere("cambridgeltl/xcopa", "{}", split, rows.xcopa)
    yield from everywhere(
        "google/xquad", "xquad.{}", "validation", rows.questions((2, 3), 2, titled=False)
    )
    for language in foreign:
        for path, config, split, make in (
            ("google/xtreme", f"tatoeba.{language.code}", "validation", rows.translations(english)),
            ("mteb/tatoeba-bitext-mining", f"{language.code}-eng", "test", rows.bitext(english)),
        ):
            yield Split(path, config, split, language, sizes.test, make, "tatoeba")
    for language in spoken:
        prose = rows.plain_text(english)
        scenes = f"text:{language.code}"  # not parallel, like real monolingual text
        yield Split(
            "xstilts/miniature-text", language.code, "train", language, sizes.text, prose, scenes
        )
    yield from _further_splits(spoken, sizes)


def _further_splits(spoken: Sequence[InventedLanguage], sizes: Sizes) -> Iterable[Split]:
    """Further data sets. The random stream of a split depends on its config, so that adding a set
    does not change others.
    """
    english, *foreign = spoken
    few, some = min(100, sizes.select), min(100, sizes.test)
    text, pictures = sizes.train // 2, sizes.pictures // 5

    def english_config(
        path: str, config: str, make: rows.RowMaker, **counts: int
    ) -> Iterable[Split]:
        for split, count in counts.items():
            yield Split(path, config, split, english, count, make, f"{path}/{config}:{split}")

    def test(
        path: str,
        config: str | None,
        split: str,
        make: rows.RowMaker,
        tested: Sequence[InventedLanguage],
    ) -> Iterable[Split]:
        for language in tested:
            code = language.code
            named = None if config is None else config.format(code)
            yield Split(
                path, named, split.format(code), language, some, make, f"{path}/{config}:{split}"
            )

    for path, config, make, select in (
        ("nyu-mll/glue", "qqp", text_makers.duplicates, "validation"),
        ("rajpurkar/squad_v2", "squad_v2", text_makers.answerable_or_not, "validation"),
        ("Rowan/hellaswag", "default", text_makers.endings, "validation"),
        ("allenai/cosmos_qa", "default", text_makers.comprehension, "validation"),
        ("google-research-datasets/paws-x", "en", text_makers.swapped, "validation"),
        (
            "universal-dependencies/universal_dependencies",
            "en_ewt",
            text_makers.dependencies,
            "dev",
        ),
        ("izhx/mewsli-x", "wikipedia_pairs", foreign_rows.mention_pairs, "validation"),
        ("Salesforce/wikitext", "wikitext-103-raw-v1", text_makers.wiki_lines, "validation"),
    ):
        yield from english_config(path, config, make, train=text, **{select: few})
    for path, config, make, train, select in (
        (
            "umaru97/flickr30k_train_val_test",
            "default",
            picture_makers.several_captions,
            "train",
            "val",
        ),
        ("HuggingFaceM4/the_cauldron", "vqav2", picture_makers.cauldron_questions, "train", ""),
        ("lmms-lab/VQAv2", "default", picture_makers.ten_answers, "", "validation"),
        ("vzhou842/easy-VQA", "default", picture_makers.shapes, "train", "test"),
        ("HuggingFaceM4/A-OKVQA", "default", picture_makers.chosen, "train", "validation"),
        ("derek-thomas/ScienceQA", "default", picture_makers.lessons, "train", "validation"),
        ("Multimodal-Fatima/SNLI-VE_train", "default", picture_makers.entailments, "train", ""),
        (
            "Multimodal-Fatima/SNLI-VE_validation",
            "default",
            picture_makers.entailments,
            "",
            "validation",
        ),
        ("HuggingFaceM4/the_cauldron", "nlvr2", picture_makers.two_pictures, "train", ""),
        ("lmms-lab/RefCOCO", "default", picture_makers.boxes, "val", "testA"),
        (
            "HuggingFaceH4/llava-instruct-mix-vsft",
            "default",
            picture_makers.instructions,
            "train",
            "test",
        ),
    ):
        counts = {name: count for name, count in ((train, pictures), (select, few)) if name}
        yield from english_config(path, config, make, **counts)
    for split, count in (("train", pictures), ("val", few)):
        for part, make in (
            ("images", picture_makers.pictures_apart),
            ("instructions", picture_makers.questions_apart),
        ):
            scenes = f"lmms-lab/GQA/{split}"  # shared, since the questions are about the images
            yield Split(
                "lmms-lab/GQA", f"{split}_balanced_{part}", split, english, count, make, scenes
            )
    tydiqa = foreign_rows.every_language(TYDIQA_LANGUAGES)
    yield from english_config(
        "google-research-datasets/tydiqa",
        "secondary_task",
        tydiqa,
        train=sizes.train // 8,
        validation=some,
    )
    yield from english_config(
        "izhx/mewsli-x", "candidate_entities", foreign_rows.candidates, test=0
    )
    yield from test("izhx/mewsli-x", "{}", "test", foreign_rows.news, spoken)
    yield from test(
        "google/xtreme", "MLQA.{0}.{0}", "test", rows.questions((2, 3), 2, titled=True), spoken
    )
    yield from test("google-research-datasets/paws-x", "{}", "test", text_makers.swapped, spoken)
    yield from test("lareqa/xquad-r", None, "{}", foreign_rows.sentence_broken, spoken)
    yield from test("google/xtreme", "bucc18.{}", "test", foreign_rows.gold_pairs(english), foreign)
    for part in ("sample", "training"):
        pools = foreign_rows.mining_pool(english)
        for language in foreign:
            yield Split(
                "bucc2018",
                f"{language.code}-en",
                part,
                language,
                min(30, some),
                pools,
                f"bucc2018:{part}",
            )
    for language in spoken:
        scenes = f"wikimedia/wikipedia/{language.code}"
        config = f"20231101.{language.code}"
        yield Split(
            "wikimedia/wikipedia",
            config,
            "train",
            language,
            sizes.text // 8,
            text_makers.articles,
            scenes,
        )
    for language in foreign:  # translated English training rows, which users would add themselves
        for name, make, scenes in (
            ("mnli", rows.glue, "nyu-mll/glue:train"),
            ("qqp", text_makers.duplicates, "nyu-mll/glue/qqp:train"),
            ("hellaswag", text_makers.endings, "Rowan/hellaswag/default:train"),
        ):
            yield Split(
                f"translated/{name}",
                language.code,
                "train",
                language,
                sizes.train // 8,
                make,
                scenes,
            )


@cache
def _paths() -> frozenset[str]:
    return frozenset(split.path for split in splits(list(LANGUAGES.values()), Sizes()))


def has_rows(task: Task) -> bool:
    """Whether the miniature has rows for every split of a task. Rows are optional: a task without
    them can be used with other mirrors.
    """
    return all(
        any(origin.path in _paths() for origin in (source, *source.alternatives))
        for source in task.splits.values()
    )
